package event

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/rpc/codec"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// bothHarnesses runs a test of the whole service on SQLite and on PostgreSQL.
func bothHarnesses(t *testing.T, test func(t *testing.T, w *harness)) {
	t.Run("sqlite", func(t *testing.T) { test(t, start(t)) })
	t.Run("postgres", func(t *testing.T) { test(t, startOn(t, testkit.NATS(t), testkit.Postgres(t))) })
}

// member makes a person a member, by an invitation to a confirmed address.
func (w *harness) member(id ids.Organizer, p rpc.Principal, role string) {
	w.t.Helper()
	email := p.User.String() + "@example.org"
	w.people.set(email, p.User)
	got := must(w, anna, api.InviteOrganizerMember, api.OrganizerInvite{ID: id, Email: email, Role: role})
	if got.UserID != p.User || got.Invited {
		w.t.Fatalf("invited as %+v", got)
	}
}

// An organizer is made, read, changed and found by its members alone; its slug is its own.
func TestOrganizer(t *testing.T) {
	bothHarnesses(t, func(t *testing.T, w *harness) {
		o := must(w, anna, api.CreateOrganizer, api.NewOrganizer{Name: "  Oper  Köln ", Currency: "eur", Country: "de", Language: "DE"})
		if o.Name != "Oper  Köln" || o.Slug != "oper-koln" || o.Currency != "EUR" || o.Country != "DE" || o.Language != "de" || o.Revision != 1 {
			t.Errorf("made %+v", o)
		}
		w.clock.Set(w.clock.Now().Add(time.Second))
		again := must(w, anna, api.CreateOrganizer, api.NewOrganizer{Name: "Oper Köln"})
		if !strings.HasPrefix(again.Slug, "oper-koln-") {
			t.Errorf("the slug of another is %q", again.Slug)
		}
		_, err := call(w, ben, api.CreateOrganizer, api.NewOrganizer{Name: "Theft", Slug: o.Slug})
		wantCode(t, err, fault.Conflict)
		_, err = call(w, ben, api.GetOrganizer, api.OrganizerRef{ID: o.ID})
		wantCode(t, err, fault.NotFound)
		if got := must(w, admin, api.GetOrganizer, api.OrganizerRef{ID: o.ID}); *got != *o {
			t.Errorf("an administrator reads %+v", got)
		}
		name, slug := "Opera", "opera"
		next := must(w, anna, api.UpdateOrganizer, api.PatchOrganizer{ID: o.ID, IfMatch: `"` + o.ETag() + `"`, Name: &name, Slug: &slug,
			Country: codec.Clear[string](), Website: codec.To("https://example.org/opera")})
		if next.Name != name || next.Slug != slug || next.Country != "" || next.Website == "" || next.Revision != 2 || next.Currency != "EUR" {
			t.Errorf("changed into %+v", next)
		}
		_, err = call(w, anna, api.UpdateOrganizer, api.PatchOrganizer{ID: o.ID, IfMatch: `"` + o.ETag() + `"`, Name: &slug})
		wantCode(t, err, fault.Precondition)
		_, err = call(w, anna, api.UpdateOrganizer, api.PatchOrganizer{ID: o.ID, Slug: &again.Slug})
		wantCode(t, err, fault.Conflict)
		bad := "a b"
		_, err = call(w, anna, api.CreateOrganizer, api.NewOrganizer{Name: " ", Country: "XX", Email: "x@", Website: "javascript:1", Currency: "DEM",
			Language: "q", Timezone: "Mars/Base", Address: "a\u202e"})
		if got, want := fields(err), []string{"address", "country", "currency", "email", "language", "name", "timezone", "website"}; !slices.Equal(got, want) {
			t.Errorf("wrong are %v, want %v", got, want)
		}
		if _, err = call(w, anna, api.UpdateOrganizer, api.PatchOrganizer{ID: o.ID, Slug: &bad}); !slices.Equal(fields(err), []string{"slug"}) {
			t.Errorf("a slug with a blank: %v", err)
		}
		list := must(w, anna, api.ListOrganizers, api.Page{Limit: 1})
		if len(list.Items) != 1 || list.Items[0].ID != o.ID || list.Items[0].Role != api.RoleOwner ||
			!slices.Equal(list.Items[0].Permissions, api.Permissions()) || list.NextCursor == "" {
			t.Errorf("list %+v", list)
		}
		if list = must(w, anna, api.ListOrganizers, api.Page{Cursor: list.NextCursor}); len(list.Items) != 1 || list.Items[0].ID != again.ID || list.NextCursor != "" {
			t.Errorf("the second page is %+v", list)
		}
		if list = must(w, ben, api.ListOrganizers, api.Page{}); len(list.Items) != 0 {
			t.Errorf("a stranger sees %+v", list)
		}
	})
}

