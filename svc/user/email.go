package user

import (
	"errors"
	"net/mail"
	"strings"
)

// address is a mail address in the two forms that the service uses.
type address struct {
	text string // as its owner writes it, the domain in lower case: where mail goes
	key  string // all in lower case: what addresses are compared by
}

const (
	longestAddress = 254 // RFC 5321, 4.5.3.1.3
	longestLocal   = 64
)

var errAddress = errors.New("is not a mail address such as ada@example.org")

// parseAddress reads a bare mail address: no display name, no comments, no quoting, no literal domain, ASCII only. A
// domain with other letters has an ASCII form (RFC 5890), and two addresses that look alike cannot differ.
func parseAddress(s string) (address, error) {
	s = strings.TrimSpace(s)
	if len(s) > longestAddress {
		return address{}, errors.New("is longer than 254 bytes")
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return address{}, errAddress
		}
	}
	parsed, err := mail.ParseAddress(s)
	if err != nil || parsed.Name != "" || parsed.Address != s {
		return address{}, errAddress
	}
	at := strings.LastIndexByte(s, '@')
	local, domain := s[:at], strings.ToLower(s[at+1:])
	if len(local) > longestLocal || !validDomain(domain) {
		return address{}, errAddress
	}
	text := local + "@" + domain
	return address{text: text, key: strings.ToLower(text)}, nil
}

// validDomain reports whether s is a host name of RFC 1123, in lower case. A single label will do: localhost is one.
func validDomain(s string) bool {
	if s == "" {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			if c := label[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
				return false
			}
		}
	}
	return true
}
