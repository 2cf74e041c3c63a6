package payment

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/payment/ledger"
)

// What an organizer is due is what providers have collected, less what went back and what was paid out. Two instances
// that are asked to pay it out at once pay no more than that, and what comes back is due again, once.
func TestPayouts(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		i := h.run()
		h.run() // beside another one
		pay := func() *api.Payment {
			ctx, order := h.order()
			p := h.create(ctx, order.ID)
			h.mustDecide(p.ID, "succeeded")
			return h.awaitStatus(p.ID, api.PaymentSucceeded, 0)
		}
		pay()
		p := pay()
		pay()
		h.due(p)
		h.awaitStatus(p.ID, api.PaymentRefunded, 0)

		eur := func(n int64) api.Money { return api.Money{Amount: n, Currency: "EUR"} }
		org, admin := api.OrganizerOf(organizerID), rpc.WithPrincipal(t.Context(), rpc.Principal{
			User: ids.New[ids.UserKind](h.clock.Now()), Roles: []string{rpc.RoleAdmin}, Fresh: true})
		balance := func(paid, due int64) {
			t.Helper()
			got, err := rpc.Call(as(organizerID), h.client, api.ListOrganizerBalances, &api.OrganizerRef{ID: org})
			want := []api.OrganizerBalance{{Collected: eur(15000), Returned: eur(5000), PaidOut: eur(paid), Due: eur(due)}}
			if err != nil || !slices.Equal(got.Items, want) {
				t.Errorf("the balance is %+v, %v, want %+v", got, err, want)
			}
		}
		balance(0, 10000)
		due := func(want int64) {
			t.Helper()
			got, err := rpc.Call(admin, h.client, api.ListDuePayouts, &api.Page{Limit: 1})
			if err != nil || (len(got.Items) == 1) != (want > 0) || want > 0 && (got.Items[0].OrganizerID != org ||
				got.Items[0].Balance.Due != eur(want)) || got.NextCursor != "" {
				t.Errorf("due are %+v, %v, want %d", got, err, want)
			}
		}
		due(10000)
		send := func(key string, amount api.Money) (*api.Payout, error) {
			return rpc.CallOnce(admin, h.client, api.CreatePayout, &api.NewPayout{OrganizerID: org, Amount: amount, Reference: "May"}, key)
		}
		for _, wrong := range []api.Money{eur(10001), {Amount: 1, Currency: "USD"}} {
			_, err := send("", wrong)
			wantFault(t, err, fault.Conflict)
		}
		_, err := send("", eur(0))
		wantFault(t, err, fault.Invalid)

		var wg sync.WaitGroup
		var paid, refused atomic.Int32
		for range 8 { // each of them is due, and all together are not
			wg.Go(func() {
				switch _, err := send("", eur(3000)); {
				case err == nil:
					paid.Add(1)
				case fault.Is(err, fault.Conflict):
					refused.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if paid.Load() != 3 || refused.Load() != 5 {
			t.Errorf("%d were paid and %d refused", paid.Load(), refused.Load())
		}
		balance(9000, 1000)
		h.clock.Advance(time.Second)
		last, err := send("once", eur(1000))
		again, err2 := send("once", eur(1000))
		if err != nil || err2 != nil || again.ID != last.ID {
			t.Fatalf("paid %+v and %+v, %v %v", last, again, err, err2)
		}
		balance(10000, 0)
		due(0)

		for range 2 {
			back, err := rpc.Call(admin, h.client, api.ReturnPayout, &api.PayoutRef{ID: last.ID})
			if err != nil || back.ReturnedAt == nil || back.Amount != last.Amount {
				t.Errorf("came back as %+v, %v", back, err)
			}
		}
		_, err = rpc.Call(admin, h.client, api.ReturnPayout, &api.PayoutRef{ID: ids.New[ids.PayoutKind](h.clock.Now())})
		wantFault(t, err, fault.NotFound)
		balance(9000, 1000)

		var all []api.Payout
		for cursor := ""; len(all) == 0 || cursor != ""; {
			page, err := rpc.Call(as(organizerID), h.client, api.ListPayouts, &api.PayoutPage{OrganizerID: org,
				Page: api.Page{Limit: 3, Cursor: cursor}})
			if err != nil {
				t.Fatal(err)
			}
			all, cursor = append(all, page.Items...), page.NextCursor
		}
		if len(all) != 4 || all[0].ID != last.ID || all[0].ReturnedAt == nil || all[1].ReturnedAt != nil || all[1].Amount != eur(3000) {
			t.Errorf("the payouts are %+v", all)
		}
		_, err = rpc.Call(as(doorID), h.client, api.ListPayouts, &api.PayoutPage{OrganizerID: org})
		wantFault(t, err, fault.Forbidden)
		_, err = rpc.Call(as(organizerID), h.client, api.CreatePayout, &api.NewPayout{OrganizerID: org, Amount: eur(1), Reference: "mine"})
		wantFault(t, err, fault.Forbidden)

		testkit.Eventually(t, 20*time.Second, func() error {
			made, back := h.audited("payment.create_payout"), h.audited("payment.return_payout")
			if len(made) != 4 || len(back) != 1 || back[0].Object != last.ID.String() || back[0].OrganizerID != org {
				return fmt.Errorf("audited are %+v and %+v", made, back)
			}
			return nil
		})

		h.due(pay()) // what is paid out and then goes back is owed
		accounts, err := ledger.TrialBalance(t.Context(), i.db)
		if err != nil {
			t.Fatal(err)
		}
		at := slices.IndexFunc(accounts, func(a api.AccountBalance) bool { return a.Account == "bank" })
		if at < 0 || accounts[at].Credit != eur(10000) || accounts[at].Debit != eur(1000) {
			t.Errorf("the accounts are %+v", accounts)
		}
		i.audit(t)
	})
}
