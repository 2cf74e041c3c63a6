package event

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// register makes an account, as the user service tells of it.
func (w *harness) register(email string, id ids.User) {
	w.t.Helper()
	w.people.set(email, id)
	if _, err := w.nats.JS.Publish(w.t.Context(), api.UserRegistered.Subject,
		[]byte(jsonOf(api.UserEvent{UserID: id, At: w.clock.Now()}))); err != nil {
		w.t.Fatal(err)
	}
}

// works waits until a person works for an event.
func (w *harness) works(id ids.Event, member api.TeamMember) {
	w.t.Helper()
	testkit.Eventually(w.t, 20*time.Second, func() error {
		team := must(w, anna, api.ListTeam, api.EventRef{ID: id}).Items
		if !slices.Contains(team, member) ||
			slices.ContainsFunc(team, func(m api.TeamMember) bool { return m.Invited }) {
			return fmt.Errorf("the team is %+v", team)
		}
		return nil
	})
}

func TestInvitations(t *testing.T) {
	for name, url := range map[string]func(testing.TB) string{store.SQLite: testkit.SQLite,
		store.Postgres: testkit.Postgres} {
		t.Run(name, func(t *testing.T) {
			w := startOn(t, testkit.NATS(t), url(t))
			e, other := w.published("Quartet"), w.published("Quintet")
			carl, door := person("kar"), person("dr")
			must(w, anna, api.PutTeamMember, api.SetTeamMember{EventID: e.ID, UserID: door.User, Role: api.RoleDoor})

			w.people.set("ben@example.org", ben.User)
			if got := must(w, anna, api.InviteTeamMember,
				api.Invite{EventID: e.ID, Email: " BEN@example.org",
					Role: api.RoleManager}); *got != (api.TeamMember{UserID: ben.User, Role: api.RoleManager}) {
				t.Errorf("an account became %+v", got)
			}
			waiting := api.TeamMember{Email: "carl@example.org", Role: api.RoleDoor, Invited: true}
			for range 2 {
				if got := must(w, anna, api.InviteTeamMember,
					api.Invite{EventID: e.ID, Email: "Carl@Example.org", Role: api.RoleDoor}); *got != waiting {
					t.Errorf("an address became %+v", got)
				}
			}
			if got := must(w, ben, api.ListTeam, api.EventRef{ID: e.ID}).Items; len(got) != 4 || got[3] != waiting {
				t.Errorf("the manager sees %+v", got)
			}
			if got := must(w, door, api.ListTeam, api.EventRef{ID: e.ID}).Items; len(got) != 3 {
				t.Errorf("door staff see %+v", got)
			}
			_, err := call(w, carl, api.InviteTeamMember,
				api.Invite{EventID: e.ID, Email: "ben@example.org", Role: api.RoleDoor})
			wantCode(t, err, fault.Forbidden)
			_, err = call(w, anna, api.InviteTeamMember,
				api.Invite{EventID: e.ID, Email: "x@example.org", Role: "boss"})
			wantCode(t, err, fault.Invalid)

			must(w, anna, api.InviteTeamMember,
				api.Invite{EventID: other.ID, Email: "carl@example.org", Role: api.RoleManager})
			must(w, anna, api.DeleteInvitation, api.InvitationRef{EventID: other.ID, Email: "carl@example.org"})
			w.register("dora@example.org", person("dra").User) // who is not invited
			w.register("carl@example.org", carl.User)
			w.works(e.ID, api.TeamMember{UserID: carl.User, Role: api.RoleDoor})
			if got := must(w, anna, api.ListTeam, api.EventRef{ID: other.ID}).Items; len(got) != 1 {
				t.Errorf("an invitation that was taken back made %+v", got)
			}

			must(w, anna, api.InviteTeamMember,
				api.Invite{EventID: e.ID, Email: "late@example.org", Role: api.RoleDoor})
			w.clock.Set(e.EndsAt.Add(time.Second))
			if err := w.service.forgetInvitations(t.Context()); err != nil {
				t.Error(err)
			}
			if left, err := w.service.store.invitations(t.Context(), "event_id", e.ID.String()); err != nil ||
				len(left) != 0 {
				t.Error(errors.Join(err, fmt.Errorf("left: %+v", left)))
			}
		})
	}
}

