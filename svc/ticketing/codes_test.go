package ticketing

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc/codec"
	"github.com/starlightsymphony/starlight/svc/ticketing/codes"
)

// code makes a promo code of an event.
func (h *harness) code(o *api.Offer, word string, t api.PromoTerms) *api.PromoCode {
	h.t.Helper()
	return must(h.as(ownerOf(o)), h, api.CreatePromoCode, api.NewPromoCode{EventID: o.Event.ID, Code: word, PromoTerms: t})
}

// with is an order with a promo code.
func with(o *api.Offer, n int, word string) api.NewOrder {
	req := order(o, n)
	req.PromoCode = word
	return req
}

func percent(p string) api.PromoTerms { return api.PromoTerms{Kind: api.PromoPercent, Percent: p} }

// Of a thousand buyers who come at once, at two instances, with a code for a hundred, a hundred use it; however their
// orders end, each gives its use back once.
func TestLimitedCodeUnderRaces(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		h.start()
		o := h.publish(5000, 1000)
		terms := percent("50")
		terms.MaxUses = 100
		code := h.code(o, "Half-Off", terms)
		var wg sync.WaitGroup
		var mu sync.Mutex
		var made []*api.Order
		var refused atomic.Int64
		for i := range 1000 {
			wg.Go(func() {
				buyer := person()
				got, err := h.createWithRetry(buyer, with(o, 1, []string{"half-off", " HALF- off", "Half-Off"}[i%3]))
				switch {
				case err == nil:
					mu.Lock()
					defer mu.Unlock()
					made = append(made, got)
				case fault.Is(err, fault.SoldOut):
					refused.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if len(made) != 100 || refused.Load() != 900 {
			t.Fatalf("%d use it, %d were refused", len(made), refused.Load())
		}
		for _, m := range made {
			if m.Total.Amount != 500 || m.Discount.Amount != 500 || m.PromoCode != "Half-Off" || m.Items[0].Discount.Amount != 500 {
				t.Fatalf("an order with it is %+v", m)
			}
		}
		used := func(want int) {
			t.Helper()
			got := must(h.as(ownerOf(o)), h, api.GetPromoCode, api.PromoCodeRef{EventID: o.Event.ID, ID: code.ID})
			if got.Used != want {
				t.Fatalf("it is used %d times, want %d", got.Used, want)
			}
		}
		used(100)
		h.audit()
		// One is cancelled, twice; one is paid and refunded; the others expire.
		for range 2 {
			must(h.as(made[0].UserID), h, api.CancelOrder, api.OrderRef{ID: made[0].ID})
		}
		payment := h.pay(made[1].UserID, made[1])
		h.becomes(made[1].UserID, made[1].ID, api.OrderPaid)
		used(99)
		due := must(h.as(ownerOf(o)), h, api.DecideRefund, api.RefundOrder{RefundID: ids.New[ids.RefundKind](time.Now()), OrderID: made[1].ID, PaymentID: payment})
		if due.Amount.Amount != 500 {
			t.Errorf("what was paid was 500, and %d goes back", due.Amount.Amount)
		}
		h.clock.Advance(2 * time.Minute)
		for _, m := range made[2:] {
			h.becomes(m.UserID, m.ID, api.OrderExpired)
		}
		used(0)
		h.audit()
		var again atomic.Int64
		for range 120 {
			wg.Go(func() {
				if _, err := h.createWithRetry(person(), with(o, 1, "half-off")); err == nil {
					again.Add(1)
				}
			})
		}
		wg.Wait()
		if again.Load() != 100 {
			t.Errorf("after all gave it back it is used %d times", again.Load())
		}
		h.audit()
	})
}

func TestWhatACodeIsGoodFor(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		o := h.publish(100, 1000, 700)
		soon := h.clock.Now().Add(time.Hour)
		o.Event.TicketTypes[1].Hidden = true
		secret := o.Event.TicketTypes[1].ID
		owner := h.as(ownerOf(o))
		hidden := order(o, 1)
		hidden.Items[0].TicketTypeID = secret
		try := func(req api.NewOrder, word string) (*api.CreatedOrder, error) {
			req.PromoCode = word
			return do(h.as(person()), h, api.CreateOrder, req)
		}
		refused := func(req api.NewOrder, word string, code fault.Code) {
			t.Helper()
			if _, err := try(req, word); !fault.Is(err, code) {
				t.Errorf("with %q: %v, want %s", word, err, code)
			}
		}
		costs := func(req api.NewOrder, word string, want int64) *api.Order {
			t.Helper()
			got, err := try(req, word)
			if err != nil || got.Total.Amount != want {
				t.Fatalf("with %q: %+v %v, want %d", word, got, err, want)
			}
			return &got.Order
		}
		// Hidden types are unlocked, and only then shown.
		refused(hidden, "", fault.Invalid)
		unlock := h.code(o, "backstage", api.PromoTerms{TicketTypeIDs: []ids.TicketType{secret}, Unlocks: true})
		costs(hidden, "Back Stage", 700)
		refused(order(o, 1), "backstage", fault.Conflict) // it is for none of these
		public := must(h.as(person()), h, api.GetAvailability, api.AvailabilityQuery{ID: o.Event.ID})
		shown := must(h.as(person()), h, api.GetAvailability, api.AvailabilityQuery{ID: o.Event.ID, Code: "BACKSTAGE"})
		if len(public.TicketTypes) != 1 || len(shown.TicketTypes) != 2 || shown.Code == nil || len(shown.Code.TicketTypes) != 1 {
			t.Errorf("the public sees %+v, holders %+v", public, shown)
		}
		if team := must(owner, h, api.GetAvailability, api.AvailabilityQuery{ID: o.Event.ID}); len(team.TicketTypes) != 2 {
			t.Errorf("the team sees %+v", team)
		}
		// Validity, minimum order, tickets of an order.
		later, least := percent("10"), percent("10")
		later.ValidFrom = &soon
		h.code(o, "later", later)
		refused(order(o, 1), "later", fault.Conflict)
		least.MinTickets, least.MaxTickets = 3, 4
		h.code(o, "many", least)
		refused(order(o, 2), "many", fault.Conflict)
		costs(order(o, 6), "many", 5600)
		h.code(o, "once-each", api.PromoTerms{Kind: api.PromoAmount, Amount: &api.Money{Amount: 5000, Currency: "EUR"}, MaxPerPerson: 1})
		free := costs(order(o, 2), "once-each", 0)
		if free.Status != api.OrderPaid {
			t.Errorf("an order that costs nothing is %s", free.Status)
		}
		if _, err := do(h.as(free.UserID), h, api.CreateOrder, with(o, 1, "once-each")); !fault.Is(err, fault.Conflict) {
			t.Errorf("a second order of the same person: %v", err)
		}
		// Members first.
		h.mu.Lock()
		o.Event.TicketTypes[0].SalesStart = &soon
		h.mu.Unlock()
		h.clock.Advance(2 * time.Second)
		early := api.PromoTerms{SalesStart: &o.Event.StartsAt}
		now := h.clock.Now()
		early.SalesStart = &now
		h.code(o, "members", early)
		refused(order(o, 1), "", fault.Conflict)
		costs(order(o, 1), "members", 1000)
		h.clock.Advance(2 * time.Hour)
		// By itself: four for three, but a code that is better counts.
		h.code(o, "", api.PromoTerms{Kind: api.PromoBundle, Buy: 4, Pay: 3, Auto: true})
		h.clock.Advance(2 * time.Second)
		costs(order(o, 4), "", 3000)
		costs(order(o, 3), "", 3000)
		h.code(o, "half", percent("50"))
		costs(order(o, 4), "half", 2000)
		h.code(o, "tenth", percent("10"))
		costs(order(o, 4), "tenth", 3000)
		// A change counts at once, and so does the end. The use from before may have ended with its hold.
		costs(hidden, "backstage", 700)
		must(owner, h, api.UpdatePromoCode, api.PatchPromoCode{EventID: o.Event.ID, ID: unlock.ID, PromoChanges: api.PromoChanges{MaxUses: codec.To(1)}})
		refused(hidden, "backstage", fault.SoldOut)
		must(owner, h, api.DeletePromoCode, api.PromoCodeRef{EventID: o.Event.ID, ID: unlock.ID})
		refused(hidden, "backstage", fault.Invalid)
		h.code(o, "BackStage", api.PromoTerms{}) // the word is free again
		if _, err := do(owner, h, api.CreatePromoCode, api.NewPromoCode{EventID: o.Event.ID, Code: "back stage"}); !fault.Is(err, fault.Conflict) {
			t.Errorf("the same word again: %v", err)
		}
		// What belongs to all events of the organizer.
		must(owner, h, api.CreateOrganizerCode, api.NewOrganizerCode{OrganizerID: o.Organizer.ID, Code: "everywhere", PromoTerms: percent("20")})
		costs(order(o, 1), "everywhere", 800)
		if _, err := do(h.as(person()), h, api.ListOrganizerCodes, api.OrganizerCodeQuery{OrganizerID: o.Organizer.ID}); !fault.Is(err, fault.NotFound) {
			t.Errorf("a stranger asks for codes: %v", err)
		}
		h.audit()
	})
}

