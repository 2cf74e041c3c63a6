package event

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/rpc/codec"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

func TestEveryEndpointIsServed(t *testing.T) {
	w := start(t)
	for _, d := range api.All() {
		if d.Service != "event" {
			continue
		}
		_, err := w.nats.Conn.Request(d.Subject(), nil, 2*time.Second)
		if err != nil {
			t.Errorf("%s: %v", d.Subject(), err)
		}
	}
}

func TestLifecycle(t *testing.T) {
	w := start(t)
	e := w.draft("Quartet")
	if e.Status != api.EventDraft || e.OrganizerID != api.OrganizerOf(anna.User) || e.Revision != 1 || len(e.TicketTypes) != 2 ||
		e.TicketTypes[0].ID == "" {
		t.Fatalf("created %+v", e)
	}
	e = must(w, anna, api.PublishEvent, api.EventToPublish{ID: e.ID})
	if e.Status != api.EventPublished || e.Revision != 2 {
		t.Fatalf("published %+v", e)
	}
	if again := must(w, anna, api.PublishEvent, api.EventToPublish{ID: e.ID}); again.Revision != 2 {
		t.Error("publishing again changed the event")
	}
	e = must(w, anna, api.CancelEvent, api.CancelEventRequest{ID: e.ID, Reason: "rain"})
	if e.Status != api.EventCancelled || e.CancelReason != "rain" || e.Revision != 3 {
		t.Fatalf("cancelled %+v", e)
	}
	if again := must(w, anna, api.CancelEvent,
		api.CancelEventRequest{ID: e.ID, Reason: "snow"}); again.CancelReason != "rain" || again.Revision != 3 {
		t.Errorf("cancelling again changed the event: %+v", again)
	}
	if got := must(w, nob, api.GetEvent, api.EventRef{ID: e.ID}); got.Status != api.EventCancelled {
		t.Errorf("the public sees %q", got.Status)
	}
	_, err := call(w, anna, api.PublishEvent, api.EventToPublish{ID: e.ID})
	wantCode(t, err, fault.Conflict)
	_, err = call(w, anna, api.UpdateEvent, api.PatchEvent{ID: e.ID, Name: at("New")})
	wantCode(t, err, fault.Conflict)
	_, err = call(w, anna, api.UpdateTicketType,
		api.PatchTicketType{EventID: e.ID, ID: e.TicketTypes[0].ID, Quantity: at(1)})
	wantCode(t, err, fault.Conflict)
	_, err = call(w, anna, api.CancelEvent, api.CancelEventRequest{ID: w.draft("Draft").ID})
	wantCode(t, err, fault.Conflict)

	want := []string{api.EventCreated.Subject, api.EventWasPublished.Subject, api.EventWasCancelled.Subject}
	testkit.Eventually(t, 5*time.Second, func() error {
		subjects, offers := w.events(e.ID)
		if !slices.Equal(subjects, want) {
			return fmt.Errorf("told %v, want %v", subjects, want)
		}
		for i, o := range offers {
			if o.Event.Revision != int64(i+1) {
				return fmt.Errorf("event %d tells of revision %d", i, o.Event.Revision)
			}
		}
		return nil
	})
}

