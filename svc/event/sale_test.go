package event

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

func TestQuantitiesOnSaleAreAgreedWithTicketing(t *testing.T) {
	w := start(t)
	e := w.published("Quartet")
	stalls, balcony := e.TicketTypes[0].ID, e.TicketTypes[1].ID
	w.ticketing.set(func() { w.ticketing.sold[stalls] = 30 })

	got := must(w, anna, api.UpdateTicketType, api.PatchTicketType{EventID: e.ID, ID: stalls, Quantity: at(30)})
	if got.TicketTypes[0].Quantity != 30 || got.Revision != e.Revision+1 {
		t.Errorf("changed to %+v", got)
	}
	if pool := w.ticketing.pools[e.ID]; pool.Revision != got.Revision ||
		!maps.Equal(pool.Quantities, map[ids.TicketType]int{stalls: 30, balcony: 40}) {
		t.Errorf("ticketing was told %+v", pool)
	}
	_, err := call(w, anna, api.UpdateTicketType, api.PatchTicketType{EventID: e.ID, ID: stalls, Quantity: at(29)})
	wantCode(t, err, fault.Conflict)
	_, err = call(w, anna, api.DeleteTicketType, api.TicketTypeRef{EventID: e.ID, ID: stalls})
	wantCode(t, err, fault.Conflict)
	_, err = call(w, anna, api.DeleteEvent, api.EventRef{ID: e.ID})
	wantCode(t, err, fault.Conflict)

	asked := w.ticketing.asked
	got = must(w, anna, api.UpdateTicketType,
		api.PatchTicketType{EventID: e.ID, ID: stalls, Price: &api.Money{Amount: 1, Currency: "EUR"}})
	if w.ticketing.asked != asked {
		t.Error("ticketing was asked about a price")
	}
	if got.TicketTypes[0].Quantity != 30 {
		t.Error("a refused quantity was kept")
	}
	must(w, anna, api.DeleteTicketType, api.TicketTypeRef{EventID: e.ID, ID: balcony})
	_, err = call(w, anna, api.DeleteTicketType, api.TicketTypeRef{EventID: e.ID, ID: stalls})
	wantCode(t, err, fault.Conflict) // the last one
	add := api.NewTicketType{Name: "Box", Price: api.Money{Amount: 9900, Currency: "EUR"}, Quantity: 7}
	got = must(w, anna, api.CreateTicketType, api.AddTicketType{EventID: e.ID, NewTicketType: add})
	if want := map[ids.TicketType]int{stalls: 30, got.TicketTypes[1].ID: 7}; !maps.Equal(w.ticketing.pool(e.ID), want) {
		t.Errorf("ticketing has %v, want %v", w.ticketing.pool(e.ID), want)
	}

	// Another currency is ticketing's to decide, too.
	must(w, anna, api.DeleteTicketType, api.TicketTypeRef{EventID: e.ID, ID: got.TicketTypes[1].ID})
	yen := api.PatchTicketType{EventID: e.ID, ID: stalls, Price: &api.Money{Amount: 900, Currency: "JPY"}}
	w.ticketing.set(func() { w.ticketing.failure = fault.New(fault.Conflict, "tickets were sold in EUR") })
	_, err = call(w, anna, api.UpdateTicketType, yen)
	wantCode(t, err, fault.Conflict)
	w.ticketing.set(func() { w.ticketing.failure = nil })
	if got = must(w, anna, api.UpdateTicketType, yen); got.TicketTypes[0].Price.Currency != "JPY" ||
		w.ticketing.pools[e.ID].Currency != "JPY" {
		t.Errorf("the price is %+v, and ticketing was told %+v", got.TicketTypes[0].Price, w.ticketing.pools[e.ID])
	}

	w.ticketing.set(func() { clear(w.ticketing.sold) })
	must(w, anna, api.DeleteEvent, api.EventRef{ID: e.ID})
	if pool := w.ticketing.pool(e.ID); len(pool) != 0 {
		t.Errorf("ticketing still has %v", pool)
	}
	_, err = call(w, anna, api.GetEvent, api.EventRef{ID: e.ID})
	wantCode(t, err, fault.NotFound)
	testkit.Eventually(t, 5*time.Second, func() error {
		if subjects, _ := w.events(e.ID); len(subjects) == 0 || subjects[len(subjects)-1] != api.EventDeleted.Subject {
			return fmt.Errorf("told %v", subjects)
		}
		return nil
	})
}

func TestTicketingAway(t *testing.T) {
	w := start(t)
	e := w.published("Quartet")
	w.ticketing.set(func() { w.ticketing.failure = fault.New(fault.Unavailable, "full") })
	patch := api.PatchTicketType{EventID: e.ID, ID: e.TicketTypes[0].ID, Quantity: at(90)}
	_, err := call(w, anna, api.UpdateTicketType, patch)
	wantCode(t, err, fault.Unavailable)
	w.ticketing.set(func() { w.ticketing.failure = nil })
	if got := must(w, anna, api.UpdateTicketType, patch); got.TicketTypes[0].Quantity != 90 ||
		got.Revision != e.Revision+1 {
		t.Errorf("changed to %+v", got)
	}
}

