package channel

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"
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
		if err != nil || !IsPublic(at.Addr()) {
			return ErrNotPublic
		}
		return nil
	}}
	transport := &http.Transport{DialContext: dialer.DialContext, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 8,
		MaxConnsPerHost: perHost, IdleConnTimeout: 30 * time.Second, TLSHandshakeTimeout: timeout}
	return &http.Client{Timeout: timeout, CheckRedirect: NoRedirect, Transport: transport}
}

// reserved returns the ranges, beside those that netip knows, that lead to no public host: RFC 6890.
func reserved() []netip.Prefix {
	var all []netip.Prefix
	for _, p := range []string{"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "198.18.0.0/15",
		"198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4", "2001::/23", "2001:db8::/32", "2002::/16",
		"3fff::/20"} {
		all = append(all, netip.MustParsePrefix(p))
	}
	return all
}

// IsPublic reports whether an address is that of a host in the public Internet.
func IsPublic(a netip.Addr) bool {
	a = a.Unmap()
	if !a.IsGlobalUnicast() || a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() {
		return false
	}
	// Of IPv6 no more than this is the public Internet. The rest has old and new ways to write private addresses.
	if public := netip.MustParsePrefix("2000::/3"); a.Is6() && !public.Contains(a) {
		return false
	}
	for _, p := range reserved() {
		if p.Contains(a) {
			return false
		}
	}
	return true
}