func TestPublishNeedsAReadyDraft(t *testing.T) {
	w := start(t)
	req := draftOf("Empty")
	req.TicketTypes = nil
	empty := must(w, anna, api.CreateEvent, req)
	_, err := call(w, anna, api.PublishEvent, api.EventToPublish{ID: empty.ID})
	wantCode(t, err, fault.Conflict)
	if got := fields(err); !slices.Equal(got, []string{"ticket_types"}) {
		t.Errorf("fields %v", got)
	}
	req = draftOf("No room")
	req.Capacity = 0
	req.TicketTypes[0].Quantity, req.TicketTypes[1].Quantity = 0, 0
	_, err = call(w, anna, api.PublishEvent, api.EventToPublish{ID: must(w, anna, api.CreateEvent, req).ID})
	wantCode(t, err, fault.Conflict)

	late := w.draft("Late")
	w.clock.Set(late.StartsAt)
	_, err = call(w, anna, api.PublishEvent, api.EventToPublish{ID: late.ID})
	wantCode(t, err, fault.Conflict)
	if got := fields(err); !slices.Equal(got, []string{"starts_at"}) {
		t.Errorf("fields %v", got)
	}
	w.clock.Set(late.StartsAt.Add(-time.Second))
	must(w, anna, api.PublishEvent, api.EventToPublish{ID: late.ID})
	_, err = call(w, anna, api.UpdateEvent, api.PatchEvent{ID: late.ID, StartsAt: at(late.StartsAt.Add(-time.Minute))})
	if got := fields(err); !slices.Equal(got, []string{"starts_at"}) {
		t.Errorf("an event on sale was moved into the past: %v", err)
	}
}

func TestPatch(t *testing.T) {
	w := start(t)
	e := w.draft("Quartet")
	got := must(w, anna, api.UpdateEvent,
		api.PatchEvent{ID: e.ID, IfMatch: `"1"`, Name: at(" Quintet "), Description: codec.To(""),
			Category: codec.To("Jazz")})
	if got.Name != "Quintet" || got.Description != "" || got.Category != "jazz" || got.Revision != 2 ||
		got.Capacity != e.Capacity ||
		!got.StartsAt.Equal(e.StartsAt) || got.Location != e.Location {
		t.Errorf("patched to %+v", got)
	}
	_, err := call(w, anna, api.UpdateEvent, api.PatchEvent{ID: e.ID, IfMatch: `"1"`, Name: at("Sextet")})
	wantCode(t, err, fault.Precondition)
	if got := must(w, anna, api.UpdateEvent, api.PatchEvent{ID: e.ID, Name: at("Quintet")}); got.Revision != 2 {
		t.Error("a patch that changes nothing made a revision")
	}
	_, err = call(w, anna, api.UpdateEvent,
		api.PatchEvent{ID: e.ID, Name: at(""), Timezone: at("Local"), Capacity: codec.To(100)})
	if got := fields(err); !slices.Equal(got, []string{"capacity", "name", "timezone"}) {
		t.Errorf("fields %v", got)
	}
	// Capacity 0 follows the ticket types from now on.
	if got := must(w, anna, api.UpdateEvent, api.PatchEvent{ID: e.ID, Capacity: codec.To(0)}); got.Capacity != 140 {
		t.Errorf("capacity %d", got.Capacity)
	}
	providers := api.PatchEvent{ID: e.ID, Providers: codec.To([]string{"manual"})}
	if got := must(w, anna, api.UpdateEvent, providers); !slices.Equal(got.Providers, []string{"manual"}) {
		t.Errorf("providers %v", got.Providers)
	}
	_, err = call(w, anna, api.UpdateEvent, api.PatchEvent{ID: e.ID, Reentry: codec.To("twice")})
	if got := fields(err); !slices.Equal(got, []string{"reentry"}) {
		t.Errorf("fields %v", got)
	}
	once := api.PatchEvent{ID: e.ID, Reentry: codec.To(api.ReentryNone)}
	if got := must(w, anna, api.UpdateEvent, once); e.Reentry != api.ReentryAny || got.Reentry != api.ReentryNone {
		t.Errorf("re-entry was %s and is %s", e.Reentry, got.Reentry)
	}
	bare := api.PatchEvent{ID: e.ID, Description: codec.Clear[string](), Category: codec.Clear[string](),
		Providers: codec.Clear[[]string](), Reentry: codec.Clear[string]()}
	if got := must(w, anna, api.UpdateEvent, bare); got.Description != "" || got.Category != "other" ||
		len(got.Providers) != 0 || got.Reentry != api.ReentryAny {
		t.Errorf("null leaves %+v", got)
	}
	add := api.NewTicketType{Name: "Box", Price: api.Money{Amount: 9900, Currency: "EUR"}, Quantity: 20}
	if got := must(w, anna, api.CreateTicketType,
		api.AddTicketType{EventID: e.ID, NewTicketType: add}); got.Capacity != 160 {
		t.Errorf("capacity %d", got.Capacity)
	}
}

