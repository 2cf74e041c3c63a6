package analytics

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"slices"

	bolt "go.etcd.io/bbolt"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// askLimit is how many people are asked about at a time.
const askLimit = 500

// askPeople counts the buyers that the fold has noted, by what they agreed to be counted by, and forgets who they are.
func (s *Service) askPeople(ctx context.Context) error {
	for {
		type buyer struct {
			user  ids.User
			event ids.Event
		}
		var buyers []buyer
		var users []ids.User
		err := s.db.View(func(tx *bolt.Tx) error {
			cursor := tx.Bucket(bucketAsk).Cursor()
			for k, _ := cursor.First(); k != nil && len(buyers) < askLimit; k, _ = cursor.Next() {
				user, event, _ := bytes.Cut(k, []byte{0})
				buyers = append(buyers, buyer{ids.User(user), ids.Event(event)})
				if u := ids.User(user); u != "" && (len(users) == 0 || users[len(users)-1] != u) {
					users = append(users, u)
				}
			}
			return nil
		})
		if err != nil || len(buyers) == 0 {
			return err
		}
		answer, err := rpc.Call(ctx, s.client, api.GetDemographics, &api.PeopleRef{UserIDs: users})
		if err != nil {
			return err
		}
		traits := make(map[ids.User]api.PersonTraits, len(answer.Items))
		for _, t := range answer.Items {
			traits[t.UserID] = t
		}
		err = s.db.Update(func(tx *bolt.Tx) error {
			f := newFold(tx)
			for _, b := range buyers {
				if err := f.person(b.event, b.user, traits[b.user]); err != nil {
					return err
				}
			}
			return f.write()
		})
		if err != nil || ctx.Err() != nil {
			return err
		}
	}
}

// person counts a buyer of an event once.
func (f *fold) person(event ids.Event, user ids.User, t api.PersonTraits) error {
	if err := f.tx.Bucket(bucketAsk).Delete([]byte(string(user) + "\x00" + string(event))); err != nil {
		return err
	}
	salt, err := saltOf(f.tx)
	if err != nil {
		return err
	}
	mac := hmac.New(sha256.New, salt)
	mac.Write([]byte(string(event) + "\x00" + string(user)))
	key := mac.Sum(append([]byte(event), 0))
	people := f.tx.Bucket(bucketPeople)
	if people.Get(key) != nil {
		return nil
	}
	for kind, name := range map[byte]string{byAge: t.AgeBand, byCountry: t.Country, byCity: t.City} {
		at(f.totals, string(totalKey(event, kind, dimension(name))))[nPeople]++
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
	err = s.with(ctx, req.ID, func(tx *bolt.Tx, _ *api.Offer) error {
		out = buyers(tx, req.ID)
		return nil
	})
	return out, err
}

func buyers(tx *bolt.Tx, event ids.Event) *api.Demographics {
	by := func(kind byte) api.Groups {
		var all []api.Group
		dimensions(tx, event, kind, func(name string, c counts) { all = append(all, api.Group{Name: name, People: c[nPeople]}) })
		return protect(all)
	}
	return &api.Demographics{EventID: event, AgeBands: by(byAge), Countries: by(byCountry), Cities: by(byCity)}
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
