// Package channel is what the ways to a recipient have in common. The packages below it each send one message over one
// channel and say what became of it; when, to whom and how often is decided by their caller.
//
// An error says what to do next: nothing if it is an *Undeliverable or a fault of code Invalid, try again otherwise.
package channel

import (
	"net"
	"net/http"
	"time"
)

// Undeliverable is the error of a message that cannot reach its recipient, however often it is sent, through no fault
// of the sender's.
type Undeliverable struct{ Reason string }

func (u *Undeliverable) Error() string { return u.Reason }

// Busy is the error of a message that was not sent: there is no room for it now, or its provider has failed and is left
// alone for a while.
type Busy struct {
	Reason string
	After  time.Duration // when another try is worth it
}

func (b *Busy) Error() string { return b.Reason }

// Bounds of a call to a provider over HTTP. Providers answer within a fraction of a second, and one that does not holds
// up what goes to others.
const (
	HTTPTimeout     = 5 * time.Second
	MaxResponseSize = 64 << 10 // bytes of an answer that are read
)

// NoRedirect keeps credentials and messages from going where a provider points.
func NoRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// IsLocal reports whether a host is this machine, to which a channel may talk without TLS.
func IsLocal(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
