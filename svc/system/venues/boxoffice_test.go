package venues_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/system/systemtest"
)

// balance returns the accounts of the ledger, debits less credits, and that of all.
func balance(s *systemtest.Site, admin string) (accounts map[string]int64, total int64) {
	accounts = map[string]int64{}
	for _, a := range systemtest.Call[api.List[api.AccountBalance]](s, 200, "GET", api.GetTrialBalance.Path, admin, nil).Items {
		accounts[a.Account] += a.Debit.Amount - a.Credit.Amount
		total += a.Debit.Amount - a.Credit.Amount
	}
	return accounts, total
}

// A sale at a counter is a paid order with its tickets, and its money stands in the ledger under how it was paid. A
// refund of it is owed until a manager says that it was paid out.
func TestBoxOffice(t *testing.T) {
	t.Parallel()
	cfg := systemtest.Config(t.TempDir())
	s, _, stop := systemtest.Start(t, cfg)
	admin := s.Login(systemtest.AdminEmail)
	s.Unlimited(admin)
	_, owner := s.Join("owner@example.org")
	event := s.Concert(owner, 20, 1000)
	sell := func(method string, n int) api.Sale {
		return systemtest.Call[api.Sale](s, 201, "POST", "/v1/box-office/sales", owner, api.NewSale{EventID: event.ID,
			Items:   []api.NewOrderItem{{TicketTypeID: event.TicketTypes[0].ID, Quantity: n}},
			Payment: api.BoxOfficePayment{Method: method, Reference: "T1"}})
	}
	cash, card := sell(api.PaidInCash, 2), sell(api.PaidByCard, 3)
	settled := func(want map[string]int64) {
		t.Helper()
		testkit.Eventually(t, 15*time.Second, func() error {
			accounts, total := balance(s, admin)
			for name, sum := range want {
				if accounts[name] != sum || total != 0 {
					return fmt.Errorf("the accounts are %v, %d altogether; want %v", accounts, total, want)
				}
			}
			return nil
		})
	}
	settled(map[string]int64{"box_office:cash": 2000, "box_office:card": 3000, "sales": -5000})
	order := systemtest.Call[api.Order](s, 200, "GET", "/v1/orders/"+cash.OrderID.String(), owner, nil)
	payment := systemtest.Call[api.Payment](s, 200, "GET", "/v1/payments/"+order.PaymentID.String(), owner, nil)
	if payment.Provider != api.BoxOffice || payment.Status != api.PaymentSucceeded || payment.Amount.Amount != 2000 {
		t.Errorf("payment is %+v", payment)
	}
	refunds := "/v1/payments/" + payment.ID.String() + "/refunds"
	refund := systemtest.Call[api.Refund](s, 201, "POST", refunds, owner, api.NewRefund{Tickets: []ids.Ticket{cash.Tickets[0].ID}})
	settled(map[string]int64{"refunds_payable": -1000, "box_office:cash": 2000})
	testkit.Eventually(t, 15*time.Second, func() error { // until it was handed to the box office
		got, err := s.Send("POST", refunds+"/"+refund.ID.String()+"/mark-paid", owner, nil)
		if err == nil && got.Status >= 300 {
			err = fmt.Errorf("%d %s", got.Status, got.Body)
		}
		return err
	})
	settled(map[string]int64{"refunds_payable": 0, "box_office:cash": 1000, "box_office:card": 3000, "sales": -4000})
	if left := s.Left(event); left.Sold != 4 {
		t.Errorf("left is %+v", left)
	}
	for range 2 { // the wrong slip
		back := systemtest.Call[api.SaleReversal](s, 200, "POST", "/v1/box-office/sales/"+card.OrderID.String()+"/reversal", owner, nil)
		if back.Refund.Amount != 3000 || len(back.Tickets) != 3 {
			t.Errorf("taken back: %+v", back)
		}
	}
	settled(map[string]int64{"refunds_payable": 0, "box_office:cash": 1000, "box_office:card": 0, "sales": -1000})
	s.Await(owner, api.Order{ID: card.OrderID}, api.OrderRefunded)
	testkit.Eventually(t, 15*time.Second, func() error {
		got, err := s.Send("GET", "/v1/events/"+event.ID.String()+"/analytics", owner, nil)
		if err != nil || got.Status != 200 { // 503 until the first numbers are there
			return fmt.Errorf("%d %s %v", got.Status, got.Body, err)
		}
		var sum api.EventSummary
		if err := json.Unmarshal(got.Body, &sum); err != nil {
			return err
		}
		if left := s.Left(event); left.Sold != 1 || sum.TicketsSold-sum.TicketsRevoked != 1 || sum.Net.Amount != 1000 {
			return fmt.Errorf("left is %+v, the numbers are %+v", left, sum)
		}
		return nil
	})
	if len(card.Tickets) != 3 || card.Tickets[0].Code == "" {
		t.Errorf("sale is %+v", card)
	}
	got, err := s.Send("POST", "/v1/orders/"+order.ID.String()+"/payments", owner, map[string]string{"provider": api.BoxOffice})
	if err != nil || got.Status != 400 {
		t.Errorf("a payer chooses the box office: %d %s %v", got.Status, got.Body, err)
	}
	stop()
	systemtest.MustAudit(t, cfg, systemtest.Stopped)
}
