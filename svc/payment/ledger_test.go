package payment

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/svc/payment/ledger"
	"github.com/starlightsymphony/starlight/svc/payment/sandbox"
)

func TestReconcile(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		i := h.run()
		ctx, order := h.order()
		p := h.create(ctx, order.ID)
		h.mustDecide(p.ID, "succeeded")
		p = h.awaitStatus(p.ID, api.PaymentSucceeded, 0)
		h.due(p)
		h.awaitStatus(p.ID, api.PaymentRefunded, 0)
		i.audit(t)

		var own bytes.Buffer
		if err := sandbox.Report(t.Context(), i.db, &own); err != nil {
			t.Fatal(err)
		}
		stripe := "reporting_category,gross,currency,payment_metadata[payment_id]\n" +
			"charge,50.00,eur," + p.ID.String() + "\nfee,-1.20,eur,\npartial_refund,-20.00,eur," + p.ID.String() + "\nrefund,-30,eur," + p.ID.String() + "\n"
		for name, tt := range map[string]struct {
			report string
			want   int
		}{
			"ours":                {own.String(), 0},
			"stripe's":            {stripe, 0},
			"a charge is missing": {strings.ReplaceAll(stripe, "\ncharge", "\nother"), 1},
			"a refund is missing": {strings.ReplaceAll(stripe, "partial_refund", "other"), 1},
			"a cent more":         {strings.ReplaceAll(stripe, "50.00", "50.01"), 1},
			"another currency":    {strings.ReplaceAll(stripe, "eur", "usd"), 2}, // one that we have and they do not, and the reverse
			"a payment too many":  {stripe + "charge,1.00,eur,pay_unknown\n", 1},
		} {
			_, differences, err := ledger.Reconcile(t.Context(), i.db, "sandbox", strings.NewReader(tt.report))
			if err != nil || len(differences) != tt.want {
				t.Errorf("%s: %d differences, want %d: %q, %v", name, len(differences), tt.want, differences, err)
			}
		}
	})
}

// The money of an event is the sum of its transfers by month of UTC, for those alone who may read it.
func TestMoneyOfAnEvent(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		i := h.run()
		ctx, order := h.order()
		p := h.create(ctx, order.ID)
		h.mustDecide(p.ID, "succeeded")
		p = h.awaitStatus(p.ID, api.PaymentSucceeded, 0)
		h.due(p)
		h.awaitStatus(p.ID, api.PaymentRefunded, 0)
		month := h.clock.Now().UTC().Format("2006-01")
		berlin := time.FixedZone("CET", 3600)
		at := time.Date(2031, 1, 1, 0, 30, 0, 0, berlin) // it is December in UTC
		err := i.db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
			row, err := i.store.payment(ctx, p.ID)
			if err != nil {
				return err
			}
			amount := api.Money{Amount: 700, Currency: "EUR"}
			return ledger.Enter(ctx, tx, ledger.Dispute(row, "dp_1", amount, at),
				ledger.DisputeWon(row, "dp_1", amount, at.AddDate(0, 1, 0)), ledger.Dispute(row, "dp_2", amount, at))
		})
		if err != nil {
			t.Fatal(err)
		}
		list := func(who ids.User, of ids.Event) ([]api.MoneyMonth, error) {
			got, err := rpc.Call(as(who), h.client, api.ListEventMoney, &api.EventRef{ID: of})
			if err != nil {
				return nil, err
			}
			return got.Items, nil
		}
		eur := func(n int64) api.Money { return api.Money{Amount: n, Currency: "EUR"} }
		want := []api.MoneyMonth{
			{Month: month, Provider: "sandbox", Collected: eur(5000), RefundsOwed: eur(5000), Refunded: eur(5000), Disputed: eur(0)},
			{Month: "2030-12", Provider: "sandbox", Collected: eur(0), RefundsOwed: eur(0), Refunded: eur(0), Disputed: eur(1400)},
			{Month: "2031-01", Provider: "sandbox", Collected: eur(0), RefundsOwed: eur(0), Refunded: eur(0), Disputed: eur(-700)}}
		slices.SortFunc(want, func(a, b api.MoneyMonth) int { return strings.Compare(a.Month, b.Month) })
		if got, err := list(organizerID, order.EventID); err != nil || !slices.Equal(got, want) {
			t.Errorf("%+v, %v, want %+v", got, err, want)
		}
		if got, err := list(organizerID, ids.New[ids.EventKind](h.clock.Now())); err != nil || len(got) != 0 {
			t.Errorf("of another event: %+v, %v", got, err)
		}
		_, err = list(doorID, order.EventID)
		wantFault(t, err, fault.Forbidden)
		_, err = list(ids.New[ids.UserKind](h.clock.Now()), order.EventID)
		wantFault(t, err, fault.Forbidden)
	})
}

// The money of an organizer is that of the payments that were made for it, wherever their events are by now. Payments
// that do not say for whom they were made are those of the organizer that has the event.
func TestMoneyOfAnOrganizer(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		i := h.run()
		pay := func(back bool) *api.Order {
			ctx, order := h.order()
			p := h.create(ctx, order.ID)
			h.mustDecide(p.ID, "succeeded")
			p = h.awaitStatus(p.ID, api.PaymentSucceeded, 0)
			if back {
				h.due(p)
				h.awaitStatus(p.ID, api.PaymentRefunded, 0)
			}
			return order
		}
		stranger := ids.New[ids.UserKind](h.clock.Now())
		other := api.OwnTeam(stranger)
		moved := pay(true)
		h.mu.Lock()
		h.older = true
		h.mu.Unlock()
		pay(false)
		theirs, gone := pay(false), pay(false)
		h.mu.Lock()
		h.moved = map[ids.Event]*api.OrganizerTeam{moved.EventID: &other, theirs.EventID: &other, gone.EventID: nil}
		h.mu.Unlock()
		list := func(who, of ids.User) ([]api.MoneyMonth, error) {
			got, err := rpc.Call(as(who), h.client, api.ListOrganizerMoney, &api.OrganizerRef{ID: api.OrganizerOf(of)})
			if err != nil {
				return nil, err
			}
			return got.Items, nil
		}
		eur := func(n int64) api.Money { return api.Money{Amount: n, Currency: "EUR"} }
		month := h.clock.Now().UTC().Format("2006-01")
		want := []api.MoneyMonth{{Month: month, Provider: "sandbox", Collected: eur(10000), RefundsOwed: eur(5000), Refunded: eur(5000), Disputed: eur(0)}}
		for _, who := range []ids.User{organizerID, managerID} {
			if got, err := list(who, organizerID); err != nil || !slices.Equal(got, want) {
				t.Errorf("%+v, %v, want %+v", got, err, want)
			}
		}
		want[0].Collected, want[0].RefundsOwed, want[0].Refunded = eur(5000), eur(0), eur(0)
		if got, err := list(organizerID, stranger); err != nil || !slices.Equal(got, want) {
			t.Errorf("of the other: %+v, %v, want %+v", got, err, want)
		}
		_, err := list(doorID, organizerID)
		wantFault(t, err, fault.Forbidden)
		_, err = list(stranger, organizerID)
		wantFault(t, err, fault.NotFound)
		var left int
		if err := i.db.Read().NewRaw("SELECT COUNT(*) FROM payments WHERE organizer_id = ''").Scan(t.Context(), &left); err != nil || left > 0 {
			t.Errorf("%d payments are nobody's, %v", left, err)
		}
	})
}
