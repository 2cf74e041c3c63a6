package disk

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"github.com/starlightsymphony/starlight/shared/api/line"
)

// fill is how full the pages of the journal become: it only grows at its end.
const fill = 0.95

// Append writes entries to the journal. Their numbers follow on the last.
func (tx *Tx) Append(entries ...line.Entry) error {
	b := tx.bolt.Bucket(journalBucket)
	b.FillPercent = fill
	for i := range entries {
		if err := put(b, number(entries[i].Number), &entries[i]); err != nil {
			return err
		}
	}
	return nil
}

// LastEntry returns the number of the last entry, or of the last that was forgotten; 0 if there was none.
func (tx *Tx) LastEntry() int64 {
	k, _ := tx.bolt.Bucket(journalBucket).Cursor().Last()
	if k == nil {
		return tx.Accepted()
	}
	return numberOf(k)
}

// Entries returns the entries after a number, at most so many and until they have about so many bytes.
func (tx *Tx) Entries(after int64, most, size int) ([]line.Entry, error) {
	var all []line.Entry
	c := tx.bolt.Bucket(journalBucket).Cursor()
	for k, v := c.Seek(number(after + 1)); k != nil && len(all) < most && size > 0; k, v = c.Next() {
		e, err := entry(k, v)
		if err != nil {
			return nil, err
		}
		all = append(all, e)
		size -= len(v)
	}
	return all, nil
}

// Walk calls fn for each entry after a number whose JSON has a text, until it returns false.
func (tx *Tx) Walk(after int64, with string, fn func(line.Entry) bool) error {
	c := tx.bolt.Bucket(journalBucket).Cursor()
	needle := []byte(with)
	for k, v := c.Seek(number(after + 1)); k != nil; k, v = c.Next() {
		if !bytes.Contains(v, needle) {
			continue
		}
		e, err := entry(k, v)
		if err != nil || !fn(e) {
			return err
		}
	}
	return nil
}

// WalkBack calls fn for each entry before a number whose JSON has a text, the newest first, until it returns false. 0
// stands for the end.
func (tx *Tx) WalkBack(before int64, with string, fn func(line.Entry) bool) error {
	c := tx.bolt.Bucket(journalBucket).Cursor()
	k, v := c.Last()
	if before > 0 {
		if k, _ = c.Seek(number(before)); k == nil {
			k, v = c.Last()
		} else {
			k, v = c.Prev()
		}
	}
	needle := []byte(with)
	for ; k != nil; k, v = c.Prev() {
		if !bytes.Contains(v, needle) {
			continue
		}
		e, err := entry(k, v)
		if err != nil || !fn(e) {
			return err
		}
	}
	return nil
}

// Forget deletes entries that the hub has and that are older than a time, from the first on. It deletes at most so
// many, and returns how many.
func (tx *Tx) Forget(before time.Time, most int) (int, error) {
	b := tx.bolt.Bucket(journalBucket)
	accepted := tx.Accepted()
	var keys [][]byte
	c := b.Cursor()
	for k, v := c.First(); k != nil && len(keys) < most && numberOf(k) < accepted; k, v = c.Next() {
		e, err := entry(k, v)
		if err != nil {
			return 0, err
		}
		if !e.At.Before(before) {
			break
		}
		keys = append(keys, k)
	}
	for _, k := range keys {
		if err := b.Delete(k); err != nil {
			return 0, err
		}
	}
	return len(keys), nil
}

// Accepted returns the number up to which the hub has acknowledged the journal, as far as it was written.
func (tx *Tx) Accepted() int64 { return numberOf(tx.bolt.Bucket(metaBucket).Get(acceptedKey)) }

// PutAccepted writes the number up to which the hub has acknowledged the journal.
func (tx *Tx) PutAccepted(n int64) error {
	return tx.bolt.Bucket(metaBucket).Put(acceptedKey, number(n))
}

func entry(k, v []byte) (e line.Entry, err error) {
	if err := json.Unmarshal(v, &e); err != nil || e.Number != numberOf(k) {
		return e, fmt.Errorf("edge: entry %d of the journal is damaged: %v", numberOf(k), err)
	}
	return e, nil
}
