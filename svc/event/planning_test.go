package event

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/rpc/codec"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// payments answers which providers are switched on.
func (w *harness) payments(names ...string) {
	srv := rpc.NewServer(w.nats.Connect(),
		rpc.ServerConfig{Service: "payment", Log: testkit.Log(w.t), Registry: observe.NewRegistry()})
	rpc.Handle(srv, api.GetPaymentMethods, func(context.Context, *rpc.None) (*api.PaymentMethods, error) {
		return &api.PaymentMethods{Providers: names}, nil
	})
	testkit.Serve(w.t, srv)
}

// codes returns the codes of what an event lacks, errors marked.
func (w *harness) codes(id ids.Event) (codes []string) {
	w.t.Helper()
	for _, f := range must(w, anna, api.GetReadiness, api.EventRef{ID: id}).Findings {
		if f.Detail == "" {
			w.t.Errorf("%s says nothing", f.Code)
		}
		if f.Level == api.FindingError {
			f.Code = "! " + f.Code
		}
		codes = append(codes, f.Code)
	}
	return codes
}

func TestReadiness(t *testing.T) {
	bothHarnesses(t, func(t *testing.T, w *harness) {
		w.payments("sandbox")
		want := func(id ids.Event, want ...string) {
			t.Helper()
			if got := w.codes(id); !slices.Equal(got, want) {
				t.Errorf("it lacks %v, want %v", got, want)
			}
		}
		good := draftOf("Ready")
		e := must(w, anna, api.CreateEvent, good)
		want(e.ID)
		if r := must(w, anna, api.GetReadiness, api.EventRef{ID: e.ID}); !r.Ready {
			t.Errorf("a good draft is not ready: %+v", r)
		}

		bare := draftOf("Bare")
		bare.Description, bare.TicketTypes, bare.Location.Name = "", nil, ""
		bare.StartsAt = w.clock.Now().Add(-time.Hour)
		bare.EndsAt = w.clock.Now().Add(time.Hour)
		e = must(w, anna, api.CreateEvent, bare)
		want(e.ID, "! no_ticket_type", "! in_the_past", "no_place", "no_description")
		_, err := call(w, anna, api.PublishEvent, api.EventToPublish{ID: e.ID})
		wantCode(t, err, fault.Conflict)
		if got := fields(err); !slices.Equal(got, []string{"starts_at", "ticket_types"}) {
			t.Errorf("publishing names %v", got)
		}

		odd := draftOf("Odd")
		odd.Tax, odd.Providers = api.Tax{Rate: "19", Included: true}, []string{"stripe"}
		odd.TicketTypes[0].SalesEnd, odd.TicketTypes[1].SalesEnd = at(odd.StartsAt.Add(time.Hour)), at(w.clock.Now().Add(time.Hour))
		odd.TicketTypes[0].Hidden, odd.TicketTypes[1].Hidden = true, true
		e = must(w, anna, api.CreateEvent, odd)
		want(e.ID, "no_payment", "no_legal_data", "all_hidden", "sale_ends_late")
		legal := api.PatchOrganizer{ID: e.OrganizerID, Name: at("Anna"), LegalName: codec.To("Anna GmbH"), Address: codec.To("Weg 1"),
			TaxID: codec.To("DE123456788")}
		must(w, anna, api.UpdateOrganizer, legal)
		want(e.ID, "no_payment", "all_hidden", "sale_ends_late")
		must(w, anna, api.PublishEvent, api.EventToPublish{ID: e.ID}) // hints keep nothing from being published

		_, err = call(w, ben, api.GetReadiness, api.EventRef{ID: e.ID})
		wantCode(t, err, fault.Forbidden)
	})
}

// While the payment service is away nothing is said against an event.
func TestReadinessWithoutPayments(t *testing.T) {
	w := start(t)
	if got := w.codes(w.draft("Alone").ID); len(got) > 0 {
		t.Errorf("it lacks %v", got)
	}
}

