package analytics

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"
	boltErrors "go.etcd.io/bbolt/errors"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
)

// The buckets of the file.
var (
	// sequences by place, when streams were made, whether facts were lost, generation, salt
	bucketMeta       = []byte("meta")
	bucketEvents     = []byte("events")     // event -> api.Offer
	bucketOrganizers = []byte("organizers") // organizer -> api.OrganizerTeam
	bucketTotals     = []byte("totals")     // event kind dimension -> counts
	bucketCells      = []byte("cells")      // event kind dimension minute -> counts
	bucketOrders     = []byte("orders")     // order -> orderState
	bucketTickets    = []byte("tickets")    // ticket -> ticketState
	bucketPeople     = []byte("people")     // a bucket for each event -> salted hashes of the people who were counted
	bucketLacking    = []byte("lacking")    // event, of which facts were lost
)

func buckets() [][]byte {
	return [][]byte{bucketMeta, bucketEvents, bucketOrganizers, bucketTotals, bucketCells, bucketOrders,
		bucketTickets, bucketPeople,
		bucketLacking}
}

// The dimensions by which numbers are kept.
const (
	byEvent    = 'e'
	byType     = 't'
	byPromo    = 'p'
	byReferrer = 'r'
	byGate     = 'g'
	byAge      = 'a'
	byCountry  = 'c'
	byCity     = 'y'

	referrersOf = 'n' // not a dimension: how many referrers there are
)

// counts are the counters of a cell, with a fixed width.
type counts [12]int64

const (
	nViews = iota
	nHeld
	nPaid
	nExpired
	nCancelled
	nRefunded
	nSold
	nRevoked
	nAdmitted
	nRevenue
	nRefunds
	nPeople
)

func (c *counts) add(o *counts) {
	for i := range c {
		c[i] += o[i]
	}
}

func (c *counts) read(b []byte) {
	for i := 0; i < len(c) && 8*i+8 <= len(b); i++ {
		c[i] = int64(binary.BigEndian.Uint64(b[8*i:]))
	}
}

func (c *counts) bytes() []byte {
	b := make([]byte, 0, 8*len(c))
	for _, n := range c {
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	return b
}

func (c *counts) numbers() api.Numbers {
	return api.Numbers{Views: c[nViews], OrdersHeld: c[nHeld], OrdersPaid: c[nPaid], OrdersExpired: c[nExpired],
		OrdersCancelled: c[nCancelled],
		OrdersRefunded:  c[nRefunded], TicketsSold: c[nSold], TicketsRevoked: c[nRevoked], Admitted: c[nAdmitted],
		Revenue: c[nRevenue], Refunds: c[nRefunds]}
}

// prefix is the beginning of the keys of an event's dimension. Ids and dimensions hold no zero byte.
func prefix(event ids.Event, kind byte) []byte {
	return append(append([]byte(event), 0), kind)
}

func totalKey(event ids.Event, kind byte, dimension string) []byte {
	return append(prefix(event, kind), dimension...)
}

func cellPrefix(event ids.Event, kind byte, dimension string) []byte {
	return append(totalKey(event, kind, dimension), 0)
}

const lockWait = 100 * time.Millisecond // for the file of another instance

// openFile opens the read model of an instance: the first file of the folder that no other process has open. Which
// one it is does not matter, for each says how far it has read.
func openFile(dir string) (*bolt.DB, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	var db *bolt.DB
	err := boltErrors.ErrTimeout
	for i := 1; i <= mostInstances && errors.Is(err, boltErrors.ErrTimeout); i++ {
		name := filepath.Join(dir, fmt.Sprintf("analytics-%d.bolt", i))
		db, err = bolt.Open(name, 0o600,
			&bolt.Options{Timeout: lockWait, NoFreelistSync: true, FreelistType: bolt.FreelistMapType})
	}
	if err != nil {
		return nil, fmt.Errorf("analytics: the read model in %s: %w", dir, err)
	}
	if err = db.Update(func(tx *bolt.Tx) error { return makeBuckets(tx) }); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

func makeBuckets(tx *bolt.Tx) error {
	for _, name := range buckets() {
		if _, err := tx.CreateBucketIfNotExists(name); err != nil {
			return err
		}
	}
	return nil
}

// reset forgets everything that was folded.
func reset(tx *bolt.Tx, generation uint64) error {
	for _, name := range buckets() {
		if err := tx.DeleteBucket(name); err != nil && !errors.Is(err, boltErrors.ErrBucketNotFound) {
			return err
		}
	}
	if err := makeBuckets(tx); err != nil {
		return err
	}
	return putNumber(tx, "generation", generation)
}

func number(tx *bolt.Tx, name string) uint64 {
	b := tx.Bucket(bucketMeta).Get([]byte(name))
	if len(b) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

func putNumber(tx *bolt.Tx, name string, n uint64) error {
	return tx.Bucket(bucketMeta).Put([]byte(name), binary.BigEndian.AppendUint64(nil, n))
}

// offer returns what is known of an event, or nil if nothing is, or it is deleted.
func offer(tx *bolt.Tx, event ids.Event) (*api.Offer, error) {
	o, err := described(tx, event)
	if err != nil || o == nil || o.Event.Status == deleted {
		return nil, err
	}
	return o, nil
}

// described returns the newest description of an event, or nil.
func described(tx *bolt.Tx, event ids.Event) (*api.Offer, error) {
	b := tx.Bucket(bucketEvents).Get([]byte(event))
	if b == nil {
		return nil, nil
	}
	return decodeOffer(tx, b)
}

// decodeOffer reads a description, with the newest team of its organizer.
func decodeOffer(tx *bolt.Tx, data []byte) (*api.Offer, error) {
	o := new(api.Offer)
	if err := json.Unmarshal(data, o); err != nil {
		return nil, err
	}
	b := tx.Bucket(bucketOrganizers).Get([]byte(o.Event.OrganizerID))
	if b == nil {
		return o, nil
	}
	team := new(api.OrganizerTeam)
	if err := json.Unmarshal(b, team); err != nil {
		return nil, err
	}
	return o.Joined(team), nil
}
