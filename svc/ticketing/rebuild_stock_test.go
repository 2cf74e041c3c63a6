package ticketing

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/ticketing/audit"
	"github.com/starlightsymphony/starlight/svc/ticketing/inventory"
	"github.com/starlightsymphony/starlight/svc/ticketing/recount"
)

// broken are the checks of the audit that do not hold, by their first word.
func (h *harness) broken() (names []string) {
	h.t.Helper()
	findings, err := audit.Run(h.t.Context(), h.db, h.nats.JS)
	if err != nil {
		h.t.Fatal(err)
	}
	for _, f := range findings {
		if name, _, _ := strings.Cut(f.Check, ":"); len(f.Broken) > 0 {
			names = append(names, name)
		}
	}
	return names
}

// The sums of an event are wrong, each of them, and the audit says so. They are made anew of tickets, leases and sales,
// with a line in the audit log; the audit holds again, other events are as they were, and the fence goes on.
func TestRebuildStock(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		s := h.start()
		o, other := h.publish(20, 1000), h.publish(5, 1000)
		h.buy(other, 1)
		typ := o.Event.TicketTypes[0].ID
		h.buy(o, 3)
		b := h.buy(o, 2)
		must(h.as(ownerOf(o)), h, api.DecideRefund, b.refund(nil, b.tickets[0].ID))
		x := newTill(h, s, o, 6)
		x.venueSees()
		x.must(x.sale(2))
		h.audit()
		if got := must(t.Context(), h, api.RebuildStock, api.RebuildOf{EventID: o.Event.ID}); got.Compared != 3 ||
			len(got.Mended)+len(got.Left) != 0 {
			t.Errorf("of what is right: %+v", got)
		}

		h.exec("UPDATE stock SET sold = sold - 1, leased = leased + 2 WHERE event_id = ?", o.Event.ID)
		h.exec("UPDATE leases SET sold = 1 WHERE event_id = ?", o.Event.ID)
		if got := h.broken(); !slices.Equal(got, []string{"stock", "leases", "fence"}) {
			t.Errorf("the audit finds %v broken", got)
		}
		got := must(t.Context(), h, api.RebuildStock, api.RebuildOf{EventID: o.Event.ID})
		want := []api.StockSum{{Lease: x.lease.ID, What: api.StockSold, Was: 1, Is: 2},
			{Type: typ, What: api.StockSold, Was: 5, Is: 6}, {Type: typ, What: api.StockLeased, Was: 6, Is: 4}}
		if !slices.Equal(got.Mended, want) || len(got.Left) != 0 {
			t.Errorf("mended %+v, left %+v, want %+v", got.Mended, got.Left, want)
		}
		h.audit()
		testkit.Eventually(t, 15*time.Second, func() error {
			for _, m := range h.nats.Messages(api.AuditStream) {
				var l struct {
					Act, Object   string
					Before, After map[string]int
				}
				if err := json.Unmarshal(m.Data, &l); err != nil || l.Act != "ticketing.rebuild_stock" {
					continue
				}
				if l.Object != o.Event.ID.String() || len(l.Before) != 3 || l.Before["sold of "+typ.String()] != 5 ||
					l.After["sold of "+typ.String()] != 6 {
					t.Errorf("the line is %s", m.Data)
				}
				return nil
			}
			return errors.New("the audit log has no line")
		})
		x.poolIs(10, 6, 4)
		if _, err := do(h.as(person()), h, api.CreateOrder, order(o, 11)); !fault.Is(err, fault.SoldOut) {
			t.Errorf("11 of 10: %v", err)
		}
		h.buy(o, 10)
		x.must(x.sale(4))
		h.audit()
	})
}