func TestTicketTypes(t *testing.T) {
	w := start(t)
	e := w.draft("Quartet")
	add := func(edit func(*api.NewTicketType)) (*api.Event, error) {
		n := api.NewTicketType{Name: "Box", Price: api.Money{Amount: 9900, Currency: "EUR"}, Quantity: 10}
		edit(&n)
		return call(w, anna, api.CreateTicketType, api.AddTicketType{EventID: e.ID, NewTicketType: n})
	}
	for _, c := range []struct {
		edit  func(*api.NewTicketType)
		wrong []string
	}{
		{func(n *api.NewTicketType) { n.Quantity = 11 }, []string{"quantity"}},
		{func(n *api.NewTicketType) { n.Price.Currency = "USD" }, []string{"price.currency"}},
		{func(n *api.NewTicketType) { n.Name, n.Price.Amount = "", -5 }, []string{"name", "price.amount"}},
		{func(n *api.NewTicketType) { n.SalesEnd = at(e.EndsAt.Add(time.Hour)) }, []string{"sales_end"}},
	} {
		_, err := add(c.edit)
		wantCode(t, err, fault.Invalid)
		if got := fields(err); !slices.Equal(got, c.wrong) {
			t.Errorf("fields %v, want %v", got, c.wrong)
		}
	}
	got, err := add(func(*api.NewTicketType) {})
	if err != nil || len(got.TicketTypes) != 3 {
		t.Fatalf("added %+v %v", got, err)
	}
	id := got.TicketTypes[2].ID
	got = must(w, anna, api.UpdateTicketType,
		api.PatchTicketType{EventID: e.ID, ID: id, Quantity: at(5), MaxPerOrder: codec.To(2)})
	if tt := got.TicketTypes[2]; tt.Quantity != 5 || tt.MaxPerOrder != 2 || tt.Price.Amount != 9900 ||
		tt.Name != "Box" {
		t.Errorf("patched to %+v", tt)
	}
	window := api.PatchTicketType{EventID: e.ID, ID: id, SalesStart: codec.To(e.StartsAt.AddDate(0, 0, -9)),
		SalesEnd: codec.To(e.StartsAt)}
	if tt := must(w, anna, api.UpdateTicketType, window).TicketTypes[2]; tt.SalesStart == nil || tt.SalesEnd == nil ||
		!tt.SalesEnd.Equal(e.StartsAt) {
		t.Errorf("patched to %+v", tt)
	}
	open := api.PatchTicketType{EventID: e.ID, ID: id, SalesEnd: codec.Clear[time.Time](),
		MaxPerOrder: codec.Clear[int]()}
	if tt := must(w, anna, api.UpdateTicketType, open).TicketTypes[2]; tt.SalesEnd != nil || tt.MaxPerOrder != 0 ||
		tt.SalesStart == nil {
		t.Errorf("null leaves %+v", tt)
	}
	_, err = call(w, anna, api.UpdateTicketType,
		api.PatchTicketType{EventID: e.ID, ID: id, IfMatch: `"1"`, Quantity: at(6)})
	wantCode(t, err, fault.Precondition)
	must(w, anna, api.DeleteTicketType, api.TicketTypeRef{EventID: e.ID, ID: id})
	_, err = call(w, anna, api.DeleteTicketType, api.TicketTypeRef{EventID: e.ID, ID: id})
	wantCode(t, err, fault.NotFound)
	if w.ticketing.asked != 0 {
		t.Error("ticketing was asked about a draft")
	}
}

