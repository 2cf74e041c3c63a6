package ticketing

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// guestOrder asks for n tickets without an account.
func guestOrder(o *api.Offer, n int, email string) api.NewOrder {
	req := order(o, n)
	req.Email, req.Name = email, "Robin Guest"
	return req
}

// from returns a context of a stranger with a network address.
func (h *harness) from(address string) context.Context {
	return rpc.WithMeta(h.t.Context(), rpc.Meta{Address: address})
}

// guest returns a context in which the buyer whom a token stands for is the caller.
func (h *harness) guest(token string) context.Context {
	h.t.Helper()
	return h.as(must(h.t.Context(), h, api.CheckOrderToken, api.CheckToken{Token: token}).UserID, rpc.RoleGuest)
}

func (h *harness) isBad(token string) error {
	if got, err := do(h.t.Context(), h, api.CheckOrderToken, api.CheckToken{Token: token}); !fault.Is(err, fault.Unauthenticated) {
		return fmt.Errorf("a token that is not good stands for %+v, %v", got, err)
	}
	return nil
}

// publishes waits until so many messages have the subject.
func (h *harness) publishes(subject string, n int) {
	h.t.Helper()
	testkit.Eventually(h.t, 10*time.Second, func() error {
		if got := len(h.published(subject)); got != n {
			return fmt.Errorf("%d messages are %s, want %d", got, subject, n)
		}
		return nil
	})
}

// An order without an account is its buyer's by the token alone: read, paid, with tickets that can be named and given.
func TestGuestOrder(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		event := h.publish(10, 2500)
		made := must(h.from("192.0.2.7"), h, api.CreateOrder, guestOrder(event, 2, "Robin@Example.org"))
		if made.Status != api.OrderPending || made.UserID != api.GuestOf(made.ID) || made.Buyer == nil || made.Buyer.Email != "Robin@Example.org" {
			t.Fatalf("made is %+v", made)
		}
		if !strings.HasPrefix(made.AccessToken, api.OrderTokenPrefix) || len(made.AccessToken) != 29 {
			t.Fatalf("the token is %q", made.AccessToken)
		}
		me := h.guest(made.AccessToken)
		if got := must(me, h, api.GetOrder, api.OrderRef{ID: made.ID}); got.Buyer == nil || got.Buyer.Name != "Robin Guest" {
			t.Errorf("the buyer is %+v", got.Buyer)
		}
		h.pay(made.UserID, &made.Order)
		h.becomes(made.UserID, made.ID, api.OrderPaid)
		tickets := must(me, h, api.ListOrderTickets, api.OrderRef{ID: made.ID}).Items
		if len(tickets) != 2 {
			t.Fatalf("tickets are %+v", tickets)
		}
		named := must(me, h, api.UpdateTicket, api.NewHolder{ID: tickets[0].ID, Holder: api.Attendee{Name: "Sam"}})
		if named.Holder.Name != "Sam" {
			t.Errorf("named is %+v", named)
		}
		friend := api.Contact{ID: person(), Email: "friend@example.org", EmailVerified: true, Name: "Friend"}
		h.mu.Lock()
		h.people[friend.Email] = friend
		h.mu.Unlock()
		if got := must(me, h, api.TransferTicket, api.Transfer{ID: tickets[1].ID, Email: friend.Email}); got.OwnerID != friend.ID {
			t.Errorf("given is %+v", got)
		}
		// Who writes to strangers has confirmed the own address.
		if _, err := do(me, h, api.TransferTicket, api.Transfer{ID: tickets[0].ID, Email: "stranger@example.org"}); !fault.Is(err, fault.Conflict) {
			t.Errorf("an unconfirmed guest offers a ticket: %v", err)
		}
		// The organizer sees who comes.
		list := must(h.as(ownerOf(event)), h, api.ListAttendees, api.AttendeePage{EventPage: api.EventPage{EventID: event.Event.ID}})
		if len(list.Items) != 2 || !strings.Contains(fmt.Sprint(list.Items), "Robin@Example.org") {
			t.Errorf("attendees are %+v", list.Items)
		}
		orders := must(h.as(ownerOf(event)), h, api.ListEventOrders, api.OrderSearch{EventPage: api.EventPage{EventID: event.Event.ID}})
		if len(orders.Items) != 1 || orders.Items[0].Buyer == nil || orders.Items[0].Buyer.Email != "Robin@Example.org" {
			t.Errorf("orders are %+v", orders.Items)
		}
		h.audit()
	})
}

