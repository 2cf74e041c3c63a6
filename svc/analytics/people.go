package analytics

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"maps"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// Buyers are counted as their orders are folded, in the same transaction, after the user service was asked what they
// agreed to be counted by. When it does not answer the numbers go on without it: how far buyers are counted is kept by
// itself, under buyersPlace, and what was left out is read again once it answers.
const buyersPlace = "buyers"

// buyer is a person who paid an order of an event. Who the person is never touches the disk.
type buyer struct {
	user   ids.User
	event  ids.Event
	asked  bool
	traits api.PersonTraits
	key    []byte // a salted hash
}

// personKey is how much of a hash is kept, in bytes: that two people share one of 128 bits does not happen.
const personKey = 16

// askLimit is how many people are asked about at a time.
const askLimit = 500

// buyersOf returns the buyers of a group after a sequence.
func buyersOf(group []message, after uint64) []*buyer {
	var all []*buyer
	for _, m := range group {
		if o, ok := m.change.(*orderChange); ok && m.seq > after && o.buyer != nil && o.buyer.user != "" {
			all = append(all, o.buyer)
		}
	}
	return all
}

// ask finds out what buyers agreed to be counted by.
func (s *Service) ask(ctx context.Context, buyers []*buyer) error {
	byUser := map[ids.User][]*buyer{}
	for _, b := range buyers {
		byUser[b.user] = append(byUser[b.user], b)
	}
	for users := range slices.Chunk(slices.Collect(maps.Keys(byUser)), askLimit) {
		answer, err := rpc.Call(ctx, s.client, api.GetDemographics, &api.PeopleRef{UserIDs: users})
		if err != nil {
			return err
		}
		for _, u := range users {
			for _, b := range byUser[u] {
				b.asked = true
			}
		}
		for _, t := range answer.Items {
			for _, b := range byUser[t.UserID] {
				b.traits = t
			}
		}
	}
	return nil
}

// askInPassing asks about the buyers of a group, unless some before them are not counted yet.
func (s *Service) askInPassing(ctx context.Context, group []message) {
	at, err := s.buyersAt()
	if err == nil && at.counted >= at.folded {
		err = s.ask(ctx, buyersOf(group, at.counted))
	}
	if err != nil && ctx.Err() == nil {
		s.log.Debug("buyers are counted later", "error", err) // a loop counts them, which logs an outage
	}
}

// countInPassing counts the buyers of a group if all before them are counted, and all of them were asked about.
func countInPassing(f *fold, last uint64, group []message) error {
	counted, end := number(f.tx, buyersPlace), group[len(group)-1].seq
	buyers := buyersOf(group, counted)
	if counted < last || counted >= end || slices.ContainsFunc(buyers, func(b *buyer) bool { return !b.asked }) {
		return nil
	}
	if err := f.countBuyers(buyers); err != nil {
		return err
	}
	return putNumber(f.tx, buyersPlace, end)
}

// buyersPosition is how far buyers are counted, and how far the numbers are folded.
type buyersPosition struct{ counted, folded uint64 }

func (s *Service) buyersAt() (p buyersPosition, err error) {
	err = s.db.View(func(tx *bolt.Tx) error {
		p = buyersPosition{number(tx, buyersPlace), number(tx, api.EventsStream)}
		return nil
	})
	return p, err
}

// catchUpBuyers counts the buyers that were left out.
func (s *Service) catchUpBuyers(ctx context.Context) error {
	at, err := s.buyersAt()
	if err != nil {
		return err
	}
	if at.counted >= at.folded {
		return nil
	}
	st, err := s.js.Stream(ctx, api.EventsStream)
	if err != nil {
		return err
	}
	end := st.CachedInfo().State.LastSeq // nothing that comes before it is missing in what follows
	consumer, done, err := s.consumer(ctx, api.EventsStream, at.counted, api.OrderWasPaid.Subject)
	if err != nil {
		return err
	}
	defer done()
	var decode reader
	for next, due := uint64(1), consumer.CachedInfo().NumPending; due > 0; {
		batch, err := consumer.FetchNoWait(int(min(due, groupLimit)))
		if err != nil {
			return err
		}
		var group []message
		for msg := range batch.Messages() {
			m, _, err := readMessage(msg, next, decode.read)
			if err != nil {
				return err
			}
			group = append(group, m)
			next++
			due--
		}
		if err := batch.Error(); err != nil {
			return err
		}
		if len(group) == 0 {
			return errors.New("the stream ends early")
		}
		if err := s.ask(ctx, buyersOf(group, 0)); err != nil {
			return err
		}
		to := group[len(group)-1].seq
		if err := s.countLeftOut(at.counted, to, group); err != nil {
			return err
		}
		at.counted = to
	}
	return s.countLeftOut(at.counted, max(at.counted, end), nil)
}