// TestAccess tries every endpoint as every kind of caller, on a draft and on a published event.
func TestAccess(t *testing.T) {
	w := start(t)
	manager, door := person("man"), person("dr")
	people := []struct {
		name string
		p    rpc.Principal
	}{{"anonymous", nob}, {"stranger", ben}, {"door", door}, {"manager", manager}, {"owner", anna}, {"admin", admin}}
	make := func(publish bool) *api.Event {
		e := w.draft("Quartet")
		must(w, anna, api.PutTeamMember, api.SetTeamMember{EventID: e.ID, UserID: manager.User, Role: api.RoleManager})
		e2 := must(w, anna, api.PutTeamMember, api.SetTeamMember{EventID: e.ID, UserID: door.User, Role: api.RoleDoor})
		if e2.Role != api.RoleDoor {
			t.Fatalf("member %+v", e2)
		}
		if publish {
			return must(w, anna, api.PublishEvent, api.EventToPublish{ID: e.ID})
		}
		return e
	}
	type attempt func(p rpc.Principal, e *api.Event) error
	only := func(_ any, err error) error { return err }
	const ok, nf, fb, un = fault.Code(""), fault.NotFound, fault.Forbidden, fault.Unauthenticated
	for _, c := range []struct {
		name      string
		try       attempt
		draft     [6]fault.Code // of anonymous, stranger, door, manager, owner, admin
		published [6]fault.Code
	}{
		{"get", func(p rpc.Principal, e *api.Event) error {
			return only(call(w, p, api.GetEvent, api.EventRef{ID: e.ID}))
		}, [6]fault.Code{nf, nf, ok, ok, ok, ok}, [6]fault.Code{}},
		{"calendar", func(p rpc.Principal, e *api.Event) error {
			return only(call(w, p, api.GetCalendar, api.EventRef{ID: e.ID}))
		}, [6]fault.Code{nf, nf, ok, ok, ok, ok}, [6]fault.Code{}},
		{"update", func(p rpc.Principal, e *api.Event) error {
			return only(call(w, p, api.UpdateEvent, api.PatchEvent{ID: e.ID, Description: codec.To(string(p.User))}))
		}, [6]fault.Code{un, nf, fb, ok, ok, ok}, [6]fault.Code{un, fb, fb, ok, ok, ok}},
		{"add ticket type", func(p rpc.Principal, e *api.Event) error {
			return only(call(w, p, api.CreateTicketType, api.AddTicketType{EventID: e.ID,
				NewTicketType: api.NewTicketType{Name: "X", Price: api.Money{Currency: "EUR"}, Quantity: 1}}))
		}, [6]fault.Code{un, nf, fb, ok, ok, ok}, [6]fault.Code{un, fb, fb, ok, ok, ok}},
		{"update ticket type", func(p rpc.Principal, e *api.Event) error {
			return only(call(w, p, api.UpdateTicketType,
				api.PatchTicketType{EventID: e.ID, ID: e.TicketTypes[0].ID, Name: at("Y")}))
		}, [6]fault.Code{un, nf, fb, ok, ok, ok}, [6]fault.Code{un, fb, fb, ok, ok, ok}},
		{"delete ticket type", func(p rpc.Principal, e *api.Event) error {
			return only(call(w, p, api.DeleteTicketType, api.TicketTypeRef{EventID: e.ID, ID: e.TicketTypes[0].ID}))
		}, [6]fault.Code{un, nf, fb, ok, ok, ok}, [6]fault.Code{un, fb, fb, ok, ok, ok}},
		{"list team", func(p rpc.Principal, e *api.Event) error {
			return only(call(w, p, api.ListTeam, api.EventRef{ID: e.ID}))
		}, [6]fault.Code{un, nf, ok, ok, ok, ok}, [6]fault.Code{un, fb, ok, ok, ok, ok}},
		{"set member", func(p rpc.Principal, e *api.Event) error {
			return only(call(w, p, api.PutTeamMember,
				api.SetTeamMember{EventID: e.ID, UserID: person("new").User, Role: api.RoleDoor}))
		}, [6]fault.Code{un, nf, fb, ok, ok, ok}, [6]fault.Code{un, fb, fb, ok, ok, ok}},
		{"remove member", func(p rpc.Principal, e *api.Event) error {
			return only(call(w, p, api.DeleteTeamMember, api.TeamMemberRef{EventID: e.ID, UserID: door.User}))
		}, [6]fault.Code{un, nf, fb, ok, ok, ok}, [6]fault.Code{un, fb, fb, ok, ok, ok}},
		{"hand over", func(p rpc.Principal, e *api.Event) error {
			return only(call(w, p, api.PutOrganizer, api.SetOrganizer{EventID: e.ID, UserID: door.User}))
		}, [6]fault.Code{un, nf, fb, fb, ok, ok}, [6]fault.Code{un, fb, fb, fb, ok, ok}},
		{"publish", func(p rpc.Principal, e *api.Event) error {
			return only(call(w, p, api.PublishEvent, api.EventToPublish{ID: e.ID}))
		}, [6]fault.Code{un, nf, fb, ok, ok, ok}, [6]fault.Code{un, fb, fb, ok, ok, ok}},
		{"cancel", func(p rpc.Principal, e *api.Event) error {
			return only(call(w, p, api.CancelEvent, api.CancelEventRequest{ID: e.ID}))
		}, [6]fault.Code{un, nf, fb, fault.Conflict, fault.Conflict, fault.Conflict},
			[6]fault.Code{un, fb, fb, ok, ok, ok}},
		{"delete", func(p rpc.Principal, e *api.Event) error {
			return only(call(w, p, api.DeleteEvent, api.EventRef{ID: e.ID}))
		}, [6]fault.Code{un, nf, fb, ok, ok, ok}, [6]fault.Code{un, fb, fb, ok, ok, ok}},
		{"offer", func(p rpc.Principal, e *api.Event) error { // over HTTP there is none
			return only(call(w, p, api.GetOffer, api.OfferRequest{EventID: e.ID}))
		}, [6]fault.Code{fb, fb, fb, fb, fb, fb}, [6]fault.Code{fb, fb, fb, fb, fb, fb}},
	} {
		for i, who := range people {
			for _, public := range []bool{false, true} {
				want, e := c.draft[i], make(public)
				if public {
					want = c.published[i]
				}
				err := c.try(who.p, e)
				if want == ok && err != nil || want != ok && !fault.Is(err, want) {
					t.Errorf("%s %s, public=%v: %v, want %q", who.name, c.name, public, err, want)
				}
			}
		}
	}
	// What does not exist and what may not be seen look alike.
	_, hidden := call(w, ben, api.GetEvent, api.EventRef{ID: make(false).ID})
	_, absent := call(w, ben, api.GetEvent, api.EventRef{ID: ids.New[ids.EventKind](time.Now())})
	if hidden.Error() != absent.Error() {
		t.Errorf("hidden: %v; absent: %v", hidden, absent)
	}
}