// A token is good for its order alone, and where that is declared.
func TestGuestTokenOpensOneOrder(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		event := h.publish(10, 0)
		mine := must(h.from("192.0.2.7"), h, api.CreateOrder, guestOrder(event, 1, "a@example.org"))
		others := must(h.from("192.0.2.7"), h, api.CreateOrder, guestOrder(event, 1, "a@example.org"))
		account := must(h.as(person()), h, api.CreateOrder, order(event, 1))
		me := h.guest(mine.AccessToken)
		ticket := must(h.guest(others.AccessToken), h, api.ListOrderTickets, api.OrderRef{ID: others.ID}).Items[0].ID
		for _, id := range []ids.Order{others.ID, account.ID} {
			ref := api.OrderRef{ID: id}
			_, read := do(me, h, api.GetOrder, ref)
			_, tickets := do(me, h, api.ListOrderTickets, ref)
			_, cancelled := do(me, h, api.CancelOrder, ref)
			_, renewed := do(me, h, api.RenewOrderAccess, ref)
			_, ended := do(me, h, api.EndOrderAccess, ref)
			_, exported := do(me, h, api.ExportOrder, ref)
			_, forgotten := do(me, h, api.ForgetOrder, ref)
			_, updated := do(me, h, api.UpdateOrder, api.OrderChange{ID: id, Email: new(string)})
			for i, err := range []error{read, tickets, cancelled, renewed, ended, exported, forgotten} {
				if !fault.Is(err, fault.NotFound) {
					t.Errorf("call %d of another order: %v", i, err)
				}
			}
			if updated == nil {
				t.Error("another order is updated")
			}
		}
		if _, err := do(me, h, api.GetTicket, api.TicketRef{ID: ticket}); !fault.Is(err, fault.NotFound) {
			t.Errorf("another's ticket: %v", err)
		}
		_, orders := do(me, h, api.ListMyOrders, api.Page{})
		_, made := do(me, h, api.CreateOrder, order(event, 1))
		_, claimed := do(me, h, api.ClaimOrders, rpc.None{})
		for i, err := range []error{orders, made, claimed} {
			if !fault.Is(err, fault.Forbidden) {
				t.Errorf("call %d is not for guests: %v", i, err)
			}
		}
		for _, token := range []string{"", "go_", mine.AccessToken + "A", mine.AccessToken[:28], "go_" + strings.Repeat("A", 26), strings.ToLower(mine.AccessToken)} {
			if err := h.isBad(token); err != nil {
				t.Errorf("%q: %v", token, err)
			}
		}
	})
}