// A refund gives back what a ticket cost: three tickets for 20.00 are 6.67, 6.67 and 6.66.
func TestRefundOfDiscountedTickets(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		o := h.publish(100, 1000)
		h.code(o, "off", api.PromoTerms{Kind: api.PromoAmount, Amount: &api.Money{Amount: 1000, Currency: "EUR"}})
		buyer := person()
		made := must(h.as(buyer), h, api.CreateOrder, with(o, 3, "off"))
		payment := h.pay(buyer, &made.Order)
		h.becomes(buyer, made.ID, api.OrderPaid)
		var back []int64
		for _, ticket := range must(h.as(buyer), h, api.ListOrderTickets, api.OrderRef{ID: made.ID}).Items {
			due := must(h.as(ownerOf(o)), h, api.DecideRefund, api.RefundOrder{RefundID: ids.New[ids.RefundKind](time.Now()), OrderID: made.ID,
				PaymentID: payment, Tickets: []ids.Ticket{ticket.ID}})
			back = append(back, due.Amount.Amount)
		}
		if fmt.Sprint(back) != "[667 667 666]" {
			t.Errorf("%v went back of 2000", back)
		}
		h.audit()
	})
}

// Seats are kept for a code: others do not get them, a lost inventory does not change that, and in the end they are for
// all.
func TestKeptSeats(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		s := h.start()
		o := h.publish(10, 1000)
		until := h.clock.Now().Add(time.Hour)
		terms := api.PromoTerms{ValidUntil: &until, Reserve: &api.PromoReserve{TicketTypeID: o.Event.TicketTypes[0].ID, Quantity: 6}}
		code := h.code(o, "fans", terms)
		buy := func(n int, word string) error {
			_, err := do(h.as(person()), h, api.CreateOrder, with(o, n, word))
			return err
		}
		if err := buy(5, ""); !fault.Is(err, fault.SoldOut) {
			t.Errorf("others get what is kept: %v", err)
		}
		if err := buy(4, ""); err != nil {
			t.Fatal(err)
		}
		terms.ValidUntil = nil
		if _, err := do(h.as(ownerOf(o)), h, api.CreatePromoCode, api.NewPromoCode{EventID: o.Event.ID, Code: "more", PromoTerms: terms}); !fault.Is(err, fault.Conflict) {
			t.Errorf("seats are kept that are not there: %v", err)
		}
		h.emptyInventory()
		if err := buy(1, ""); !fault.Is(err, fault.SoldOut) {
			t.Errorf("after the inventory was lost: %v", err)
		}
		if err := buy(2, "fans"); err != nil {
			t.Fatal(err)
		}
		patch := api.PatchPromoCode{EventID: o.Event.ID, ID: code.ID, PromoChanges: api.PromoChanges{Reserve: codec.To(api.PromoReserve{TicketTypeID: terms.Reserve.TicketTypeID, Quantity: 7})}}
		if _, err := do(h.as(ownerOf(o)), h, api.UpdatePromoCode, patch); !fault.Is(err, fault.Conflict) {
			t.Errorf("one more than there are: %v", err)
		}
		h.audit()
		h.clock.Advance(2 * time.Hour)
		if err := s.codes.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		pool, err := s.inv.Pool(t.Context(), o.Event.ID)
		if err != nil || len(pool.Reserves) != 0 {
			t.Errorf("in the end there are still kept %+v %v", pool.Reserves, err)
		}
	})
}

