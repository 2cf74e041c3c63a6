package faults_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/system/systemtest"
)

// A purchase and its refund, with the process killed before and after every commit of their way: from the payer's consent
// through callback, payment, tickets and news to the money's return. Whatever the moment, the order has its tickets in
// the end, the money is collected once and given back once, and the records agree.
func TestKillAtEveryStep(t *testing.T) {
	t.Parallel()
	s := systemtest.StartMortal(t, "")
	admin := s.Admin
	s.AnyOrders(admin)
	event := s.Concert(admin, 10000, 1500)

	status := func(o api.Order, want string) func() error {
		return func() error {
			got, err := s.Send("GET", "/v1/orders/"+o.ID.String(), admin, nil)
			if err != nil {
				return err
			}
			return got.Is(200, `"status":"`+want+`"`)
		}
	}
	var paid []api.Order
	var payments []ids.Payment
	buy := func() (api.Order, ids.Payment) {
		o := systemtest.Call[api.Order](s.Site, 201, "POST", "/v1/orders", admin, systemtest.Seats(event, 2))
		pay := systemtest.Call[api.Payment](s.Site, 201, "POST", "/v1/orders/"+o.ID.String()+"/payments", admin, api.NewPayment{Provider: "sandbox"})
		paid, payments = append(paid, o), append(payments, pay.ID)
		return o, pay.ID
	}
	consent := func(pay ids.Payment) func() error {
		return func() error {
			got, err := s.Send("POST", "/v1/sandbox/payments/"+pay.String(), "", api.SandboxOutcome{Outcome: "succeeded"})
			if err != nil {
				return err
			}
			return got.Is(202, "")
		}
	}
	// Before and after three commits: the consent, the callback with what it means, the tickets. After the last commit the
	// outcome is there to be seen, so that moment may be missed.
	s.Moments("a purchase", 5, func(_, point int) bool {
		o, pay := buy()
		return s.Survive("payment ticketing", point, consent(pay), status(o, api.OrderPaid))
	})
	refund := func(n int) func() error {
		return func() error {
			got, err := s.Send("POST", "/v1/payments/"+payments[n].String()+"/refunds", admin, api.NewRefund{}, "Idempotency-Key", "refund-"+payments[n].String())
			if err != nil {
				return err
			}
			return got.Is(201, "")
		}
	}
	// The last moment may be missed here, too; and commits of what comes together are one.
	refunded := 0
	s.Moments("a refund", 10, func(n, point int) bool {
		if refunded = n + 1; n == len(paid) {
			buy()
			testkit.Eventually(t, 60*time.Second, func() error {
				if err := consent(payments[n])(); err != nil {
					return err
				}
				return status(paid[n], api.OrderPaid)()
			})
		}
		return s.Survive("payment ticketing", point, refund(n), status(paid[n], api.OrderRefunded))
	})
	for ; refunded < len(paid); refunded++ {
		testkit.Eventually(t, 60*time.Second, refund(refunded))
	}
	testkit.Eventually(t, 60*time.Second, func() error {
		if got := s.Left(event); got.Sold != 0 || got.Held != 0 {
			return fmt.Errorf("seats did not come back: %+v", got)
		}
		return nil
	})
	systemtest.MustAudit(t, s.Cfg, systemtest.Ops(t, "nats://"+s.Cfg.NATS, filepath.Join(s.Cfg.Data, "creds")))
}
