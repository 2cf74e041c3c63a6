package analytics

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"maps"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// buyer is a person who paid an order of an event. The traits come from the user service, at the moment of counting: who
// the person is never touches the disk.
type buyer struct {
	user   ids.User
	event  ids.Event
	traits api.PersonTraits
}

// readBuyer makes a buyer of a paid order. What cannot be read is a dead letter already.
func (r *reader) readBuyer(_ string, data []byte, _ time.Time) (change, error) {
	o, err := r.object(data)
	order := o.in("order")
	b := &buyer{user: ids.User(order.text("user_id")), event: ids.Event(order.text("event_id"))}
	if o.err(err) != nil || b.user == "" || b.event == "" {
		return nil, nil
	}
	return b, nil
}

// askLimit is how many people are asked about at a time.
const askLimit = 500

// ask finds out what the buyers of a group agreed to be counted by.
func (s *Service) ask(ctx context.Context, group []message) error {
	buyers := map[ids.User][]*buyer{}
	for _, m := range group {
		if b, ok := m.change.(*buyer); ok {
			buyers[b.user] = append(buyers[b.user], b)
		}
	}
	for users := range slices.Chunk(slices.Collect(maps.Keys(buyers)), askLimit) {
		answer, err := rpc.Call(ctx, s.client, api.GetDemographics, &api.PeopleRef{UserIDs: users})
		if err != nil {
			return err
		}
		for _, t := range answer.Items {
			for _, b := range buyers[t.UserID] {
				b.traits = t
			}
		}
	}
	return nil
}

// fold counts a buyer of an event once.
func (b *buyer) fold(f *fold) error {
	salt, err := saltOf(f.tx)
	if err != nil {
		return err
	}
	mac := hmac.New(sha256.New, salt)
	mac.Write([]byte(string(b.event) + "\x00" + string(b.user)))
	key := mac.Sum(append([]byte(b.event), 0))
	people := f.tx.Bucket(bucketPeople)
	if people.Get(key) != nil {
		return nil
	}
	for kind, name := range map[byte]string{byAge: b.traits.AgeBand, byCountry: b.traits.Country, byCity: b.traits.City} {
		at(f.totals, cell{b.event, kind, dimension(name), 0})[nPeople]++
	}
	return people.Put(key, []byte{})
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
		dimensions(tx, event, kind, func(name string, c counts) { all = append(all, api.Group{Name: name, People: c[nPeople]}) })
		return protect(all)
	}
	return &api.Demographics{EventID: event, AgeBands: by(byAge), Countries: by(byCountry), Cities: by(byCity)}, caughtUp(tx, buyersPlace)
}

// protect hides groups that are too small to be shown among the others. When the others are so few themselves that a
// small group could be told from the difference to a known total, the smallest groups shown join them.
func protect(all []api.Group) api.Groups {
	out := api.Groups{Groups: []api.Group{}}
	for _, g := range all {
		if g.Name == "" || g.People < api.SmallestGroup {
			out.Others += g.People
		} else {
			out.Groups = append(out.Groups, g)
		}
	}
	slices.SortFunc(out.Groups, func(a, b api.Group) int { return cmp.Or(cmp.Compare(b.People, a.People), cmp.Compare(a.Name, b.Name)) })
	for out.Others > 0 && out.Others < api.SmallestGroup {
		last := len(out.Groups) - 1
		if last < 0 { // nobody but a few: not even their number is told
			out.Others = 0
			break
		}
		out.Others += out.Groups[last].People
		out.Groups = out.Groups[:last]
	}
	return out
}
