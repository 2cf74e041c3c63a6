package disk

import (
	"encoding/json"
	"errors"

	bolt "go.etcd.io/bbolt"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/ids"
)

// What is asked about tickets is beside them: most events ask nothing at the door.

// Given is what was answered at this venue about a ticket, until the list of the hub has it.
type Given struct {
	Answers []api.Answer `json:"answers"` // all to what is asked at the door, without positions
	Number  int64        `json:"number"`  // of the entry of the journal by which they were last changed
}

// putAsked writes what the manifest says of the questions about tickets.
func (tx *Tx) putAsked(event ids.Event, generation int64, tickets []line.Ticket) error {
	all, name := tx.bolt.Bucket(askedBucket), bucketName(event, generation)
	b := all.Bucket(name)
	for i := range tickets {
		key := tickets[i].ID.Raw()
		asked := tickets[i].Asked
		if b == nil && asked == nil {
			continue
		}
		if b == nil {
			var err error
			if b, err = all.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		if asked == nil {
			if err := b.Delete(key[:]); err != nil {
				return err
			}
		} else if err := put(b, key[:], asked); err != nil {
			return err
		}
	}
	return nil
}

// Asked returns what the manifest says of the questions about a ticket; the zero value if that is nothing.
func (tx *Tx) Asked(event ids.Event, generation int64, id ids.Ticket) (a line.Asked, err error) {
	_, err = look(tx.bolt.Bucket(askedBucket).Bucket(bucketName(event, generation)), id, &a)
	return a, err
}

// PutGiven keeps what was answered about a ticket of an event.
func (tx *Tx) PutGiven(event ids.Event, id ids.Ticket, g Given) error {
	b, err := tx.bolt.Bucket(givenBucket).CreateBucketIfNotExists([]byte(event))
	if err != nil {
		return err
	}
	key := id.Raw()
	return put(b, key[:], g)
}

// Given returns what was answered at this venue about a ticket of an event, and false if the manifest has it.
func (tx *Tx) Given(event ids.Event, id ids.Ticket) (g Given, there bool, err error) {
	there, err = look(tx.bolt.Bucket(givenBucket).Bucket([]byte(event)), id, &g)
	return g, there, err
}

// DropGiven forgets what was answered about tickets whose manifest is from a moment when the hub had the journal up to
// a number.
func (tx *Tx) DropGiven(event ids.Event, tickets []line.Ticket, accepted int64) error {
	b := tx.bolt.Bucket(givenBucket).Bucket([]byte(event))
	for i := range tickets {
		if b == nil {
			return nil
		}
		var g Given
		there, err := look(b, tickets[i].ID, &g)
		if err == nil && there && g.Number <= accepted {
			key := tickets[i].ID.Raw()
			err = b.Delete(key[:])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// look reads what a bucket, which may be nil, has of a ticket.
func look(b *bolt.Bucket, id ids.Ticket, into any) (there bool, err error) {
	if b == nil {
		return false, nil
	}
	key := id.Raw()
	text := b.Get(key[:])
	if text == nil {
		return false, nil
	}
	if err := json.Unmarshal(text, into); err != nil {
		return false, errors.Join(errTicket, err)
	}
	return true, nil
}
