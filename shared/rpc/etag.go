package rpc

import "strings"

// MatchETag reports whether an If-Match header allows a change of the version etag (an opaque token without quotes).
// An empty header allows it, and so does "*". The comparison is the strong one of RFC 9110: a weak tag never matches.
func MatchETag(ifMatch, etag string) bool {
	return strings.TrimSpace(ifMatch) == "" || matchList(ifMatch, etag, false)
}

// NoneMatch reports whether an If-None-Match header names the version etag, by the weak comparison of RFC 9110.
func NoneMatch(ifNoneMatch, etag string) bool {
	return ifNoneMatch != "" && matchList(ifNoneMatch, etag, true)
}

func matchList(list, etag string, weak bool) bool {
	if strings.TrimSpace(list) == "*" {
		return true
	}
	for rest := list; rest != ""; {
		rest = strings.TrimLeft(rest, " \t,")
		isWeak := strings.HasPrefix(rest, "W/")
		rest = strings.TrimPrefix(rest, "W/")
		if !strings.HasPrefix(rest, `"`) {
			return false // not an entity tag: what follows cannot be read
		}
		tag, after, closed := strings.Cut(rest[1:], `"`)
		if !closed {
			return false
		}
		if tag == etag && (weak || !isWeak) {
			return true
		}
		rest = after
	}
	return false
}