func TestTeam(t *testing.T) {
	w := start(t)
	e := w.draft("Quartet")
	_, err := call(w, anna, api.PutTeamMember, api.SetTeamMember{EventID: e.ID, UserID: ben.User, Role: "boss"})
	if got := fields(err); !slices.Equal(got, []string{"role"}) {
		t.Errorf("fields %v", got)
	}
	_, err = call(w, anna, api.PutTeamMember, api.SetTeamMember{EventID: e.ID, UserID: anna.User, Role: api.RoleDoor})
	wantCode(t, err, fault.Conflict)
	for range 2 { // the second time changes nothing
		must(w, anna, api.PutTeamMember, api.SetTeamMember{EventID: e.ID, UserID: ben.User, Role: api.RoleDoor})
	}
	must(w, anna, api.PutTeamMember, api.SetTeamMember{EventID: e.ID, UserID: ben.User, Role: api.RoleManager})
	want := []api.TeamMember{{UserID: anna.User, Role: api.RoleOwner}, {UserID: ben.User, Role: api.RoleManager}}
	if got := must(w, ben, api.ListTeam, api.EventRef{ID: e.ID}).Items; !slices.Equal(got, want) {
		t.Errorf("team %v, want %v", got, want)
	}
	seller := rpc.NewClient(w.nats.Connect(), rpc.ClientConfig{Name: "ticketing"})
	offer, err := rpc.Call(t.Context(), seller, api.GetOffer, &api.OfferRequest{EventID: e.ID})
	if err != nil || !slices.Equal(offer.Team, want[1:]) || offer.Event.Revision != 3 ||
		offer.Event.Status != api.EventDraft {
		t.Errorf("offer %+v %v", offer, err)
	}
	must(w, anna, api.DeleteTeamMember, api.TeamMemberRef{EventID: e.ID, UserID: ben.User})
	_, err = call(w, ben, api.GetEvent, api.EventRef{ID: e.ID})
	wantCode(t, err, fault.NotFound)
}

