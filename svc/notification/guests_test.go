package notification_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// orders publishes an order that a guest has made, of tickets that cost so much; what costs nothing is paid at once.
func (h *harness) orders(email string, e api.Event, price int64) api.Order {
	h.t.Helper()
	now := h.clock.Now()
	o := api.Order{ID: ids.New[ids.OrderKind](now), EventID: e.ID, Status: api.OrderPending, UpdatedAt: now, Total: api.Money{Amount: price, Currency: "EUR"},
		Items: []api.OrderItem{{TicketTypeID: aType, Name: "Seat", Quantity: 1, UnitPrice: api.Money{Amount: price, Currency: "EUR"}}}}
	o.UserID = api.GuestOf(o.ID)
	h.mu.Lock()
	h.guests[o.UserID] = api.Contact{ID: o.UserID, Email: email, Name: "Win.Money", Language: "en", Guest: true}
	h.mu.Unlock()
	h.publish(api.GuestHasOrdered.Subject, "ordered-"+o.ID.String(), api.GuestEvent{UserID: o.UserID, OrderID: o.ID, EventID: e.ID, Free: price == 0, At: now})
	if price == 0 {
		h.isPaid(o)
	}
	return o
}

func (h *harness) isPaid(o api.Order) {
	h.t.Helper()
	now := h.clock.Now()
	id := ids.New[ids.TicketKind](now)
	o.Status, o.PaidAt = api.OrderPaid, &now
	h.mu.Lock()
	h.held[o.UserID] = append(h.held[o.UserID], api.Ticket{ID: id, Code: "ST1." + id.String(), EventID: o.EventID, OrderID: o.ID, OwnerID: o.UserID, TicketTypeID: aType})
	h.mu.Unlock()
	h.publish(api.OrderWasPaid.Subject, "paid-"+o.ID.String(), api.OrderEvent{Order: o, Tickets: []ids.Ticket{id}})
}

// The buyer of an order without an account gets the link, and the tickets that were paid for. Tickets that cost nothing
// follow once the link was used: else they would be a way to write to strangers. The link is in mails alone.
func TestGuestsAreMailed(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		e := h.concert(h.join("eve"))
		paid := h.orders("paid@example.com", e, 4200)
		link := h.mails("guest_order", 1)[0]
		want := "https://tickets.example/orders/" + paid.ID.String() + "?token=" + api.OrderTokenPrefix + "SECRET" + paid.UserID.String()
		if text := link.text(); !strings.Contains(text, want) || strings.Contains(text, "Win.Money") || !strings.Contains(link.header.Get("To"), "paid@example.com") {
			t.Errorf("the link is in %s", text)
		}
		h.isPaid(paid)
		if text := h.mails("order_paid", 1)[0].text(); !strings.Contains(text, want) {
			t.Errorf("tickets are in %s", text)
		}
		free := h.orders("free@example.com", e, 0)
		h.mails("guest_order", 2)
		h.settled()
		if files, err := h.readMails("order_paid"); err != nil || len(files) != 1 {
			t.Fatalf("%d mails with tickets before the link was used, %v", len(files), err)
		}
		h.mu.Lock()
		c := h.guests[free.UserID]
		c.EmailVerified = true
		h.guests[free.UserID] = c
		h.mu.Unlock()
		h.publish(api.GuestConfirmed.Subject, "confirmed", api.GuestEvent{UserID: free.UserID, OrderID: free.ID, EventID: e.ID})
		h.mails("order_paid", 2)
		for _, table := range []string{"messages", "outbox", "deliveries", "claims"} {
			var rows []map[string]any
			if err := h.db.Read().NewRaw("SELECT * FROM "+table).Scan(t.Context(), &rows); err != nil {
				t.Fatal(err)
			}
			if strings.Contains(fmt.Sprint(rows), "SECRET") {
				t.Errorf("%s has a token", table)
			}
		}
		if strings.Contains(h.log.String(), "SECRET") || strings.Contains(h.log.String(), "paid@example.com") {
			t.Error("the log has a token or an address")
		}
	})
}

// However many free orders have the address of a stranger, it gets so many mails in a day.
func TestGuestsAreNoCannon(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		e := h.concert(h.join("eve"))
		for range 12 {
			h.orders("Victim@example.com", e, 0)
		}
		h.settled()
		h.mails("guest_order", 5)
		h.clock.Advance(24 * time.Hour)
		h.orders("victim@example.com", e, 0)
		h.mails("guest_order", 6)
	})
}

// What was a guest's is the account's, or is forgotten.
func TestGuestsAreClaimedAndForgotten(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		eve := h.join("eve")
		e := h.concert(eve)
		o, other := h.orders("eve@example.org", e, 4200), h.orders("gone@example.com", e, 4200)
		h.isPaid(o)
		h.isPaid(other)
		h.mails("order_paid", 2)
		h.publish(api.OrderWasClaimed.Subject, "claimed", api.GuestEvent{UserID: o.UserID, OrderID: o.ID, EventID: e.ID, To: eve.ID})
		h.publish(api.GuestForgotten.Subject, "forgotten", api.GuestEvent{UserID: other.UserID, OrderID: other.ID, EventID: e.ID})
		testkit.Eventually(t, 10*time.Second, func() error {
			var left, mine int
			err := h.db.Read().NewRaw(`SELECT (SELECT COUNT(*) FROM messages WHERE user_id IN (?, ?)) + (SELECT COUNT(*) FROM holders WHERE user_id IN (?, ?)),
				(SELECT COUNT(*) FROM holders WHERE user_id = ?)`, o.UserID, other.UserID, o.UserID, other.UserID, eve.ID).Scan(t.Context(), &left, &mine)
			if err == nil && (left != 0 || mine != 1) {
				err = fmt.Errorf("%d rows of guests are left, and Eve holds %d tickets", left, mine)
			}
			return err
		})
	})
}

// Who asks for the tickets once more gets them once more, as often as asked and not more; what is given back meanwhile is
// not mailed.
func TestTicketsAreMailedOnceMore(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		ada, e := h.join("ada"), h.concert(h.join("eve"))
		o, tickets := h.buys(ada, e, 2)
		h.mails("order_paid", 1)
		again := func(key string) {
			h.publish(api.TicketsWereRequested.Subject, key, api.OrderEvent{Order: o})
		}
		again("first")
		again("first")
		again("second")
		for _, m := range h.mails("order_paid", 3) {
			for _, id := range tickets {
				if !strings.Contains(fmt.Sprint(slices.Collect(maps.Keys(m.parts))), id.String()) {
					t.Errorf("a mail is without the ticket %s", id)
				}
			}
		}
		h.settled()
		h.mails("order_paid", 3)
		h.mu.Lock()
		delete(h.held, ada.ID)
		h.mu.Unlock()
		again("third")
		h.settled()
		if files, err := h.readMails("order_paid"); err != nil || len(files) != 3 {
			t.Errorf("%d mails of tickets that are given back at last, %v", len(files), err)
		}
	})
}