// Tokens are renewed and ended, all at once. They are in no table and no message in clear.
func TestGuestTokens(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		event := h.publish(10, 0)
		made := must(h.from("192.0.2.7"), h, api.CreateOrder, guestOrder(event, 1, "a@example.org"))
		ref := api.OrderRef{ID: made.ID}
		mailed := must(t.Context(), h, api.MintOrderLink, api.MintLink{UserID: made.UserID})
		if mailed.Contact.EmailVerified {
			t.Error("the address is confirmed before the link was used")
		}
		h.guest(mailed.Token)
		if got := must(h.guest(made.AccessToken), h, api.ExportOrder, ref); !got.EmailVerified {
			t.Error("who has used the mailed link does not read the mail")
		}
		h.publishes(api.GuestConfirmed.Subject, 1)
		renewed := must(h.guest(made.AccessToken), h, api.RenewOrderAccess, ref).AccessToken
		for _, token := range []string{made.AccessToken, mailed.Token} {
			if err := h.isBad(token); err != nil {
				t.Error(err)
			}
		}
		me := h.guest(renewed)
		for range mostTokensOfTest {
			must(t.Context(), h, api.MintOrderLink, api.MintLink{UserID: made.UserID})
			h.clock.Advance(time.Second)
		}
		var kept int
		if err := h.db.Read().NewRaw("SELECT COUNT(*) FROM order_tokens WHERE order_id = ?", made.ID).Scan(t.Context(), &kept); err != nil || kept != 20 {
			t.Errorf("%d tokens are kept, %v", kept, err)
		}
		must(me, h, api.EndOrderAccess, ref)
		if err := h.isBad(renewed); err != nil {
			t.Error(err)
		}
		for _, table := range []string{"answers", "outbox", "order_tokens", "guests", "orders"} {
			var rows []map[string]any
			if err := h.db.Read().NewRaw("SELECT * FROM "+table).Scan(t.Context(), &rows); err != nil {
				t.Fatal(err)
			}
			text := fmt.Sprint(rows)
			for _, token := range []string{made.AccessToken, mailed.Token, renewed} {
				if strings.Contains(text, token) {
					t.Errorf("%s has a token", table)
				}
			}
		}
	})
}

const mostTokensOfTest = 25

// stranger sends an order without an account, with an idempotency key.
func (h *harness) stranger(key string, o api.NewOrder) (*api.CreatedOrder, error) {
	body, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	reply, err := h.caller(api.CreateOrder.Spec).Forward(h.from("192.0.2.9"), api.CreateOrder.Spec,
		map[string][]string{rpc.HeaderHTTP + rpc.IdempotencyKey: {key}}, body)
	if err != nil {
		return nil, err
	}
	if err := rpc.Fault(reply); err != nil {
		return nil, err
	}
	var made api.CreatedOrder
	return &made, json.Unmarshal(reply.Data, &made)
}

// A guest's request that comes again, at two instances at once, is one order with one token. Another guest with the same
// key has another order; a key that can be guessed is refused.
func TestGuestIdempotency(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		h.start()
		event := h.publish(50, 2500)
		const key = "4b6a0c5e-7d4f-4a55"
		req := guestOrder(event, 2, "a@example.org")
		first, err := h.stranger(key, req)
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			again, err := h.stranger(key, req)
			if err != nil || again.ID != first.ID || again.AccessToken != first.AccessToken || again.Buyer == nil {
				t.Errorf("again is %+v, %v", again, err)
			}
		}
		h.guest(first.AccessToken)
		other := guestOrder(event, 2, "b@example.org")
		if got, err := h.stranger(key, other); err != nil || got.ID == first.ID || got.AccessToken == first.AccessToken {
			t.Errorf("another guest with the key has %+v, %v", got, err)
		}
		req.Items[0].Quantity = 3
		if got, err := h.stranger(key, req); !fault.Is(err, fault.Unprocessable) {
			t.Errorf("another request with the key: %+v, %v", got, err)
		}
		if got, err := h.stranger("1", req); !fault.Is(err, fault.Invalid) {
			t.Errorf("a key of one character: %+v, %v", got, err)
		}
		var wg sync.WaitGroup
		var mu sync.Mutex
		orders, tokens := map[ids.Order]bool{}, map[string]bool{}
		for range 20 {
			wg.Go(func() {
				for {
					got, err := h.stranger("all-at-once-0123456789", guestOrder(event, 1, "c@example.org"))
					if fault.Is(err, fault.Conflict) {
						continue // it is under way
					}
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					defer mu.Unlock()
					orders[got.ID], tokens[got.AccessToken] = true, true
					return
				}
			})
		}
		wg.Wait()
		if len(orders) != 1 || len(tokens) != 1 {
			t.Errorf("%d orders with %d tokens", len(orders), len(tokens))
		}
		h.audit()
	})
}

