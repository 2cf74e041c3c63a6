// Package passwords judges new passwords: by how many guesses they withstand, and by a list of those that were stolen
// and published, which stays on the machine.
package passwords

import (
	"crypto/sha1"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/ccojocar/zxcvbn-go"

	"github.com/starlightsymphony/starlight/svc/user/hashing"
)

// The bounds of a password, in characters of its NFC form. There are no rules of composition.
const (
	Shortest = 8
	Longest  = 256
)

// estimated is how many characters at the beginning of a password are looked at for its strength: the estimate takes
// up to some milliseconds for so many, and a second for all of a long one.
const estimated = 32

// Judge says what is wrong with a password.
type Judge struct {
	Stolen *Filter    // may be nil
	Bits   func() int // of entropy that a password has at least, by estimate
	// Words returns what everybody here expects, with commas between; nil is nothing but the names of the system.
	Words func() string
}

// Check returns why a password is no good, as the end of a sentence that begins with the field; "" if it is fine. What
// belongs to its owner, such as name and address, is easy to guess.
func (j Judge) Check(password string, owner ...string) string {
	if !utf8.ValidString(password) {
		return "must be text"
	}
	password = hashing.Normal(password)
	if n := utf8.RuneCountInString(password); n < Shortest || n > Longest {
		return fmt.Sprintf("must have %d to %d characters", Shortest, Longest)
	}
	if j.Stolen != nil && (j.Stolen.Has(sum(password)) || j.Stolen.Has(sum(strings.ToLower(password)))) {
		return "is in a list of stolen passwords; take one that you use nowhere else"
	}
	head := []rune(password)
	if len(head) > estimated {
		head = head[:estimated]
	}
	if zxcvbn.PasswordStrength(string(head), j.guesses(owner)).Entropy < float64(j.Bits()) {
		return "is too easy to guess; a few unusual words are a good one"
	}
	return ""
}

// guesses returns what a password is tried with that its owner can be expected to take: each text, and the words of it.
// The estimate compares them in lower case.
func (j Judge) guesses(owner []string) []string {
	const most = 120 // a setting has 1,000 bytes
	between := func(r rune) bool { return strings.ContainsRune(" @.-_+'", r) }
	list := []string{"starlight", "starlightsymphony", "ticket", "tickets"}
	if j.Words != nil {
		for word := range strings.SplitSeq(j.Words(), ",") {
			if word = strings.TrimSpace(word); word != "" {
				owner = append(owner, word)
			}
		}
	}
	for _, text := range owner {
		text = strings.ToLower(text)
		list = append(list, text)
		list = append(list, strings.FieldsFunc(text, between)...)
	}
	return list[:min(len(list), most)]
}

// sum identifies a password as published lists do.
func sum(password string) [sha1.Size]byte { return sha1.Sum([]byte(password)) }