// Anybody may know who an organizer is, by its id or slug, once it has published something: not before.
func TestOrganizerProfile(t *testing.T) {
	bothHarnesses(t, func(t *testing.T, w *harness) {
		o := must(w, anna, api.CreateOrganizer, api.NewOrganizer{Name: "Opera", Slug: "opera", Website: "https://opera.example", Email: "in@opera.example"})
		draft := draftOf("Tosca")
		draft.OrganizerID = o.ID
		e := must(w, anna, api.CreateEvent, draft)
		for _, name := range []string{o.ID.String(), "opera", "nobody", "'"} {
			_, err := call(w, rpc.Principal{}, api.GetOrganizerProfile, api.OrganizerName{Name: name})
			wantCode(t, err, fault.NotFound)
		}
		must(w, anna, api.PublishEvent, api.EventToPublish{ID: e.ID})
		want := api.OrganizerProfile{ID: o.ID, Name: "Opera", Slug: "opera", Website: "https://opera.example"}
		for _, name := range []string{o.ID.String(), "opera"} {
			if got := must(w, rpc.Principal{}, api.GetOrganizerProfile, api.OrganizerName{Name: name}); *got != want {
				t.Errorf("%s is %+v", name, got)
			}
		}
	})
}

// What a member may do follows from the role's permissions, at all events of the organizer and at no other.
func TestMembersAndRoles(t *testing.T) {
	bothHarnesses(t, func(t *testing.T, w *harness) {
		o := must(w, anna, api.CreateOrganizer, api.NewOrganizer{Name: "Opera"})
		draft := draftOf("Tosca")
		draft.OrganizerID = o.ID
		e := must(w, anna, api.CreateEvent, draft)
		if e.OrganizerID != o.ID {
			t.Errorf("it belongs to %s", e.OrganizerID)
		}
		other := w.draft("Another organizer's")
		_, err := call(w, ben, api.CreateEvent, draft)
		wantCode(t, err, fault.NotFound)
		fin, mark, box := person("fnn"), person("mark"), person("b0x")
		w.member(o.ID, ben, api.RoleManager)
		w.member(o.ID, fin, api.RoleFinance)
		w.member(o.ID, mark, api.RoleMarketing)
		must(w, anna, api.PutRole, api.SetRole{ID: o.ID, Name: "box", Permissions: []api.Permission{api.MayAdmit, api.MayPublishEvent}})
		w.member(o.ID, box, "box")
		must(w, ben, api.CreateEvent, draft)
		rename := func(p rpc.Principal, id ids.Event) error {
			_, err := call(w, p, api.UpdateEvent, api.PatchEvent{ID: id, Description: codec.To(fmt.Sprint(p.User, time.Now()))})
			return err
		}
		for _, p := range []rpc.Principal{ben, mark} {
			if err := rename(p, e.ID); err != nil {
				t.Errorf("%s: %v", p.User, err)
			}
		}
		wantCode(t, rename(fin, e.ID), fault.Forbidden)
		wantCode(t, rename(box, e.ID), fault.Forbidden)
		wantCode(t, rename(ben, other.ID), fault.NotFound)
		_, err = call(w, mark, api.PublishEvent, api.EventToPublish{ID: e.ID})
		wantCode(t, err, fault.Forbidden)
		must(w, box, api.PublishEvent, api.EventToPublish{ID: e.ID})
		if got := must(w, fin, api.ListEvents, api.EventQuery{Status: api.EventDraft}).Items; len(got) != 1 || got[0].OrganizerID != o.ID {
			t.Errorf("drafts of a member: %+v", got)
		}

		// Nobody gives or takes more than they have.
		_, err = call(w, ben, api.InviteOrganizerMember, api.OrganizerInvite{ID: o.ID, Email: "x@example.org", Role: api.RoleDoor})
		wantCode(t, err, fault.Forbidden)
		must(w, anna, api.PutRole, api.SetRole{ID: o.ID, Name: "staff", Permissions: []api.Permission{api.MayManageMembers, api.MayAdmit}})
		must(w, anna, api.PutOrganizerMember, api.SetOrganizerMember{ID: o.ID, UserID: ben.User, Role: "staff"})
		for _, role := range []string{api.RoleOwner, api.RoleManager, "box"} {
			_, err = call(w, ben, api.PutOrganizerMember, api.SetOrganizerMember{ID: o.ID, UserID: ben.User, Role: role})
			wantCode(t, err, fault.Forbidden)
			_, err = call(w, ben, api.InviteOrganizerMember, api.OrganizerInvite{ID: o.ID, Email: "x@example.org", Role: role})
			wantCode(t, err, fault.Forbidden)
		}
		_, err = call(w, ben, api.PutRole, api.SetRole{ID: o.ID, Name: "staff", Permissions: api.Permissions()})
		wantCode(t, err, fault.Forbidden)
		_, err = call(w, ben, api.PutRole, api.SetRole{ID: o.ID, Name: "box", Permissions: []api.Permission{api.MayAdmit}})
		wantCode(t, err, fault.Forbidden)
		for _, who := range []ids.User{anna.User, fin.User} {
			_, err = call(w, ben, api.DeleteOrganizerMember, api.OrganizerMemberRef{ID: o.ID, UserID: who})
			wantCode(t, err, fault.Forbidden)
			_, err = call(w, ben, api.PutOrganizerMember, api.SetOrganizerMember{ID: o.ID, UserID: who, Role: "staff"})
			wantCode(t, err, fault.Forbidden)
		}
		_, err = call(w, anna, api.PutOrganizerMember, api.SetOrganizerMember{ID: o.ID, UserID: fin.User, Role: "none"})
		if got := fields(err); !slices.Equal(got, []string{"role"}) {
			t.Errorf("a role that there is not: %v", err)
		}
		_, err = call(w, anna, api.PutRole, api.SetRole{ID: o.ID, Name: "door", Permissions: []api.Permission{api.MayAdmit}})
		wantCode(t, err, fault.Conflict)
		_, err = call(w, anna, api.PutRole, api.SetRole{ID: o.ID, Name: "x", Permissions: []api.Permission{"all"}})
		wantCode(t, err, fault.Invalid)
		_, err = call(w, anna, api.DeleteRole, api.RoleRef{ID: o.ID, Name: "box"})
		wantCode(t, err, fault.Conflict)

		// Who leaves has no part in it any more.
		must(w, box, api.DeleteOrganizerMember, api.OrganizerMemberRef{ID: o.ID, UserID: box.User})
		must(w, anna, api.DeleteRole, api.RoleRef{ID: o.ID, Name: "box"})
		must(w, anna, api.DeleteOrganizerMember, api.OrganizerMemberRef{ID: o.ID, UserID: mark.User})
		wantCode(t, rename(mark, e.ID), fault.Forbidden)
		_, err = call(w, mark, api.ListOrganizerMembers, api.OrganizerRef{ID: o.ID})
		wantCode(t, err, fault.NotFound)
		testkit.Eventually(t, 10*time.Second, func() error {
			var lost []ids.User
			for _, m := range w.nats.Messages("EVENTS") {
				if m.Subject == api.OrganizerTeamChanged.Subject {
					var c api.OrganizerChange
					if err := jsonInto(m.Data, &c); err != nil {
						return err
					}
					lost = append(lost, c.Lost...)
				}
			}
			if want := []ids.User{ben.User, box.User, mark.User}; !slices.Equal(lost, want) {
				return fmt.Errorf("lost: %v, want %v", lost, want)
			}
			return nil
		})
	})
}