func TestManyCodes(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		o := h.publish(10, 1000)
		terms := percent("100")
		terms.MaxUses = 1
		batch := must(h.as(ownerOf(o)), h, api.CreatePromoBatch, api.NewPromoBatch{EventID: o.Event.ID, Count: 1200, Prefix: "press-", PromoTerms: terms})
		seen := map[string]bool{}
		cursor := ""
		for {
			list := must(h.as(ownerOf(o)), h, api.ListPromoCodes, api.PromoCodeQuery{EventID: o.Event.ID, Batch: batch.Batch, Page: api.Page{Limit: 100, Cursor: cursor}})
			for _, c := range list.Items {
				if seen[c.Code] = true; !strings.HasPrefix(c.Code, "PRESS-") {
					t.Fatal(c.Code)
				}
			}
			if cursor = list.NextCursor; cursor == "" {
				break
			}
		}
		if len(seen) != 1200 {
			t.Errorf("%d codes", len(seen))
		}
		for word := range seen {
			if _, err := do(h.as(person()), h, api.CreateOrder, with(o, 1, word)); err != nil {
				t.Fatal(err)
			}
			if _, err := do(h.as(person()), h, api.CreateOrder, with(o, 1, word)); !fault.Is(err, fault.SoldOut) {
				t.Errorf("a second use: %v", err)
			}
			break
		}
		// Who tries many words is told to wait; so is not who has a good one.
		thief := h.as(person())
		for i := range 30 {
			_, err := do(thief, h, api.GetAvailability, api.AvailabilityQuery{ID: o.Event.ID, Code: fmt.Sprint("PRESS-", i)})
			if late := i >= 20; fault.Is(err, fault.RateLimited) != late || err == nil {
				t.Fatalf("try %d: %v", i, err)
			}
		}
		h.audit()
	})
}

// A change of a code that was interrupted between the database and the inventory is finished by the sweep.
func TestInterruptedChangeOfACode(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		s := h.start()
		o := h.publish(10, 1000)
		code := h.code(o, "ten", percent("10"))
		if _, err := do(h.as(person()), h, api.CreateOrder, with(o, 1, "ten")); err != nil {
			t.Fatal(err)
		}
		terms, err := json.Marshal(api.PromoTerms{Kind: api.PromoPercent, Percent: "10", MaxUses: 1})
		if err != nil {
			t.Fatal(err)
		}
		err = h.db.Tx(t.Context(), func(ctx context.Context, tx tx) error {
			_, err := tx.ExecContext(ctx, "UPDATE promo_codes SET terms = ?, due = ?, revision = 2 WHERE id = ?", string(terms), true, code.ID)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		h.clock.Advance(2 * codes.SweepEvery * 2)
		if err := s.codes.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		if c := s.inv.Code(o.Event.ID, code.ID); c.Limit != 1 || c.Revision != 2 {
			t.Errorf("the inventory knows %+v", c)
		}
	})
}
