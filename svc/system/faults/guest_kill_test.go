package faults_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/system/systemtest"
)

// An order without an account, and its way into an account, with the process killed before and after every commit. A
// client that asks again under its key has one order and the token that opens it; what an account has taken over is its
// own with its payment, and the token of the order opens nothing.
func TestGuestAtEveryStep(t *testing.T) {
	t.Parallel()
	s := systemtest.StartMortal(t, "")
	s.Unlimited(s.Admin)
	for _, key := range []string{api.RateGuests.Key(), api.MaxGuestOrders.Key(), api.MaxGuestsPerAddress.Key()} {
		s.Set(s.Admin, key, "0")
	}
	free, priced := s.Concert(s.Admin, 1000, 0), s.Concert(s.Admin, 1000, 1500)
	const email = "robin@example.org"
	order := func(event api.Event, key string, made *api.CreatedOrder) error {
		req := systemtest.Seats(event, 2)
		req.Email = email
		got, err := s.Send("POST", "/v1/orders", "", req, "Idempotency-Key", key)
		if err == nil {
			err = got.Is(201, "")
		}
		if err == nil {
			err = got.Decode(made)
		}
		return err
	}
	reads := func(path, token, text string, status int) error {
		got, err := s.Send("GET", path, token, nil)
		if err == nil {
			err = got.Is(status, text)
		}
		return err
	}
	var paths []string
	s.Moments("an order", 1, func(n, point int) bool {
		var made api.CreatedOrder
		key := fmt.Sprintf("order-of-a-guest-%d", n)
		died := s.Survive("ticketing", point, func() error { return order(free, key, &made) }, func() error {
			return reads("/v1/orders/"+made.ID.String(), made.AccessToken, `"status":"paid"`, 200)
		})
		var again api.CreatedOrder
		if err := order(free, key, &again); err != nil || again.ID != made.ID || again.AccessToken != made.AccessToken {
			t.Errorf("once more under its key: %+v, %v", again, err)
		}
		paths = append(paths, "/v1/orders/"+made.ID.String())
		return died
	})
	testkit.Eventually(t, 60*time.Second, func() error { // an order may be paid a moment before its seats are
		if got := s.Left(free); got.Sold != 2*len(paths) || got.Held != 0 {
			return fmt.Errorf("%d orders have %+v", len(paths), got)
		}
		return nil
	})
	u, robin := s.Join(email)
	s.Confirm(s.Cfg, email)
	testkit.Eventually(t, 60*time.Second, func() error { // who confirms an address takes its orders over a moment later
		for _, path := range paths {
			if err := reads(path, robin, `"user_id":"`+u.ID.String()+`"`, 200); err != nil {
				return err
			}
		}
		return nil
	})
	s.Moments("a claim", 2, func(n, point int) bool {
		var made api.CreatedOrder
		if err := order(priced, fmt.Sprintf("claimed-order-of-a-guest-%d", n), &made); err != nil {
			t.Fatal(err)
		}
		s.Pay(made.AccessToken, made.Order)
		path := "/v1/orders/" + made.ID.String()
		payment := "/v1/payments/" + systemtest.Call[api.Order](s.Site, 200, "GET", path, made.AccessToken, nil).PaymentID.String()
		claim := func() error {
			got, err := s.Send("POST", "/v1/me/orders/claims", robin, nil)
			if err == nil {
				err = got.Is(200, "")
			}
			return err
		}
		return s.Survive("ticketing payment", point, claim, func() error {
			if err := reads(path, robin, `"user_id":"`+u.ID.String()+`"`, 200); err != nil {
				return err
			}
			if err := reads(payment, robin, `"user_id":"`+u.ID.String()+`"`, 200); err != nil {
				return err
			}
			return reads(path, made.AccessToken, "", 401)
		})
	})
	systemtest.MustAudit(t, s.Cfg, systemtest.Ops(t, "nats://"+s.Cfg.NATS, filepath.Join(s.Cfg.Data, "creds")))
}
