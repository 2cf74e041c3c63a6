// Package revocation takes access tokens back before they expire. The user service writes what has ended into a bucket,
// and every gateway watches it, so that each knows within a second.
//
// A fact, once true, stays true: the session with this id has ended; tokens of this person from before that generation
// are no longer good; the key with this id was withdrawn, and nothing that it has signed is good. Facts have keys of
// their own and may be written twice, in any order. The bucket keeps them for as long as a token could live that they
// take back.
package revocation

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/stream"
	"github.com/starlightsymphony/starlight/shared/token"
)

// Bucket is the name of the bucket, and Subjects are those of its keys.
const (
	Bucket   = "revocations"
	Subjects = prefix + ">"
	prefix   = "$KV." + Bucket + "."
)

// Kept is how long a fact is kept: a token lives at most token.Longest, and clocks may differ.
const Kept = token.Longest + 10*time.Minute

// Forever is the generation of a person whose account is gone: none of their tokens is good.
const Forever = int64(1) << 62

// Fact says what is no longer good: a session, tokens of a person, or all tokens of a key.
type Fact struct {
	Session ids.Session `json:"session,omitempty"` // if set, this session has ended, and the rest is not set
	User    ids.User    `json:"user,omitempty"`    // whose tokens from before the generation are not good
	// the first generation whose tokens are good
	Generation int64 `json:"generation,omitempty"`
	// a session whose tokens this fact does not touch
	Keep ids.Session `json:"keep,omitempty"`
	Key  string      `json:"key,omitempty"` // if set, this signing key was withdrawn, and the rest is not set
}

// OfSession returns the fact that a session has ended.
func OfSession(id ids.Session) Fact { return Fact{Session: id} }

// OfKey returns the fact that a signing key was withdrawn.
func OfKey(id string) Fact { return Fact{Key: id} }

// OfUser returns the fact that a person's tokens from before the generation are not good, but those of the session to
// keep; pass "" to keep none.
func OfUser(id ids.User, generation int64, keep ids.Session) Fact {
	return Fact{User: id, Generation: generation, Keep: keep}
}

// subject returns the subject of the fact's key. Ids are tokens of a subject.
func (f Fact) subject() string {
	switch {
	case f.Session != "":
		return prefix + "session." + string(f.Session)
	case f.Key != "":
		return prefix + "key." + f.Key
	}
	return prefix + "user." + string(f.User) + "." + strconv.FormatInt(f.Generation, 10)
}

// Message returns the message that stores the fact. Its id is that of the fact, so the stream stores it once.
func (f Fact) Message() (stream.Message, error) {
	data, err := json.Marshal(f)
	return stream.Message{Subject: f.subject(), ID: f.subject(), Payload: data}, err
}

// parse reads a stored fact.
func parse(data []byte) (Fact, error) {
	var f Fact
	if err := json.Unmarshal(data, &f); err != nil {
		return f, err
	}
	named := 0
	for _, name := range []string{string(f.Session), string(f.User), f.Key} {
		if name != "" {
			named++
		}
	}
	if named != 1 {
		return f, fmt.Errorf("revocation: %.200q names not just a session, a person or a key", data)
	}
	return f, nil
}

// Identity is what a token says of its holder, as far as it can be taken back.
type Identity struct {
	User       ids.User
	Session    ids.Session
	Generation int64  // of the person's account when the token was made
	Key        string // that signed the token
}

// Revokes reports whether the identity is no longer good by this fact.
func (f Fact) Revokes(i Identity) bool {
	switch {
	case f.Session != "":
		return f.Session == i.Session
	case f.Key != "":
		return f.Key == i.Key
	}
	return f.User == i.User && i.Generation < f.Generation && (f.Keep == "" || f.Keep != i.Session)
}