// An invitation ends after a while, also one from before it was written down when it was made.
func TestInvitationsEnd(t *testing.T) {
	bothHarnesses(t, func(t *testing.T, w *harness) {
		e := w.published("Trio")
		o := must(w, anna, api.CreateOrganizer, api.NewOrganizer{Name: "Opera"})
		invite := func(email string) {
			must(w, anna, api.InviteTeamMember, api.Invite{EventID: e.ID, Email: email, Role: api.RoleDoor})
			must(w, anna, api.InviteOrganizerMember, api.OrganizerInvite{ID: o.ID, Email: email, Role: api.RoleDoor})
		}
		waiting := func() (emails []string) {
			t.Helper()
			if err := w.service.forgetInvitations(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := w.db.Read().NewRaw(`SELECT email FROM invitations UNION ALL SELECT email FROM organizer_invitations
				ORDER BY email`).Scan(t.Context(), &emails); err != nil {
				t.Fatal(err)
			}
			return emails
		}
		ttl := api.InvitationTTL.Default()
		invite("early@example.org")
		err := w.db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
			for _, table := range []bun.Ident{"invitations", "organizer_invitations"} {
				if _, err := tx.ExecContext(ctx, "UPDATE ? SET created_at = '1970-01-01 00:00:00+00:00'", table); err != nil {
					return err
				}
			}
			_, err := tx.ExecContext(ctx, "UPDATE events SET ends_at = ?", e.EndsAt.AddDate(1, 0, 0))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := waiting(); len(got) != 2 {
			t.Fatalf("from before: %v", got)
		}
		w.clock.Advance(ttl / 2)
		invite("late@example.org")
		w.clock.Advance(ttl/2 + time.Second)
		if got := waiting(); len(got) != 2 || got[0] != "late@example.org" {
			t.Errorf("after a while: %v", got)
		}
		w.clock.Advance(ttl / 2)
		if got := waiting(); len(got) != 0 {
			t.Errorf("at the end: %v", got)
		}
	})
}

// Who has said to have an address joins no team for it. Who proves it does.
func TestInvitationsWaitForProof(t *testing.T) {
	for name, url := range map[string]func(testing.TB) string{store.SQLite: testkit.SQLite,
		store.Postgres: testkit.Postgres} {
		t.Run(name, func(t *testing.T) {
			w := startOn(t, testkit.NATS(t), url(t))
			e, mallory, boss := w.published("Quartet"), person("mk"), person("bs")
			w.people.prove(mallory.User, false)
			w.register("boss@corp.example", mallory.User)
			waiting := api.TeamMember{Email: "boss@corp.example", Role: api.RoleManager, Invited: true}
			for range 2 {
				if got := must(w, anna, api.InviteTeamMember, api.Invite{EventID: e.ID, Email: "boss@corp.example",
					Role: api.RoleManager}); *got != waiting {
					t.Errorf("an address that is not confirmed became %+v", got)
				}
			}
			w.register("boss@corp.example", mallory.User)
			w.settle()
			if team := must(w, anna, api.ListTeam, api.EventRef{ID: e.ID}).Items; len(team) != 2 || team[1] != waiting {
				t.Errorf("the team is %+v", team)
			}
			w.register("boss@corp.example", boss.User)
			w.works(e.ID, api.TeamMember{UserID: boss.User, Role: api.RoleManager})
		})
	}
}

// settle waits until every event about people is consumed.
func (w *harness) settle() {
	w.t.Helper()
	testkit.Eventually(w.t, 20*time.Second, func() error {
		c, err := w.nats.JS.Consumer(w.t.Context(), api.EventsStream, consumer)
		if err != nil {
			return err
		}
		info, err := c.Info(w.t.Context())
		if err == nil && (info.NumPending > 0 || info.NumAckPending > 0) {
			err = fmt.Errorf("%d are pending, %d in progress", info.NumPending, info.NumAckPending)
		}
		return err
	})
}

// A person who does not exist is no member, which only managers learn.
func TestUnknownMemberIsRefused(t *testing.T) {
	w := start(t)
	owner, stranger := person("anna"), person("bea")
	e := must(w, owner, api.CreateEvent, draftOf("Nocturne"))
	unknown := person("ned").User
	w.people.unknown = unknown
	for _, id := range []ids.User{unknown, person("mark").User} {
		_, err := call(w, stranger, api.PutTeamMember, api.SetTeamMember{EventID: e.ID, UserID: id, Role: api.RoleDoor})
		if !fault.Is(err, fault.NotFound) || strings.Contains(err.Error(), "person") {
			t.Errorf("a stranger: %v", err)
		}
	}
	_, err := call(w, owner, api.PutTeamMember, api.SetTeamMember{EventID: e.ID, UserID: unknown, Role: api.RoleDoor})
	if !fault.Is(err, fault.NotFound) {
		t.Errorf("an unknown person: %v, want not_found", err)
	}
	if team := must(w, owner, api.ListTeam, api.EventRef{ID: e.ID}); len(team.Items) != 1 {
		t.Errorf("the team is %+v", team.Items)
	}
}
