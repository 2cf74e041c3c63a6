package system_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// Every endpoint lets in the keys that it declares and no other, and no key sees another organizer's things.
func TestKeyMatrix(t *testing.T) {
	cfg := config(t.TempDir())
	cfg.Sandbox = true
	s, _, _ := start(t, cfg)
	admin := s.login(adminEmail)
	s.unlimited(admin)
	s.set(admin, api.RatePerKey.Key(), "0")
	_, owner := s.join("owner@example.org")
	_, rival := s.join("rival@example.org")
	ours, theirs := s.concert(owner, 10, 0), s.concert(rival, 10, 0)
	keys := map[string]string{}
	at := "/v1/organizers/" + ours.OrganizerID.String() + "/api-keys"
	for _, scope := range api.Scopes() {
		keys[scope] = call[api.APIKeySecret](s, 201, "POST", at, owner, map[string]any{"name": scope, "scopes": []string{scope}}).Secret
	}
	for _, d := range api.All() {
		if d.Access == rpc.Internal || d.Access == rpc.Public {
			continue
		}
		path := mangled(d.Path, ids.New[ids.EventKind](time.Now()).String())
		for scope, key := range keys {
			got, err := s.send(d.Method, path, key, nil)
			if err != nil {
				t.Fatal(err)
			}
			if slices.Contains(d.Scopes, scope) {
				if got.status == http.StatusUnauthorized || got.status == http.StatusForbidden {
					t.Errorf("%s %s with a key for %s: %d %s", d.Method, d.Path, scope, got.status, got.body)
				}
			} else if got.status != http.StatusForbidden {
				t.Errorf("%s %s with a key for %s: %d %s, want 403", d.Method, d.Path, scope, got.status, got.body)
			}
		}
	}
	sale := func(e api.Event) api.NewSale {
		return api.NewSale{EventID: e.ID, Items: seats(e, 1).Items, Payment: api.BoxOfficePayment{Method: api.PaidNot}}
	}
	sold := call[api.Sale](s, 201, "POST", "/v1/box-office/sales", keys[api.ScopeSell], sale(ours))
	s.refused("forbidden", "POST", "/v1/box-office/sales", keys[api.ScopeSell], sale(theirs))
	doors := "/admissions"
	in := call[api.AdmissionResult](s, 200, "POST", "/v1/events/"+ours.ID.String()+doors, keys[api.ScopeDoor], api.Admission{Code: sold.Tickets[0].Code})
	if in.Result != api.Admitted {
		t.Errorf("admitted by a key: %+v", in)
	}
	scans := call[api.List[api.Scan]](s, 200, "GET", "/v1/events/"+ours.ID.String()+doors, owner, nil).Items
	if len(scans) != 1 || !strings.HasPrefix(scans[0].By, "key_") {
		t.Errorf("scans are %+v", scans)
	}
	order := call[api.Order](s, 200, "GET", "/v1/orders/"+sold.OrderID.String(), keys[api.ScopeRead], nil)
	if order.UserID != api.BoxOfficeBuyer {
		t.Errorf("the order of a key belongs to %s", order.UserID)
	}
	foreign := call[api.Order](s, 201, "POST", "/v1/orders", owner, seats(theirs, 1))
	s.refused("not_found", "GET", "/v1/orders/"+foreign.ID.String(), keys[api.ScopeRead], nil)
	s.refused("not_found", "GET", "/v1/orders/"+sold.OrderID.String(), call[api.APIKeySecret](s, 201, "POST",
		"/v1/organizers/"+theirs.OrganizerID.String()+"/api-keys", rival, map[string]any{"name": "x", "scopes": []string{"read"}}).Secret, nil)
	for _, path := range []string{"/attendees", "/orders", "/analytics"} {
		s.refused("forbidden", "GET", "/v1/events/"+theirs.ID.String()+path, keys[api.ScopeRead], nil)
	}

	list := call[api.List[api.APIKey]](s, 200, "GET", at, owner, nil).Items
	if len(list) != len(keys) || strings.Contains(fmt.Sprint(list), keys[api.ScopeRead]) {
		t.Errorf("keys are %+v", list)
	}
	// Of money that a person would have to prove themselves for, a key gives nothing back.
	costly := s.concert(owner, 5, 30000)
	paid := call[api.Order](s, 201, "POST", "/v1/orders", owner, seats(costly, 1))
	s.pay(owner, paid)
	payment := call[api.Order](s, 200, "GET", "/v1/orders/"+paid.ID.String(), keys[api.ScopeRefund], nil).PaymentID
	refunds := "/v1/payments/" + payment.String() + "/refunds"
	if p := s.refused("forbidden", "POST", refunds, keys[api.ScopeRefund], api.NewRefund{}); len(p.Errors) != 1 || p.Errors[0].Field != "amount" {
		t.Errorf("a large refund by a key: %+v", p)
	}
	call[api.Refund](s, 201, "POST", refunds, keys[api.ScopeRefund], api.NewRefund{Amount: &api.Money{Amount: 100, Currency: "EUR"}})
	// What a key sells is said to be by it, and names no person.
	for _, l := range s.lines(admin, 1, url.Values{"act": {"ticketing.create_sale"}, "object": {sold.OrderID.String()}}) {
		if api.KeyPrefix+strings.TrimPrefix(l.By.KeyID.String(), "key_") != keys[api.ScopeSell][:len(api.KeyPrefix)+26] || l.By.UserID != "" ||
			l.By.Service != "" || l.By.Address == "" {
			t.Errorf("the sale was made by %+v", l.By)
		}
		if of := s.lines(admin, 1, url.Values{"user": {l.By.KeyID.String()}}); len(of) != 1 || of[0].ID != l.ID {
			t.Errorf("the key did %+v", of)
		}
	}
	for _, bad := range []string{"starlight_", "starlight_x", api.KeyPrefix + strings.Repeat("0", 26) + "_" + strings.Repeat("0", 64)} {
		s.refused("unauthenticated", "GET", "/v1/events", bad, nil)
	}
}