// An organizer always has an owner, whatever its owners do at the same moment.
func TestLastOwnerStays(t *testing.T) {
	bothHarnesses(t, func(t *testing.T, w *harness) {
		o := must(w, anna, api.CreateOrganizer, api.NewOrganizer{Name: "Opera"})
		_, err := call(w, anna, api.DeleteOrganizerMember, api.OrganizerMemberRef{ID: o.ID, UserID: anna.User})
		wantCode(t, err, fault.Conflict)
		_, err = call(w, anna, api.PutOrganizerMember, api.SetOrganizerMember{ID: o.ID, UserID: anna.User, Role: api.RoleManager})
		wantCode(t, err, fault.Conflict)
		w.member(o.ID, ben, api.RoleManager)
		_, err = call(w, ben, api.TransferOrganizer, api.NewOwner{ID: o.ID, UserID: ben.User})
		wantCode(t, err, fault.Forbidden)
		want := []api.TeamMember{{UserID: anna.User, Role: api.RoleManager}, {UserID: ben.User, Role: api.RoleOwner}}
		if got := must(w, anna, api.TransferOrganizer, api.NewOwner{ID: o.ID, UserID: ben.User}).Items; !slices.Equal(got, want) {
			t.Errorf("members %v, want %v", got, want)
		}
		must(w, ben, api.PutOrganizerMember, api.SetOrganizerMember{ID: o.ID, UserID: anna.User, Role: api.RoleOwner})
		w.instance()
		var wg sync.WaitGroup
		for _, p := range []rpc.Principal{anna, ben} {
			wg.Go(func() {
				_, err := call(w, p, api.DeleteOrganizerMember, api.OrganizerMemberRef{ID: o.ID, UserID: p.User})
				if err != nil && !fault.Is(err, fault.Conflict) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if got := must(w, admin, api.ListOrganizerMembers, api.OrganizerRef{ID: o.ID}).Items; len(got) != 1 || got[0].Role != api.RoleOwner {
			t.Errorf("left are %+v", got)
		}
	})
}

// A person's own organizer is made with the first event, once, and gets the person's name, also when it comes later.
func TestOwnOrganizer(t *testing.T) {
	bothHarnesses(t, func(t *testing.T, w *harness) {
		w.instance()
		w.people.set("anna@example.org", anna.User)
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				e, err := call(w, anna, api.CreateEvent, draftOf(fmt.Sprint("Gala ", i)))
				if err != nil || e.OrganizerID != api.OrganizerOf(anna.User) {
					t.Errorf("%+v, %v", e, err)
				}
			})
		}
		wg.Wait()
		list := must(w, anna, api.ListOrganizers, api.Page{}).Items
		if len(list) != 1 || list[0].Name != "anna@example.org" || list[0].Role != api.RoleOwner {
			t.Errorf("organizers of anna: %+v", list)
		}
		w.people.away(true)
		must(w, ben, api.CreateEvent, draftOf("Gala"))
		if got := must(w, ben, api.ListOrganizers, api.Page{}).Items; len(got) != 1 || got[0].Name != "" {
			t.Errorf("organizers of ben: %+v", got)
		}
		w.people.away(false)
		w.people.set("ben@example.org", ben.User)
		if err := w.service.organizers.Name(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := must(w, ben, api.ListOrganizers, api.Page{}).Items; got[0].Name != "ben@example.org" {
			t.Errorf("organizers of ben: %+v", got)
		}
		// One that was given away is not taken for one's own.
		w.member(api.OrganizerOf(anna.User), ben, api.RoleManager)
		must(w, anna, api.TransferOrganizer, api.NewOwner{ID: api.OrganizerOf(anna.User), UserID: ben.User})
		must(w, anna, api.DeleteOrganizerMember, api.OrganizerMemberRef{ID: api.OrganizerOf(anna.User), UserID: anna.User})
		_, err := call(w, anna, api.CreateEvent, draftOf("Gala"))
		wantCode(t, err, fault.Conflict)
	})
}

// An invitation takes effect for who has confirmed the address, and not before.
func TestOrganizerInvitation(t *testing.T) {
	bothHarnesses(t, func(t *testing.T, w *harness) {
		o := must(w, anna, api.CreateOrganizer, api.NewOrganizer{Name: "Opera"})
		w.people.unconfirmed("thief@example.org", ben.User)
		for _, email := range []string{" Thief@example.org ", "later@example.org", "never@example.org"} {
			got := must(w, anna, api.InviteOrganizerMember, api.OrganizerInvite{ID: o.ID, Email: email, Role: api.RoleManager})
			if !got.Invited || got.UserID != "" {
				t.Errorf("invited: %+v", got)
			}
		}
		must(w, anna, api.DeleteOrganizerInvitation, api.OrganizerInvitationRef{ID: o.ID, Email: "never@example.org"})
		waiting := func() (n int) {
			for _, m := range must(w, anna, api.ListOrganizerMembers, api.OrganizerRef{ID: o.ID}).Items {
				if m.Invited {
					n++
				}
			}
			return n
		}
		if n := waiting(); n != 2 {
			t.Errorf("%d wait", n)
		}
		never, later := person("never"), person("1ater")
		w.people.set("never@example.org", never.User)
		w.people.set("later@example.org", later.User)
		for _, p := range []rpc.Principal{ben, never, later, later} {
			w.announce(api.UserUpdated.Subject, api.UserEvent{UserID: p.User})
		}
		testkit.Eventually(t, 10*time.Second, func() error {
			if n := waiting(); n != 1 {
				return fmt.Errorf("%d wait", n)
			}
			return nil
		})
		members := must(w, later, api.ListOrganizerMembers, api.OrganizerRef{ID: o.ID}).Items
		if len(members) != 2 { // a manager does not see who waits
			t.Errorf("members are %+v", members)
		}
		w.people.set("anna@example.org", anna.User)
		for _, away := range []bool{false, true} { // names are for who manages members, while they are there
			w.people.away(away)
			want := api.TeamMember{UserID: later.User, Role: api.RoleManager}
			if got := must(w, later, api.ListOrganizerMembers, api.OrganizerRef{ID: o.ID}).Items[0]; got != want {
				t.Errorf("away: %t: %+v", away, got)
			}
			if !away {
				want.Name, want.Email = "later@example.org", "later@example.org"
			}
			if got := must(w, anna, api.ListOrganizerMembers, api.OrganizerRef{ID: o.ID}).Items[0]; got != want {
				t.Errorf("away: %t: %+v", away, got)
			}
		}
		w.people.away(false)
		w.announce(api.UserDeleted.Subject, api.UserEvent{UserID: later.User})
		w.announce(api.UserDeleted.Subject, api.UserEvent{UserID: anna.User})
		testkit.Eventually(t, 10*time.Second, func() error {
			got := must(w, admin, api.ListOrganizerMembers, api.OrganizerRef{ID: o.ID}).Items
			if len(got) != 2 || got[0].UserID != anna.User || !got[1].Invited {
				return fmt.Errorf("members are %+v", got)
			}
			return nil
		})
	})
}

// announce publishes a domain event of another service.
func (w *harness) announce(subject string, payload any) {
	w.t.Helper()
	if _, err := w.nats.JS.Publish(w.t.Context(), subject, []byte(jsonOf(payload))); err != nil {
		w.t.Fatal(err)
	}
}

// Events of people become events of their own organizers, with their teams, and a change that was on its way goes on.
func TestPeopleBecomeOrganizers(t *testing.T) {
	old := fstest.MapFS{}
	if err := fs.WalkDir(Migrations(), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || path[strings.LastIndexByte(path, '/')+1:] >= "0010" {
			return err
		}
		data, err := fs.ReadFile(Migrations(), path)
		old[path] = &fstest.MapFile{Data: data}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	testkit.DB(t, "event", old, func(t *testing.T, db *store.DB) {
		ctx := t.Context()
		now := store.Time(testkit.NewClock(time.Time{}).Now())
		var all []ids.Event
		for i, owner := range []ids.User{anna.User, ben.User, anna.User} {
			id := ids.New[ids.EventKind](now.Add(time.Duration(i) * time.Second))
			all = append(all, id)
			pending := ""
			if i == 2 {
				pending = fmt.Sprintf(`{"next":{"event":{"id":%q,"organizer":%q,"status":"draft","ticket_types":[]},"team":[],"auto_capacity":true},"subject":"x"}`,
					id, owner)
			}
			if err := db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
				_, err := tx.ExecContext(ctx, `INSERT INTO events (id, organizer, status, name, description, category, starts_at, ends_at,
					timezone, place, address, city, city_key, country, capacity, auto_capacity, ticket_types, payment_providers, cancel_reason,
					revision, created_at, updated_at, search_text, pending, pending_at)
					VALUES (?, ?, 'draft', 'Gala', '', 'other', ?, ?, 'UTC', '', '', 'Berlin', 'berlin', 'DE', 1, ?, '[]', '[]', '', 1, ?, ?, 'gala', ?, ?)`,
					id, owner, now, now.Add(time.Hour), true, now, now, pending, now)
				if err != nil {
					return err
				}
				_, err = tx.ExecContext(ctx, "INSERT INTO team (event_id, user_id, role) VALUES (?, ?, 'door')", id, person("d00r").User)
				return err
			}); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			if err := db.Migrate(ctx, "event", Migrations()); err != nil {
				t.Fatal(err)
			}
		}
		b := eventStore{db: db, now: time.Now}
		for i, owner := range []ids.User{anna.User, ben.User, anna.User} {
			e, err := b.load(ctx, all[i])
			if err != nil {
				t.Fatal(err)
			}
			who := rpc.Principal{User: owner}
			if e.Event.OrganizerID != api.OrganizerOf(owner) || e.Organizer.ID != e.Event.OrganizerID || e.Organizer.Revision != 1 ||
				!e.Can(who, api.MayMoveEvent) || len(e.Organizer.Members) != 1 || len(e.Team) != 1 || !e.Can(person("d00r"), api.MayAdmit) {
				t.Errorf("event %d is %+v", i, e.Offer)
			}
			if e.pending != "" {
				var c change
				if err := jsonInto([]byte(e.pending), &c); err != nil || !c.Next.AutoCapacity || c.Next.Event.OrganizerID != api.OrganizerOf(owner) {
					t.Errorf("the change on its way is %+v, %v", c.Next, err)
				}
			}
		}
		var named []string
		if err := db.Read().NewRaw("SELECT slug FROM organizers ORDER BY slug").Scan(ctx, &named); err != nil || len(named) != 2 {
			t.Errorf("organizers %v, %v", named, err)
		}
		if _, err := b.load(ctx, ids.New[ids.EventKind](now)); !fault.Is(err, fault.NotFound) {
			t.Error(errors.Join(err, errors.New("an event that is none")))
		}
	})
}
