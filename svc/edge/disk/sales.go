package disk

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/starlightsymphony/starlight/shared/ids"
)

// Lease is what the venue itself knows of a lease. It outlives the event's other records: what was sold stays sold.
type Lease struct {
	ID       ids.Lease `json:"id"`
	Quantity int       `json:"quantity"` // sold ones included, without those that were given back
	Sold     int       `json:"sold"`
	Cut      int64     `json:"cut,omitempty"`  // the entry of the journal by which seats were last given back
	Done     int64     `json:"done,omitempty"` // the entry by which the lease ended
}

// Left returns how many seats may still be sold.
func (l *Lease) Left() int {
	if l.Done > 0 {
		return 0
	}
	return max(0, l.Quantity-l.Sold)
}

// PutLease writes a lease.
func (tx *Tx) PutLease(l *Lease) error { return put(tx.bolt.Bucket(leasesBucket), []byte(l.ID), l) }

// Leases returns all leases.
func (tx *Tx) Leases() (map[ids.Lease]Lease, error) {
	all := map[ids.Lease]Lease{}
	err := each(tx.bolt.Bucket(leasesBucket), func(_ []byte, l Lease) error {
		all[l.ID] = l
		return nil
	})
	return all, err
}

// Answer is what was answered to a request with an idempotency key.
type Answer struct {
	Hash [32]byte        `json:"hash"` // of the request
	At   time.Time       `json:"at"`
	Body json.RawMessage `json:"body"`
}

// PutAnswer keeps an answer under the hash of who asked, and with what key.
func (tx *Tx) PutAnswer(key [32]byte, a *Answer) error {
	return put(tx.bolt.Bucket(answersBucket), key[:], a)
}

// Answer returns what was answered, or nil.
func (tx *Tx) Answer(key [32]byte) (*Answer, error) {
	text := tx.bolt.Bucket(answersBucket).Get(key[:])
	if text == nil {
		return nil, nil
	}
	a := &Answer{}
	if err := json.Unmarshal(text, a); err != nil {
		return nil, fmt.Errorf("edge: the answer %x of the file is damaged: %w", key, err)
	}
	return a, nil
}

// ForgetAnswers deletes the answers that are older than a time.
func (tx *Tx) ForgetAnswers(before time.Time) error {
	b := tx.bolt.Bucket(answersBucket)
	var keys [][]byte
	err := each(b, func(k []byte, a Answer) error {
		if a.At.Before(before) {
			keys = append(keys, append([]byte{}, k...))
		}
		return nil
	})
	for _, k := range keys {
		if err == nil {
			err = b.Delete(k)
		}
	}
	return err
}
