package disk

import (
	"encoding/binary"
	"errors"
	"strconv"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/ids"
)

// A ticket is stored under the 16 bytes of its id as numbers and texts, each text with its length before it: there are
// hundreds of thousands.

// ticketsFill is how full the pages of tickets become. Ids grow with time, so they are added at the end; the rest is
// for what a ticket gets once it is admitted.
const ticketsFill = 0.8

var errTicket = errors.New("edge: a stored ticket is damaged")

// statuses are the states of a ticket, by the byte that stands for them.
var statuses = [...]string{api.TicketValid, api.TicketAdmitted, api.TicketRevoked, api.TicketHandedOut}

func bucketName(event ids.Event, generation int64) []byte {
	return []byte(string(event) + "." + strconv.FormatInt(generation, 36))
}

// PutTickets writes tickets of an event's manifest.
func (tx *Tx) PutTickets(event ids.Event, generation int64, tickets []line.Ticket) error {
	b, err := tx.bolt.Bucket(ticketsBucket).CreateBucketIfNotExists(bucketName(event, generation))
	if err != nil {
		return err
	}
	b.FillPercent = ticketsFill
	for i := range tickets {
		key := tickets[i].ID.Raw()
		if err := b.Put(key[:], encodeTicket(&tickets[i])); err != nil {
			return err
		}
	}
	return tx.putAsked(event, generation, tickets)
}

// DropTickets forgets a generation of an event's manifest.
func (tx *Tx) DropTickets(event ids.Event, generation int64) error {
	if err := deleteIfThere(tx.bolt.Bucket(askedBucket), bucketName(event, generation)); err != nil {
		return err
	}
	return deleteIfThere(tx.bolt.Bucket(ticketsBucket), bucketName(event, generation))
}

// Ticket returns a ticket of a manifest, and false if it is not there.
func (tx *Tx) Ticket(event ids.Event, generation int64, id ids.Ticket) (line.Ticket, bool, error) {
	b := tx.tickets(event, generation)
	if b == nil {
		return line.Ticket{}, false, nil
	}
	key := id.Raw()
	v := b.Get(key[:])
	if v == nil {
		return line.Ticket{}, false, nil
	}
	t, err := decodeTicket(key[:], v)
	return t, err == nil, err
}

// Tickets calls fn for each ticket of a manifest, by id.
func (tx *Tx) Tickets(event ids.Event, generation int64, fn func(line.Ticket)) error {
	b := tx.tickets(event, generation)
	if b == nil {
		return nil
	}
	return b.ForEach(func(k, v []byte) error {
		t, err := decodeTicket(k, v)
		if err == nil {
			fn(t)
		}
		return err
	})
}

func (tx *Tx) tickets(event ids.Event, generation int64) *bolt.Bucket {
	return tx.bolt.Bucket(ticketsBucket).Bucket(bucketName(event, generation))
}

func encodeTicket(t *line.Ticket) []byte {
	b := make([]byte, 0, 64+len(t.Name)+len(t.Gate))
	flags := byte(0)
	for i, s := range statuses {
		if t.Status == s {
			flags = byte(i)
		}
	}
	if t.Outside {
		flags |= 4
	}
	if t.Order != "" {
		flags |= 8
	}
	b = append(b, flags)
	b = binary.AppendVarint(b, t.Revision)
	b = binary.AppendVarint(b, t.Position)
	admitted := int64(0)
	if t.Admitted != nil {
		admitted = t.Admitted.UnixMilli()
	}
	b = binary.AppendVarint(b, admitted)
	typ := t.Type.Raw()
	b = append(b, typ[:]...)
	if t.Order != "" {
		order := t.Order.Raw()
		b = append(b, order[:]...)
	}
	b = append(binary.AppendUvarint(b, uint64(len(t.Gate))), t.Gate...)
	return append(b, t.Name...)
}

func decodeTicket(key, b []byte) (t line.Ticket, err error) {
	r := reader{rest: b}
	flags := r.bytes(1)
	t.Revision, t.Position = r.varint(), r.varint()
	admitted := r.varint()
	typ := r.bytes(16)
	if r.bad || len(key) != 16 || int(flags[0]&3) >= len(statuses) {
		return t, errTicket
	}
	t.ID, t.Type = ids.FromRaw[ids.TicketKind]([16]byte(key)), ids.FromRaw[ids.TicketTypeKind]([16]byte(typ))
	t.Status, t.Outside = statuses[flags[0]&3], flags[0]&4 != 0
	if flags[0]&8 != 0 {
		if order := r.bytes(16); !r.bad {
			t.Order = ids.FromRaw[ids.OrderKind]([16]byte(order))
		}
	}
	if admitted != 0 {
		at := time.UnixMilli(admitted).UTC()
		t.Admitted = &at
	}
	t.Gate = string(r.bytes(int(r.uvarint())))
	t.Name = string(r.rest)
	if r.bad {
		return t, errTicket
	}
	return t, nil
}

// reader takes values from the beginning of bytes. It is bad from the first that is not there.
type reader struct {
	rest []byte
	bad  bool
}

func (r *reader) bytes(n int) []byte {
	if r.bad || n < 0 || n > len(r.rest) {
		r.bad = true
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.rest)
	r.skip(n)
	return v
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	r.skip(n)
	return min(v, uint64(len(r.rest)+1)) // more is too much all the same
}

func (r *reader) skip(n int) {
	if n <= 0 || r.bad {
		r.bad = true
		return
	}
	r.rest = r.rest[n:]
}
