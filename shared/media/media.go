// Package media keeps files that anybody may be shown, such as pictures of events. A name is given out once, so what is
// under it never changes; it goes away when its owner takes it away.
package media

import (
	"context"
	"errors"
	"regexp"
	"time"
)

// ErrNotFound is returned where there is no file of a name.
var ErrNotFound = errors.New("media: there is no such file")

// MostBytes is how large a file may be.
const MostBytes = 4 << 20

// Store keeps files. Whoever can reach it sees what was put there from anywhere.
type Store interface {
	// Put keeps a file. It is on disk when Put returns.
	Put(ctx context.Context, name string, data []byte) error
	// Get returns a file, which must not be changed, or ErrNotFound.
	Get(ctx context.Context, name string) ([]byte, error)
	// Delete takes a file away, if it is there.
	Delete(ctx context.Context, name string) error
	// Sweep takes away what crashes have left that belongs to no file, and was last written before a moment: the time
	// that a Put under way may still need.
	Sweep(ctx context.Context, before time.Time) error
}

// nameRule keeps names safe in paths, in addresses and as tokens.
var nameRule = regexp.MustCompile(`^[a-z0-9]{16,64}-[a-z0-9]{1,10}\.[a-z]{3,4}$`)

// IsName reports whether a file can have a name.
func IsName(name string) bool { return nameRule.MatchString(name) }

func checkName(name string) error {
	if !IsName(name) {
		return errors.New("media: bad name")
	}
	return nil
}