// What guests hold is bound by address and by network, exactly, whatever comes at once.
func TestGuestLimits(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.live = fixed(api.HoldTTL.Is(time.Minute), api.MaxOpenOrders.Is(3), api.MaxUnpaidSeats.Is(5), api.MaxGuestOrders.Is(6), api.MaxGuestsPerAddress.Is(8))
		h.start()
		h.start()
		event, free := h.publish(1000, 2500), h.publish(1000, 0)
		made := func(o *api.Offer, n, times int, email func(int) string, address string) (ok int) {
			var wg sync.WaitGroup
			var mu sync.Mutex
			for i := range times {
				wg.Go(func() {
					_, err := do(h.from(address), h, api.CreateOrder, guestOrder(o, n, email(i)))
					if err != nil && !fault.Is(err, fault.RateLimited) {
						t.Error(err)
					}
					mu.Lock()
					defer mu.Unlock()
					if err == nil {
						ok++
					}
				})
			}
			wg.Wait()
			return ok
		}
		one := func(email string) func(int) string { return func(int) string { return email } }
		if n := made(event, 1, 12, one("A@example.org"), "192.0.2.1"); n != 3 {
			t.Errorf("an address has %d unpaid orders", n)
		}
		if n := made(event, 2, 12, one("b@example.org"), "192.0.2.2"); n != 2 {
			t.Errorf("an address has %d unpaid orders of two tickets", n)
		}
		if n := made(free, 1, 20, one("c@example.org"), "192.0.2.3"); n != 6 {
			t.Errorf("an address has %d free orders in a day", n)
		}
		many := func(i int) string { return fmt.Sprintf("many%d@example.org", i) }
		if n := made(event, 1, 20, many, "2001:db8::1"); n != 8 {
			t.Errorf("a network has %d unpaid orders", n)
		}
		if _, err := do(h.from("2001:db8::2"), h, api.CreateOrder, guestOrder(event, 1, "late@example.org")); !fault.Is(err, fault.RateLimited) {
			t.Errorf("another address of the network: %v", err)
		}
		if _, err := do(h.from("2001:db8:0:1::2"), h, api.CreateOrder, guestOrder(event, 1, "late@example.org")); err != nil {
			t.Errorf("another network: %v", err)
		}
		h.audit()
	})
}

// An account with the confirmed address takes over the orders that were made with it, each once, with their tickets: by
// itself when it is confirmed, and when it asks. One that has not confirmed the address gets nothing.
func TestGuestOrdersAreClaimed(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		h.start()
		event := h.publish(50, 0)
		var made []*api.CreatedOrder
		for range 4 {
			made = append(made, must(h.from("192.0.2.7"), h, api.CreateOrder, guestOrder(event, 2, "Anna@example.org")))
		}
		anna := api.Contact{ID: person(), Email: "anna@example.org"}
		h.mu.Lock()
		h.people[anna.Email] = anna
		h.mu.Unlock()
		if got, err := do(h.as(anna.ID), h, api.ClaimOrders, rpc.None{}); !fault.Is(err, fault.Conflict) {
			t.Errorf("an unconfirmed account has %+v, %v", got, err)
		}
		h.announce(api.UserUpdated.Subject, api.UserEvent{UserID: anna.ID})
		anna.EmailVerified = true
		h.mu.Lock()
		h.people[anna.Email] = anna
		h.mu.Unlock()
		var wg sync.WaitGroup
		var mu sync.Mutex
		total := 0
		for range 8 {
			wg.Go(func() {
				got, err := do(h.as(anna.ID), h, api.ClaimOrders, rpc.None{})
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				total += got.Claimed
			})
		}
		wg.Wait()
		h.publishes(api.OrderWasClaimed.Subject, 4)
		if total > 4 {
			t.Errorf("%d orders are claimed", total)
		}
		if list := must(h.as(anna.ID), h, api.ListMyTickets, api.Page{}); len(list.Items) != 8 {
			t.Errorf("Anna has %d tickets", len(list.Items))
		}
		for _, o := range made {
			if got := must(h.as(anna.ID), h, api.GetOrder, api.OrderRef{ID: o.ID}); got.UserID != anna.ID || got.Revision != o.Revision+1 {
				t.Errorf("claimed is %+v", got)
			}
			if err := h.isBad(o.AccessToken); err != nil {
				t.Error(err)
			}
		}
		// One that is registered later, by its confirmation alone. A payment that was begun a moment ago is waited for.
		paid := h.publish(50, 2500)
		late := must(h.from("192.0.2.7"), h, api.CreateOrder, guestOrder(paid, 1, "bob@example.org"))
		must(h.as(late.UserID), h, api.BeginPayment, api.BeginPaymentOf{OrderID: late.ID, PaymentID: ids.New[ids.PaymentKind](h.clock.Now())})
		bob := api.Contact{ID: person(), Email: "bob@example.org", EmailVerified: true}
		h.mu.Lock()
		h.people[bob.Email] = bob
		h.mu.Unlock()
		if got := must(h.as(bob.ID), h, api.ClaimOrders, rpc.None{}); got.Claimed != 0 || !got.More {
			t.Errorf("an order whose payment begins is claimed: %+v", got)
		}
		h.clock.Advance(31 * time.Second)
		h.announce(api.UserUpdated.Subject, api.UserEvent{UserID: bob.ID})
		testkit.Eventually(t, 10*time.Second, func() error {
			_, err := do(h.as(bob.ID), h, api.GetOrder, api.OrderRef{ID: late.ID})
			return err
		})
		h.audit()
	})
}