// TestUnknownOutcomeIsSettled has ticketing answer with a timeout: the change may have happened there. Until that is
// settled the event does not change; then it is, in favour of the change.
func TestUnknownOutcomeIsSettled(t *testing.T) {
	w := start(t)
	e := w.published("Quartet")
	stalls := e.TicketTypes[0].ID
	w.ticketing.set(func() { w.ticketing.failure = fault.New(fault.Timeout, "slow") })
	_, err := call(w, anna, api.UpdateTicketType, api.PatchTicketType{EventID: e.ID, ID: stalls, Quantity: at(60)})
	wantCode(t, err, fault.Timeout)
	if got := must(w, nob, api.GetEvent, api.EventRef{ID: e.ID}); got.TicketTypes[0].Quantity != 100 {
		t.Errorf("readers see %d before it is settled", got.TicketTypes[0].Quantity)
	}
	_, err = call(w, anna, api.UpdateEvent, api.PatchEvent{ID: e.ID, Name: at("Too early")})
	wantCode(t, err, fault.Unavailable)
	if w.ticketing.asked != 1 {
		t.Errorf("ticketing was asked %d times: the change was taken from its owner", w.ticketing.asked)
	}
	w.ticketing.set(func() { w.ticketing.failure = nil })

	// The owner might still be at work, so a sweep leaves it alone at first.
	if err := w.service.sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if pool := w.ticketing.pool(e.ID); pool != nil {
		t.Fatalf("a young change was taken over: %v", pool)
	}
	w.clock.Advance(unfinishedAfter + time.Second)
	if err := w.service.sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := must(w, nob, api.GetEvent, api.EventRef{ID: e.ID})
	if got.TicketTypes[0].Quantity != 60 || got.Revision != e.Revision+1 || w.ticketing.pool(e.ID)[stalls] != 60 {
		t.Errorf("settled as %+v, ticketing has %v", got, w.ticketing.pool(e.ID))
	}
	if got := must(w, anna, api.UpdateEvent,
		api.PatchEvent{ID: e.ID, Name: at("Quintet")}); got.Revision != e.Revision+2 {
		t.Errorf("the next change: %+v", got)
	}
}

// TestNextChangeAdopts is like a crash between asking and writing, found by the next request instead of a sweep.
func TestNextChangeAdopts(t *testing.T) {
	w := start(t)
	e := w.published("Quartet")
	k, err := w.service.store.load(t.Context(), e.ID)
	if err != nil {
		t.Fatal(err)
	}
	c := change{Next: k.clone(), Subject: api.EventDeleted.Subject, Delete: true}
	c.Next.Event.Revision++
	if ok, err := w.service.store.prepare(t.Context(), k, c, jsonOf(c)); !ok || err != nil {
		t.Fatal(ok, err)
	}
	w.ticketing.set(func() {
		w.ticketing.sold[e.TicketTypes[0].ID] = 1
		w.ticketing.pools[e.ID] = api.Resize{Quantities: k.quantities()}
	})
	w.clock.Advance(unfinishedAfter + time.Second)
	// Ticketing refuses the deletion that was begun, so it is taken back, and the new change goes on.
	if got := must(w, anna, api.UpdateEvent, api.PatchEvent{ID: e.ID, Name: at("Quintet")}); got.Name != "Quintet" ||
		got.Revision != e.Revision+1 {
		t.Errorf("changed to %+v", got)
	}
}

// Changes that come at once all happen, one after the other. A client has as much time as they need together, and asks
// again when it is told that nothing was changed.
func TestConcurrentChangesAllHappen(t *testing.T) {
	join, add := api.PutTeamMember, api.CreateTicketType
	join.Timeout, add.Timeout = testkit.Within(20*time.Second), testkit.Within(20*time.Second)
	for _, db := range []string{"sqlite", "postgres"} {
		t.Run(db, func(t *testing.T) {
			url := testkit.SQLite(t)
			if db == "postgres" {
				url = testkit.Postgres(t)
			}
			w := startOn(t, testkit.NATS(t), url)
			w.instance()
			e := w.published("Quartet")
			const writers = 16
			var all sync.WaitGroup
			errs := make(chan error, 2*writers)
			for i := range writers {
				all.Go(func() {
					errs <- untilChanged(w, join, api.SetTeamMember{EventID: e.ID,
						UserID: person(fmt.Sprintf("m%02d", i)).User, Role: api.RoleDoor})
				})
				all.Go(func() {
					n := api.NewTicketType{Name: fmt.Sprint(i), Price: api.Money{Currency: "EUR"}}
					if i == 0 {
						n.Quantity = 1
					}
					errs <- untilChanged(w, add, api.AddTicketType{EventID: e.ID, NewTicketType: n})
				})
			}
			all.Wait()
			close(errs)
			for err := range errs {
				if err != nil {
					t.Error(err)
				}
			}
			k, err := w.service.store.load(t.Context(), e.ID)
			if err != nil {
				t.Fatal(err)
			}
			if len(k.Team) != writers || len(k.Event.TicketTypes) != 2+writers ||
				k.Event.Revision != e.Revision+2*writers {
				t.Errorf("%d members, %d ticket types, revision %d", len(k.Team), len(k.Event.TicketTypes),
					k.Event.Revision)
			}
			if pool := w.ticketing.pool(e.ID); !maps.Equal(pool, k.quantities()) {
				t.Errorf("ticketing has %v, the event %v", pool, k.quantities())
			}
			testkit.Eventually(t, 10*time.Second, func() error {
				subjects, offers := w.events(e.ID)
				if len(subjects) != 2+2*writers {
					return fmt.Errorf("%d domain events, want %d", len(subjects), 2+2*writers)
				}
				for i, o := range offers {
					if o.Event.Revision != int64(i+1) {
						return fmt.Errorf("event %d tells of revision %d", i, o.Event.Revision)
					}
				}
				return nil
			})
		})
	}
}