func TestCreateRefusesNonsense(t *testing.T) {
	w := start(t)
	_, err := call(w, anna, api.CreateEvent,
		api.NewEvent{Capacity: -1, TicketTypes: []api.NewTicketType{{Name: "A", Quantity: -1}}})
	wantCode(t, err, fault.Invalid)
	for _, f := range []string{"name", "starts_at", "capacity", "ticket_types[0].quantity",
		"ticket_types[0].price.currency"} {
		if !slices.Contains(fields(err), f) {
			t.Errorf("%s is not among %v", f, fields(err))
		}
	}
	_, err = call(w, nob, api.CreateEvent, draftOf("X"))
	wantCode(t, err, fault.Unauthenticated)
	_, err = call(w, anna, api.CancelEvent,
		api.CancelEventRequest{ID: w.published("X").ID, Reason: strings.Repeat("ü", 501)})
	if got := fields(err); !slices.Equal(got, []string{"reason"}) {
		t.Errorf("fields %v", got)
	}
	_, err = call(w, anna, api.CancelEvent, api.CancelEventRequest{ID: w.published("Y").ID, Reason: "ding\a"})
	if got := fields(err); !slices.Equal(got, []string{"reason"}) {
		t.Errorf("fields %v", got)
	}
}

func TestHandOver(t *testing.T) {
	w := start(t)
	e := w.published("Quartet")
	_, err := call(w, anna, api.PutOrganizer, api.SetOrganizer{EventID: e.ID, UserID: ben.User})
	wantCode(t, err, fault.Conflict)
	must(w, anna, api.PutTeamMember, api.SetTeamMember{EventID: e.ID, UserID: ben.User, Role: api.RoleDoor})
	for range 2 { // the second time as a manager, who may not
		got, err := call(w, anna, api.PutOrganizer, api.SetOrganizer{EventID: e.ID, UserID: ben.User})
		if err == nil && got.OrganizerID != api.OrganizerOf(ben.User) {
			t.Errorf("handed over to %s", got.OrganizerID)
		}
	}
	want := []api.TeamMember{{UserID: ben.User, Role: api.RoleOwner}, {UserID: anna.User, Role: api.RoleManager}}
	if got := must(w, ben, api.ListTeam, api.EventRef{ID: e.ID}).Items; !slices.Equal(got, want) {
		t.Errorf("team %v, want %v", got, want)
	}
	_, err = call(w, anna, api.PutOrganizer, api.SetOrganizer{EventID: e.ID, UserID: anna.User})
	wantCode(t, err, fault.Forbidden)
	testkit.Eventually(t, 10*time.Second, func() error {
		subjects, offers := w.events(e.ID)
		if n := len(offers); n == 0 || subjects[n-1] != api.EventUpdated.Subject ||
			offers[n-1].Event.OrganizerID != api.OrganizerOf(ben.User) || offers[n-1].Organizer.RoleOf(ben.User) != api.RoleOwner {
			return fmt.Errorf("told: %v", subjects)
		}
		return nil
	})
}