// A guest moves to another address: links that were mailed before end. What is forgotten is nowhere, and the tickets
// stay valid.
func TestGuestChangesAndIsForgotten(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		event := h.publish(50, 0)
		made := must(h.from("192.0.2.7"), h, api.CreateOrder, guestOrder(event, 1, "old@example.org"))
		link := must(t.Context(), h, api.MintOrderLink, api.MintLink{UserID: made.UserID})
		me, ref := h.guest(link.Token), api.OrderRef{ID: made.ID}
		to := func(email string) *string { return &email }
		must(me, h, api.UpdateOrder, api.OrderChange{ID: made.ID, Name: to("Kim"), Language: to("de")})
		if got := must(me, h, api.UpdateOrder, api.OrderChange{ID: made.ID, Email: to("new1@example.org")}); got.Buyer.Email != "new1@example.org" || got.Buyer.Name != "Kim" {
			t.Errorf("updated is %+v", got.Buyer)
		}
		if err := h.isBad(link.Token); err != nil {
			t.Error(err)
		}
		me = h.guest(made.AccessToken)
		if got := must(me, h, api.ExportOrder, ref); got.EmailVerified || got.Language != "de" || len(got.Tickets) != 1 {
			t.Errorf("export is %+v", got)
		}
		h.publishes(api.GuestWantsLink.Subject, 1)
		for _, email := range []string{"new2@example.org", "new3@example.org"} {
			must(me, h, api.UpdateOrder, api.OrderChange{ID: made.ID, Email: to(email)})
		}
		if _, err := do(me, h, api.UpdateOrder, api.OrderChange{ID: made.ID, Email: to("new4@example.org")}); !fault.Is(err, fault.Conflict) {
			t.Errorf("a fourth address: %v", err)
		}
		// Links come by mail to who asks with the address, whether or not there are any.
		must(t.Context(), h, api.RequestOrderLinks, api.LinksOf{Email: "nobody@example.org"})
		must(t.Context(), h, api.RequestOrderLinks, api.LinksOf{Email: "NEW3@example.org"})
		h.publishes(api.GuestWantsLink.Subject, 4)
		must(me, h, api.ForgetOrder, ref)
		if err := h.isBad(made.AccessToken); err != nil {
			t.Error(err)
		}
		var left int
		err := h.db.Read().NewRaw(`SELECT COUNT(*) FROM guests WHERE email <> '' OR name <> '' OR client <> ''`).Scan(t.Context(), &left)
		if err != nil || left != 0 {
			t.Errorf("%d guests are not forgotten, %v", left, err)
		}
		tickets := must(h.as(ownerOf(event)), h, api.ListOrderTickets, ref).Items
		if len(tickets) != 1 || tickets[0].Status != api.TicketValid || tickets[0].Holder != (api.Attendee{}) {
			t.Errorf("tickets are %+v", tickets)
		}
	})
}