// What cannot be: more tickets than there is room for, and what has no row. It stays, and is named, until there is.
func TestRebuildStockThatCannotBe(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		s := h.start()
		o, gone := h.publish(10, 1000), h.publish(10, 1000)
		h.buy(o, 4)
		h.buy(gone, 2)
		h.exec("UPDATE stock SET sold = 1, capacity = 3 WHERE event_id = ?", o.Event.ID)
		h.exec("DELETE FROM stock WHERE event_id = ?", gone.Event.ID)
		var left []api.StockSum
		for req := (api.RebuildOf{}); ; {
			got := must(t.Context(), h, api.RebuildStock, req)
			if req.After = got.EventID; got.EventID == "" {
				break
			}
			if len(got.Mended) > 0 {
				t.Errorf("mended %+v", got.Mended)
			}
			left = append(left, got.Left...)
		}
		want := []api.StockSum{{Type: o.Event.TicketTypes[0].ID, What: api.StockSold, Was: 1, Is: 4},
			{Type: gone.Event.TicketTypes[0].ID, What: api.StockSold, Was: 0, Is: 2}}
		for _, w := range want {
			if !slices.Contains(left, w) {
				t.Errorf("left %+v, which has no %+v", left, w)
			}
		}
		if len(left) != 2 {
			t.Errorf("left %+v", left)
		}

		for _, o := range []*api.Offer{o, gone} { // their quantities are saved
			lines := []inventory.Line{{Type: o.Event.TicketTypes[0].ID, N: 11}}
			err := s.setQuantities(t.Context(), o.Event.ID, o.Event.Revision+1, stock{lines: lines}, "")
			if err != nil {
				t.Fatal(err)
			}
			got := must(t.Context(), h, api.RebuildStock, api.RebuildOf{EventID: o.Event.ID})
			if len(got.Mended) != 1 || len(got.Left) != 0 {
				t.Errorf("with room: %+v", got)
			}
		}
		h.audit()
	})
}

// Sums are spoilt and made anew while tickets are sold, given back, leased, and sold from leases, at two instances. No
// sale is missing from them in the end, and none is there twice.
func TestRebuildStockInASale(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.live = fixed(api.HoldTTL.Is(time.Hour))
		s := h.start()
		h.start()
		o := h.publish(2000, 0)
		must(h.as(person()), h, api.CreateOrder, order(o, 1))
		x := newTill(h, s, o, 100)
		x.venueSees()
		var selling sync.WaitGroup
		for range 4 {
			selling.Go(func() {
				for range 15 {
					if _, err := h.createWithRetry(person(), order(o, 2)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		for range 2 {
			selling.Go(func() {
				for i := range 15 {
					sold, err := do(h.as(ownerOf(o)), h, api.CreateSale, sale(o, 3, api.PaidNot))
					if err == nil && i%3 > 0 {
						_, err = do(h.as(ownerOf(o)), h, api.ReverseSale,
							api.ReverseSaleRequest{OrderID: sold.OrderID, Reason: "wrong"})
					}
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		selling.Go(func() {
			for range 15 {
				if err := x.hand("", x.sale(2)); err != nil {
					t.Error(err)
				}
			}
		})
		done := make(chan struct{})
		go func() { selling.Wait(); close(done) }()
		mended := 0
		for going := true; going; {
			select {
			case <-done:
				going = false
			default:
			}
			h.exec("UPDATE stock SET sold = sold + 3, leased = leased + 1 WHERE event_id = ?", o.Event.ID)
			sums, err := recount.Mend(t.Context(), h.db, o.Event.ID)
			if err != nil {
				t.Fatal(err)
			}
			mended += len(sums)
			got, err := recount.Read(t.Context(), h.db, o.Event.ID)
			if err != nil {
				t.Fatal(err)
			}
			if wrong := got.Wrong(); len(wrong) != 0 { // at once, as what follows would mend it
				t.Errorf("after %d sums were mended, these are wrong: %+v", mended, wrong)
				<-done
				return
			}
		}
		if mended < 2 {
			t.Errorf("%d sums were mended", mended)
		}
		h.audit()
	})
}
