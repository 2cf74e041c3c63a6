package channel

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"

	"github.com/starlightsymphony/starlight/shared/web"
)

// ErrNotPublic is the error of an address within a private network.
var ErrNotPublic = errors.New("the address is not a public one")

// GuardedClient returns a client for addresses that users gave us. It checks the address at the moment of dialing,
// after names are resolved, unless private ones are allowed then; it follows no redirects and takes no proxy.
func GuardedClient(private func() bool, timeout time.Duration, perHost int) *http.Client {
	dialer := &net.Dialer{Timeout: timeout, Control: func(_, address string, _ syscall.RawConn) error {
		if private() {
			return nil
		}
		at, err := netip.ParseAddrPort(address)
		if err != nil || !web.IsPublic(at.Addr()) {
			return ErrNotPublic
		}
		return nil
	}}
	transport := &http.Transport{DialContext: dialer.DialContext, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 8,
		MaxConnsPerHost: perHost, IdleConnTimeout: 30 * time.Second, TLSHandshakeTimeout: timeout}
	return &http.Client{Timeout: timeout, CheckRedirect: NoRedirect, Transport: transport}
}
