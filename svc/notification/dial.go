package notification

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"
)

// errInside is the error of an address that is not out in the world.
var errInside = errors.New("the address is not a public one")

// worldClient returns a client for addresses that people gave us. It checks the address at the moment of dialling, after
// names are resolved, follows no redirects and takes no proxy.
func worldClient(private bool) *http.Client {
	dialer := &net.Dialer{Timeout: 10 * time.Second}
	if !private {
		dialer.Control = func(_, address string, _ syscall.RawConn) error {
			at, err := netip.ParseAddrPort(address)
			if err != nil || !outside(at.Addr()) {
				return errInside
			}
			return nil
		}
	}
	return &http.Client{Timeout: httpTimeout, CheckRedirect: noRedirect, Transport: &http.Transport{DialContext: dialer.DialContext,
		ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 8, IdleConnTimeout: 30 * time.Second, TLSHandshakeTimeout: 10 * time.Second}}
}

// reserved are the ranges, beside those that netip knows, that lead to no public host: RFC 6890.
func reserved() []netip.Prefix {
	var all []netip.Prefix
	for _, p := range []string{"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
		"240.0.0.0/4", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16"} {
		all = append(all, netip.MustParsePrefix(p))
	}
	return all
}

// outside reports whether an address is that of a host in the world.
func outside(a netip.Addr) bool {
	a = a.Unmap()
	if !a.IsGlobalUnicast() || a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() {
		return false
	}
	for _, p := range reserved() {
		if p.Contains(a) {
			return false
		}
	}
	return true
}
