package web

import "net/netip"

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