// countLeftOut counts the buyers of a group that follows the last one counted, up to a sequence.
func (s *Service) countLeftOut(last, to uint64, group []message) error {
	return s.db.Update(func(tx *bolt.Tx) error {
		if number(tx, buyersPlace) != last {
			return errMoved
		}
		f := newFold(tx)
		if err := f.countBuyers(buyersOf(group, last)); err != nil {
			return err
		}
		if err := f.write(); err != nil {
			return err
		}
		return putNumber(tx, buyersPlace, to)
	})
}

// countBuyers counts each buyer of an event once. Hashes go in order, as in add.
func (f *fold) countBuyers(buyers []*buyer) error {
	if len(buyers) == 0 {
		return nil
	}
	salt, err := saltOf(f.tx)
	if err != nil {
		return err
	}
	mac := hmac.New(sha256.New, salt)
	for _, b := range buyers {
		mac.Reset()
		mac.Write([]byte(string(b.event) + "\x00" + string(b.user)))
		b.key = mac.Sum(b.key[:0])[:personKey]
	}
	slices.SortFunc(buyers, func(a, b *buyer) int {
		return cmp.Or(cmp.Compare(a.event, b.event),
			bytes.Compare(a.key, b.key))
	})
	var people *bolt.Bucket
	for i, b := range buyers {
		if i == 0 || b.event != buyers[i-1].event {
			if people, err = f.tx.Bucket(bucketPeople).CreateBucketIfNotExists([]byte(b.event)); err != nil {
				return err
			}
		}
		if people.Get(b.key) != nil {
			continue
		}
		at(f.totals, cell{b.event, byAge, dimension(b.traits.AgeBand), 0})[nPeople]++
		at(f.totals, cell{b.event, byCountry, dimension(b.traits.Country), 0})[nPeople]++
		at(f.totals, cell{b.event, byCity, dimension(b.traits.City), 0})[nPeople]++
		if err := people.Put(b.key, []byte{}); err != nil {
			return err
		}
	}
	return nil
}

// saltOf returns the salt of the file, which it makes when there is none.
func saltOf(tx *bolt.Tx) ([]byte, error) {
	name := []byte("salt")
	if salt := tx.Bucket(bucketMeta).Get(name); salt != nil {
		return salt, nil
	}
	salt := make([]byte, 32)
	rand.Read(salt) // never fails
	return salt, tx.Bucket(bucketMeta).Put(name, salt)
}

func (s *Service) demographics(ctx context.Context, req *api.EventRef) (out *api.Demographics, err error) {
	err = s.with(ctx, req.ID, func(tx *bolt.Tx, _ *api.Offer) (err error) {
		out, err = buyers(tx, req.ID)
		return err
	})
	return out, err
}

func buyers(tx *bolt.Tx, event ids.Event) (*api.Demographics, error) {
	by := func(kind byte) api.Groups {
		var all []api.Group
		dimensions(tx, event, kind, func(name string,
			c counts) {
			all = append(all, api.Group{Name: name, People: c[nPeople]})
		})
		return protect(all)
	}
	if number(tx, buyersPlace) < number(tx, api.EventsStream) {
		return nil, fault.New(fault.Unavailable, "the buyers are being counted").After(time.Second)
	}
	return &api.Demographics{EventID: event, AgeBands: by(byAge), Countries: by(byCountry), Cities: by(byCity)}, nil
}

// protect hides groups that are too small to be shown among the others. When the others are so few themselves that a
// small group could be computed from the difference to a known total, the smallest groups shown join them.
func protect(all []api.Group) api.Groups {
	out := api.Groups{Groups: []api.Group{}}
	for _, g := range all {
		if g.Name == "" || g.People < api.SmallestGroup {
			out.Others += g.People
		} else {
			out.Groups = append(out.Groups, g)
		}
	}
	slices.SortFunc(out.Groups, func(a,
		b api.Group) int {
		return cmp.Or(cmp.Compare(b.People, a.People), cmp.Compare(a.Name, b.Name))
	})
	for out.Others > 0 && out.Others < api.SmallestGroup {
		last := len(out.Groups) - 1
		if last < 0 { // only a few: not even their number is shown
			out.Others = 0
			break
		}
		out.Others += out.Groups[last].People
		out.Groups = out.Groups[:last]
	}
	return out
}