// untilChanged asks for a change until the answer is another than that nothing was changed.
func untilChanged[Req, Resp any](w *harness, ep rpc.Endpoint[Req, Resp], req Req) error {
	for {
		if _, err := call(w, anna, ep, req); !fault.Is(err, fault.Unavailable) {
			return err
		}
	}
}

func TestOneOfManyWithTheSamePreconditionWins(t *testing.T) {
	w := start(t)
	e := w.draft("Quartet")
	const writers = 8
	var all sync.WaitGroup
	errs := make(chan error, writers)
	for i := range writers {
		all.Go(func() {
			_, err := call(w, anna, api.UpdateEvent,
				api.PatchEvent{ID: e.ID, IfMatch: `"1"`, Name: at(fmt.Sprint("Name ", i))})
			errs <- err
		})
	}
	all.Wait()
	close(errs)
	won := 0
	for err := range errs {
		if err == nil {
			won++
		} else if !fault.Is(err, fault.Precondition) {
			t.Error(err)
		}
	}
	if got := must(w, anna, api.GetEvent, api.EventRef{ID: e.ID}); won != 1 || got.Revision != 2 {
		t.Errorf("%d writers won, revision %d", won, got.Revision)
	}
}

// post sends a request as the gateway does, with an Idempotency-Key.
func (w *harness) post(spec rpc.Spec, params, key string, body any) (*nats.Msg, error) {
	data, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	h := nats.Header{rpc.HeaderPrincipal: {anna.String()}, rpc.HeaderHTTP + rpc.IdempotencyKey: {key}}
	if params != "" {
		h[rpc.HeaderParams] = []string{params}
	}
	return w.client.Forward(w.t.Context(), spec, h, data)
}

func TestIdempotencyKey(t *testing.T) {
	w := start(t)
	e := w.published("Quartet")
	add := api.NewTicketType{Name: "Box", Price: api.Money{Amount: 1, Currency: "EUR"}, Quantity: 1}
	for _, c := range []struct {
		spec   rpc.Spec
		params string
		body   any
		other  any
	}{
		{api.CreateEvent.Spec, "", draftOf("Once"), draftOf("Twice")},
		{api.CreateTicketType.Spec, "id=" + e.ID.String(), add, api.NewTicketType{}},
	} {
		const repeats = 6
		bodies := make(chan string, repeats)
		var all sync.WaitGroup
		for range repeats {
			all.Go(func() {
				m, err := w.post(c.spec, c.params, "key", c.body)
				if err != nil || rpc.Fault(m) != nil {
					t.Error(err, rpc.Fault(m))
					return
				}
				bodies <- string(m.Data)
			})
		}
		all.Wait()
		close(bodies)
		var got []string
		for b := range bodies {
			got = append(got, b)
		}
		if len(slices.Compact(got)) != 1 {
			t.Errorf("%s: the same request had different answers: %q", c.spec.Name, got)
		}
		m, err := w.post(c.spec, c.params, "key", c.other)
		if err != nil || !fault.Is(rpc.Fault(m), fault.Unprocessable) {
			t.Errorf("%s: another request with that key: %v %v", c.spec.Name, err, rpc.Fault(m))
		}
	}
	list := must(w, anna, api.ListEvents, api.EventQuery{Status: api.EventDraft})
	if len(list.Items) != 1 {
		t.Errorf("%d events were created", len(list.Items))
	}
	k, err := w.service.store.load(t.Context(), e.ID)
	if err != nil || len(k.Event.TicketTypes) != 3 || !maps.Equal(w.ticketing.pool(e.ID), k.quantities()) {
		t.Errorf("%d ticket types, ticketing has %v, %v", len(k.Event.TicketTypes), w.ticketing.pool(e.ID), err)
	}
}
