package disk

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"
	boltErrors "go.etcd.io/bbolt/errors"

	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/ids"
)

// Event is an event whose doors are the venue's, or are on the way.
type Event struct {
	line.Event // as the hub last said; with the offer also when that was left out

	// Holds says that this edge admits. It is written before the hub hears of it, and taken back before the hub hears
	// of that.
	Holds bool `json:"holds"`
	// Due is the position that the manifest must have before the edge admits: that of the event after the hand-over.
	Due      int64    `json:"due"`
	Manifest Manifest `json:"manifest"`
}

// Manifest is how far the tickets of an event are known. The zero value is none.
type Manifest struct {
	Generation int64 `json:"generation"`
	Position   int64 `json:"position"`
	// After is the last ticket of this position that is here, and More says that there are others.
	After    ids.Ticket `json:"after,omitempty"`
	More     bool       `json:"more,omitempty"`
	Complete bool       `json:"complete"`
	// Next is a reading of all tickets that is under way, of the first or another generation.
	Next *Reading `json:"next,omitempty"`
}

// Reading is how far a reading of all tickets has come.
type Reading struct {
	Generation int64      `json:"generation"`
	Position   int64      `json:"position"` // of the first page
	After      ids.Ticket `json:"after"`
}

// PutEvent writes an event.
func (tx *Tx) PutEvent(e *Event) error {
	return put(tx.bolt.Bucket(eventsBucket), []byte(e.EventID), e)
}

// Events returns all events.
func (tx *Tx) Events() ([]*Event, error) {
	var all []*Event
	err := each(tx.bolt.Bucket(eventsBucket), func(_ []byte, e *Event) error {
		all = append(all, e)
		return nil
	})
	return all, err
}

// DeleteEvent forgets an event and its tickets. What was decided stays in the journal.
func (tx *Tx) DeleteEvent(id ids.Event) error {
	if err := tx.bolt.Bucket(eventsBucket).Delete([]byte(id)); err != nil {
		return err
	}
	for _, of := range [][]byte{ticketsBucket, askedBucket, givenBucket} {
		all := tx.bolt.Bucket(of)
		var names [][]byte
		c := all.Cursor()
		for k, _ := c.Seek([]byte(id)); bytes.HasPrefix(k, []byte(id)); k, _ = c.Next() {
			names = append(names, append([]byte{}, k...))
		}
		for _, name := range names {
			if err := all.DeleteBucket(name); err != nil {
				return err
			}
		}
	}
	return nil
}

// PutOver notes that the doors of an event were given back. The edge takes them again only in a later epoch.
func (tx *Tx) PutOver(id ids.Event, epoch int64) error {
	return tx.bolt.Bucket(overBucket).Put([]byte(id), number(epoch))
}

// Over returns the epoch in which the doors of an event were last given back, or 0.
func (tx *Tx) Over(id ids.Event) int64 { return numberOf(tx.bolt.Bucket(overBucket).Get([]byte(id))) }

// Session is a person who has signed in.
type Session struct {
	Staff   line.Staff `json:"staff"`
	Expires time.Time  `json:"expires"`
}

// PutSession keeps a session under the hash of its token.
func (tx *Tx) PutSession(hash [32]byte, s Session) error {
	return put(tx.bolt.Bucket(sessionsBucket), hash[:], s)
}

// DeleteSession ends a session.
func (tx *Tx) DeleteSession(hash [32]byte) error {
	return tx.bolt.Bucket(sessionsBucket).Delete(hash[:])
}

// Sessions returns all sessions.
func (tx *Tx) Sessions() (map[[32]byte]Session, error) {
	all := map[[32]byte]Session{}
	err := each(tx.bolt.Bucket(sessionsBucket), func(k []byte, s Session) error {
		if len(k) == 32 {
			all[[32]byte(k)] = s
		}
		return nil
	})
	return all, err
}

// NextSession returns the number of the next hello, and counts it.
func (tx *Tx) NextSession() (int64, error) {
	meta := tx.bolt.Bucket(metaBucket)
	n := numberOf(meta.Get(sessionKey)) + 1
	return n, meta.Put(sessionKey, number(n))
}

// Clock is what is known of the hub's clock.
type Clock struct {
	Hub  time.Time     `json:"hub"`  // the last time that it told
	Skew time.Duration `json:"skew"` // of the venue's clock then: so much ahead of the hub's
}

// PutClock writes the clock.
func (tx *Tx) PutClock(c Clock) error { return put(tx.bolt.Bucket(metaBucket), clockKey, c) }

// Clock returns the clock; zero if none was written.
func (tx *Tx) Clock() (c Clock, err error) {
	err = tx.get(clockKey, &c)
	return c, err
}

// PutFenced notes why this edge must not serve the venue any more; "" that it may.
func (tx *Tx) PutFenced(why string) error {
	return tx.bolt.Bucket(metaBucket).Put(fencedKey, []byte(why))
}

// Fenced returns why this edge must not serve the venue any more, or "".
func (tx *Tx) Fenced() string { return string(tx.bolt.Bucket(metaBucket).Get(fencedKey)) }

// PutKeys writes the keys that sign codes.
func (tx *Tx) PutKeys(keys []line.Key) error { return put(tx.bolt.Bucket(metaBucket), keysKey, keys) }

// Keys returns the keys that sign codes.
func (tx *Tx) Keys() (keys []line.Key, err error) {
	err = tx.get(keysKey, &keys)
	return keys, err
}

func (tx *Tx) get(key []byte, into any) error {
	text := tx.bolt.Bucket(metaBucket).Get(key)
	if text == nil {
		return nil
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("edge: the entry %q of the file is damaged: %w", key, err)
	}
	return nil
}

// deleteIfThere deletes a bucket within another.
func deleteIfThere(b *bolt.Bucket, name []byte) error {
	if err := b.DeleteBucket(name); err != nil && !errors.Is(err, boltErrors.ErrBucketNotFound) {
		return err
	}
	return nil
}