// A key that is deleted, or whose secret is another one, is refused by every gateway within a second, and by one that
// has not heard of it before.
func TestKeysEndEverywhere(t *testing.T) {
	p := startPair(t)
	p.set(p.admin, api.RatePerKey.Key(), "0")
	_, owner := p.join("owner@example.org")
	at := "/v1/organizers/" + p.concert(owner, 10, 0).OrganizerID.String() + "/api-keys"
	end := func(what string, do func(path string) (still string)) {
		t.Helper()
		k := call[api.APIKeySecret](p.site, 201, "POST", at, owner, map[string]any{"name": what, "scopes": []string{api.ScopeRead, api.ScopeSell}})
		for _, s := range p.sites {
			call[any](s, 200, "GET", "/v1/events", k.Secret, nil)
		}
		still := do(at + "/" + k.ID.String())
		refused := func(sites ...*site) error {
			for i, s := range sites {
				for _, call := range [][2]string{{"GET", "/v1/events"}, {"POST", "/v1/box-office/sales"}} {
					if got, err := s.send(call[0], call[1], k.Secret, nil); err != nil || got.status != http.StatusUnauthorized {
						return fmt.Errorf("%s, gateway %d: %s %s: %d %s %v", what, i, call[0], call[1], got.status, got.body, err)
					}
				}
				if still != "" {
					call[any](s, 200, "GET", "/v1/events", still, nil)
				}
			}
			return nil
		}
		testkit.Eventually(t, knownWithin, func() error { return refused(p.sites...) })
		if err := refused(p.gateway()); err != nil {
			t.Error(err)
		}
	}
	end("deleted", func(path string) string {
		call[any](p.sites[1], 204, "DELETE", path, owner, nil)
		return ""
	})
	end("rotated", func(path string) string {
		return call[api.APIKeySecret](p.sites[1], 200, "POST", path+"/rotate", owner, map[string]int{"grace": 0}).Secret
	})
}