// A copy has all of an event but what makes it that one, and is a draft at another time.
func TestCopy(t *testing.T) {
	bothHarnesses(t, func(t *testing.T, w *harness) {
		req := draftOf("Winter")
		req.Quotas = []api.NewQuota{{Name: "Hall", Capacity: 120}, {Name: "Spare", Capacity: 5}}
		req.TicketTypes[1].Quotas = []string{"Hall"}
		req.StartsAt = time.Date(2030, 10, 24, 18, 0, 0, 0, time.UTC) // 20:00 in summer time
		req.EndsAt = req.StartsAt.Add(3 * time.Hour)
		req.TicketTypes[0].SalesStart, req.TicketTypes[0].SalesEnd = at(req.StartsAt.AddDate(0, 0, -14)), at(req.StartsAt)
		req.Language, req.Translations = "en", []api.Translation{{Language: "de", Name: "Winter auf Deutsch"}}
		req.OrderRules = api.OrderRules{MaxPerPerson: 3}
		e := must(w, anna, api.CreateEvent, req)
		must(w, anna, api.PublishEvent, api.EventToPublish{ID: e.ID})

		starts := time.Date(2030, 10, 31, 19, 0, 0, 0, time.UTC) // 20:00 in winter time
		c := must(w, anna, api.CopyEvent, api.CopyOf{ID: e.ID, StartsAt: starts})
		got := must(w, anna, api.GetEvent, api.EventRef{ID: c.ID})
		if got.ID == e.ID || got.Status != api.EventDraft || got.Revision != 1 || !got.StartsAt.Equal(starts) ||
			!got.EndsAt.Equal(starts.Add(3*time.Hour)) || got.Name != e.Name || got.OrganizerID != e.OrganizerID ||
			got.OrderRules != e.OrderRules || !slices.Equal(got.Translations, e.Translations) || got.Capacity != e.Capacity {
			t.Errorf("the copy is %+v", got)
		}
		if s := got.TicketTypes[0]; !s.SalesStart.Equal(time.Date(2030, 10, 17, 18, 0, 0, 0, time.UTC)) ||
			!s.SalesEnd.Equal(starts) {
			t.Errorf("it is sold from %s to %s", s.SalesStart, s.SalesEnd)
		}
		if got.Quotas[0].ID == e.Quotas[0].ID || !slices.Equal(got.TicketTypes[1].Quotas, []ids.Quota{got.Quotas[0].ID}) ||
			got.TicketTypes[0].ID == e.TicketTypes[0].ID || got.Quotas[0].Name != "Hall" {
			t.Errorf("its quotas are %+v of %+v", got.Quotas, got.TicketTypes)
		}
		named := must(w, anna, api.CopyEvent, api.CopyOf{ID: e.ID, StartsAt: starts, Name: "Another"})
		if named.Name != "Another" {
			t.Errorf("the copy is called %q", named.Name)
		}
		if subjects, _ := w.events(c.ID); len(subjects) > 1 {
			t.Errorf("domain events: %v", subjects)
		}

		_, err := call(w, ben, api.CopyEvent, api.CopyOf{ID: c.ID, StartsAt: starts})
		wantCode(t, err, fault.NotFound)
		must(w, anna, api.PutTeamMember, api.SetTeamMember{EventID: c.ID, UserID: ben.User, Role: api.RoleManager})
		_, err = call(w, ben, api.CopyEvent, api.CopyOf{ID: c.ID, StartsAt: starts})
		wantCode(t, err, fault.Forbidden) // who works for one event makes no others
		_, err = call(w, anna, api.CopyEvent, api.CopyOf{ID: c.ID, StartsAt: time.Date(2300, 1, 1, 0, 0, 0, 0, time.UTC)})
		wantCode(t, err, fault.Invalid)
	})
}

// Readers get an event in their language, and find it in any.
func TestTranslations(t *testing.T) {
	bothHarnesses(t, func(t *testing.T, w *harness) {
		req := draftOf("Starlit night")
		req.Language = "en"
		req.Translations = []api.Translation{{Language: "de", Name: "Sternennacht", Description: "Ein Abend."},
			{Language: "fr", Name: " Nuit étoilée "}}
		e := must(w, anna, api.CreateEvent, req)
		must(w, anna, api.PublishEvent, api.EventToPublish{ID: e.ID})
		if got := e.In("de"); got.Name != "Sternennacht" || got.Description != "Ein Abend." {
			t.Errorf("in German: %+v", got)
		}
		if got := e.In("fr"); got.Name != "Nuit étoilée" || got.Description != e.Description {
			t.Errorf("in French: %+v", got)
		}
		if got := e.In("es"); got != e {
			t.Errorf("in Spanish: %+v", got)
		}
		for _, q := range []string{"starlit", "sternennacht", "etoilee", "abend"} {
			if list := must(w, nob, api.ListEvents, api.EventQuery{Q: q}); len(list.Items) != 1 {
				t.Errorf("%s finds %d", q, len(list.Items))
			}
		}
		got := must(w, anna, api.UpdateEvent, api.PatchEvent{ID: e.ID, Translations: codec.Clear[[]api.Translation]()})
		if len(got.Translations) != 0 || got.Language != "en" {
			t.Errorf("without translations it is %+v", got)
		}
		if list := must(w, nob, api.ListEvents, api.EventQuery{Q: "sternennacht"}); len(list.Items) != 0 {
			t.Error("what is gone is found")
		}
		_, err := call(w, anna, api.UpdateEvent, api.PatchEvent{ID: e.ID, Language: codec.Clear[string](),
			Translations: codec.To([]api.Translation{{Language: "de", Name: "A"}, {Language: "de", Name: ""},
				{Language: "deu1", Name: "B"}})})
		wantCode(t, err, fault.Invalid)
		want := []string{"language", "translations[1].language", "translations[1].name", "translations[2].language"}
		if got := fields(err); !slices.Equal(got, want) {
			t.Errorf("at fault are %v, want %v", got, want)
		}
	})
}

// A page of events fits into a message, whatever they say of themselves.
func TestPagesOfLongTextsAreShort(t *testing.T) {
	events := make([]api.Event, 50)
	for i := range events {
		events[i].Description = string(make([]byte, 30<<10))
	}
	if n := fitting(events); n != 13 {
		t.Errorf("%d events are on a page", n)
	}
	events[0].Description = string(make([]byte, 500<<10))
	if n := fitting(events); n != 1 {
		t.Errorf("%d events are on a page", n)
	}
}
