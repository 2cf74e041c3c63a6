package analytics

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"time"

	bolt "go.etcd.io/bbolt"
	boltErrors "go.etcd.io/bbolt/errors"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
)

// coarse is how many minutes old cells are made of. The offsets of all zones are multiples of it, so hours and days of
// every zone stay exact.
const coarse = 15

// sweepChunk is how many keys one transaction looks at.
const sweepChunk = 5000

// sweep makes old cells coarser, and forgets events that are over for long.
func (s *Service) sweep(ctx context.Context) error {
	if err := s.downsample(ctx, minuteOf(s.now().Add(-api.AnalyticsMinutes.Get(s.live)))); err != nil {
		return err
	}
	if err := s.forgetPeople(s.now().Add(-api.PeopleRetention.Get(s.live))); err != nil {
		return err
	}
	return s.deleteEnded(ctx, s.now().Add(-api.AnalyticsRetention.Get(s.live)))
}

// forgetPeople deletes the marks of the buyers of events that ended before a time. Their numbers stay.
func (s *Service) forgetPeople(before time.Time) error {
	return s.db.Update(func(tx *bolt.Tx) error {
		people := tx.Bucket(bucketPeople)
		var over [][]byte
		err := people.ForEachBucket(func(event []byte) error {
			o, err := described(tx, ids.Event(event))
			if err == nil && o != nil && !o.Event.EndsAt.IsZero() && o.Event.EndsAt.Before(before) {
				over = append(over, bytes.Clone(event))
			}
			return err
		})
		for _, event := range over {
			err = errors.Join(err, people.DeleteBucket(event))
		}
		return err
	})
}

func (s *Service) downsample(ctx context.Context, before int64) error {
	return s.chunks(ctx, bucketCells, func(tx *bolt.Tx, k, v []byte) error {
		at := len(k) - 4
		minute := int64(binary.BigEndian.Uint32(k[at:]))
		if minute >= before || minute%coarse == 0 {
			return nil
		}
		b := tx.Bucket(bucketCells)
		to := binary.BigEndian.AppendUint32(bytes.Clone(k[:at]), uint32(minute-minute%coarse))
		var sum, c counts
		sum.read(b.Get(to))
		c.read(v)
		sum.add(&c)
		if err := b.Put(to, sum.bytes()); err != nil {
			return err
		}
		return b.Delete(k)
	})
}

// deleteEnded deletes all that is known of events that ended before a time.
func (s *Service) deleteEnded(ctx context.Context, before time.Time) error {
	old := map[ids.Event]bool{}
	err := s.db.View(func(tx *bolt.Tx) error {
		return tx.Bucket(bucketEvents).ForEach(func(k, v []byte) error {
			var o api.Offer
			err := json.Unmarshal(v, &o)
			if err == nil && !o.Event.EndsAt.IsZero() && o.Event.EndsAt.Before(before) {
				old[ids.Event(k)] = true
			}
			return err
		})
	})
	if err != nil || len(old) == 0 {
		return err
	}
	byPrefix := func(k, _ []byte) (ids.Event, error) {
		event, _, _ := bytes.Cut(k, []byte{0})
		return ids.Event(event), nil
	}
	byState := func(_, v []byte) (ids.Event, error) { return eventOf(v) }
	for event := range old {
		err := s.db.Update(func(tx *bolt.Tx) error {
			if err := tx.Bucket(bucketPeople).DeleteBucket([]byte(event)); !errors.Is(err,
				boltErrors.ErrBucketNotFound) {
				return err
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	for _, part := range []struct {
		bucket []byte
		owner  func(k, v []byte) (ids.Event, error)
	}{{bucketCells, byPrefix}, {bucketTotals, byPrefix}, {bucketOrders, byState}, {bucketTickets, byState},
		{bucketEvents, byPrefix}, {bucketLacking, byPrefix}} {
		err := s.chunks(ctx, part.bucket, func(tx *bolt.Tx, k, v []byte) error {
			event, err := part.owner(k, v)
			if err != nil || !old[event] {
				return err
			}
			return tx.Bucket(part.bucket).Delete(k)
		})
		if err != nil {
			return err
		}
	}
	return s.db.Update(deleteIdle)
}

// deleteIdle deletes the teams of organizers without an event. The next event brings its team along.
func deleteIdle(tx *bolt.Tx) error {
	busy := map[string]bool{}
	err := tx.Bucket(bucketEvents).ForEach(func(_, v []byte) error {
		var o api.Offer
		err := json.Unmarshal(v, &o)
		busy[o.Event.OrganizerID.String()] = true
		return err
	})
	if err != nil {
		return err
	}
	b := tx.Bucket(bucketOrganizers)
	var idle [][]byte
	err = b.ForEach(func(k, _ []byte) error {
		if !busy[string(k)] {
			idle = append(idle, bytes.Clone(k))
		}
		return nil
	})
	for _, k := range idle {
		err = errors.Join(err, b.Delete(k))
	}
	return err
}

// chunks calls fn for every key of a bucket, in transactions of bounded size.
func (s *Service) chunks(ctx context.Context, bucket []byte, fn func(tx *bolt.Tx, k, v []byte) error) error {
	var next []byte
	for first := true; first || next != nil; first = false {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := s.db.Update(func(tx *bolt.Tx) error {
			var keys, values [][]byte
			cursor := tx.Bucket(bucket).Cursor()
			k, v := cursor.Seek(next)
			for ; k != nil && len(keys) < sweepChunk; k, v = cursor.Next() {
				keys, values = append(keys, bytes.Clone(k)), append(values, bytes.Clone(v))
			}
			next = bytes.Clone(k)
			for i := range keys { // after the walk: a cursor does not survive what changes its bucket
				if err := fn(tx, keys[i], values[i]); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
