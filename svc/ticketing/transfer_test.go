package ticketing

import (
	"errors"
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

// token makes the token of an offer, as its mail does.
func (h *harness) token(id ids.TicketOffer) string {
	h.t.Helper()
	return must(h.t.Context(), h, api.MintOfferToken, api.MintOffer{OfferID: id}).Token
}

// offered gives a person a ticket of an event and offers it to an address.
func (h *harness) offered(giver ids.User, event *api.Offer, email string) (api.Ticket, *api.TicketOffer) {
	h.t.Helper()
	o := must(h.as(giver), h, api.CreateOrder, order(event, 1))
	ticket := must(h.as(giver), h, api.ListOrderTickets, api.OrderRef{ID: o.ID}).Items[0]
	got := must(h.as(giver), h, api.TransferTicket, api.Transfer{ID: ticket.ID, Email: email})
	if got.Offer == nil || got.OwnerID != giver || got.Code == "" || got.Revision != ticket.Revision {
		h.t.Fatalf("the ticket is not offered: %+v", got)
	}
	return ticket, got.Offer
}

// A ticket goes to an account that has confirmed its address. To another, or none, it is offered: it stays the giver's,
// and valid, until who reads the mail accepts it.
func TestOffersOfTickets(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		event, alice, mallory, boss := h.publish(20, 0), person(), person(), person()
		h.people["boss@corp.example"] = api.Contact{ID: mallory, Email: "boss@corp.example", Name: "Mallory"}
		ticket, offer := h.offered(alice, event, "Boss@corp.example")
		if again := must(h.as(alice), h, api.TransferTicket, api.Transfer{ID: ticket.ID, Email: "boss@corp.example"}); again.Offer.ID != offer.ID {
			t.Error("the same again is another offer")
		}
		if n := len(h.published(api.TicketOffered.Subject)); n > 1 {
			t.Errorf("%d offers were told", n)
		}
		if _, err := do(h.as(alice), h, api.TransferTicket, api.Transfer{ID: ticket.ID, Email: "other@corp.example"}); !fault.Is(err, fault.Conflict) {
			t.Errorf("it is offered twice: %v", err)
		}
		// Whoever has said to have the address has no ticket, no offer, and no way to it.
		if list := must(h.as(mallory), h, api.ListTicketOffers, rpc.None{}); len(list.Items) != 0 {
			t.Errorf("Mallory sees %+v", list.Items)
		}
		for _, req := range []api.AcceptOffer{{OfferID: offer.ID}, {}, {Token: "to_" + strings.Repeat("A", 26)}, {Token: "x", OfferID: offer.ID}} {
			if got, err := do(h.as(mallory), h, api.AcceptTicketOffer, req); err == nil {
				t.Errorf("Mallory has a ticket by %+v: %+v", req, got)
			}
		}
		if list := must(h.as(mallory), h, api.ListMyTickets, api.Page{}); len(list.Items) != 0 {
			t.Error("Mallory has the ticket")
		}
		// The token of the mail, for any account, once.
		first, token := h.token(offer.ID), h.token(offer.ID)
		if _, err := do(h.as(boss), h, api.AcceptTicketOffer, api.AcceptOffer{Token: first}); !fault.Is(err, fault.Expired) {
			t.Errorf("a token is good that another one took the place of: %v", err)
		}
		if _, err := do(h.as(alice), h, api.AcceptTicketOffer, api.AcceptOffer{Token: token}); !fault.Is(err, fault.Conflict) {
			t.Errorf("Alice accepts her own: %v", err)
		}
		got := must(h.as(boss), h, api.AcceptTicketOffer, api.AcceptOffer{Token: token})
		if got.OwnerID != boss || got.Code == ticket.Code || got.Revision != 2 {
			t.Errorf("accepted is %+v", got)
		}
		must(h.as(boss), h, api.AcceptTicketOffer, api.AcceptOffer{Token: token}) // no answer came
		if _, err := do(h.as(mallory), h, api.AcceptTicketOffer, api.AcceptOffer{Token: token}); !fault.Is(err, fault.Expired) {
			t.Errorf("the token is good twice: %v", err)
		}
		if _, err := do(h.as(alice), h, api.WithdrawTransfer, api.TicketRef{ID: ticket.ID}); !fault.Is(err, fault.NotFound) {
			t.Errorf("Alice takes back what is not hers: %v", err)
		}
		// Who proves the address later has the offers without their mails.
		other, waiting := h.offered(alice, event, "boss@corp.example")
		h.people["boss@corp.example"] = api.Contact{ID: boss, Email: "boss@corp.example", Name: "Boss", EmailVerified: true}
		if list := must(h.as(boss), h, api.ListTicketOffers, rpc.None{}); len(list.Items) != 1 || list.Items[0].ID != waiting.ID {
			t.Errorf("offers %+v", list.Items)
		}
		if got := must(h.as(boss), h, api.AcceptTicketOffer, api.AcceptOffer{OfferID: waiting.ID}); got.OwnerID != boss || got.ID != other.ID {
			t.Errorf("accepted is %+v", got)
		}
		// Refused, taken back, over.
		refused, offer := h.offered(alice, event, "no@corp.example")
		token = h.token(offer.ID)
		must(h.t.Context(), h, api.RefuseTicketOffer, api.RefuseOffer{Token: token})
		must(h.t.Context(), h, api.RefuseTicketOffer, api.RefuseOffer{Token: token})
		if _, err := do(h.as(boss), h, api.AcceptTicketOffer, api.AcceptOffer{Token: token}); !fault.Is(err, fault.Expired) {
			t.Errorf("a refused ticket is accepted: %v", err)
		}
		if now := must(h.as(alice), h, api.GetTicket, api.TicketRef{ID: refused.ID}); now.Offer != nil || now.Code != refused.Code {
			t.Errorf("the refused ticket is %+v", now)
		}
		back, offer := h.offered(alice, event, "back@corp.example")
		token = h.token(offer.ID)
		if now := must(h.as(alice), h, api.GetTicket, api.TicketRef{ID: back.ID}); now.Offer == nil || now.Offer.Email != "back@corp.example" {
			t.Errorf("the offered ticket is %+v", now)
		}
		must(h.as(alice), h, api.WithdrawTransfer, api.TicketRef{ID: back.ID})
		if _, err := do(h.as(alice), h, api.WithdrawTransfer, api.TicketRef{ID: back.ID}); !fault.Is(err, fault.Conflict) {
			t.Errorf("taken back twice: %v", err)
		}
		if _, err := do(h.as(boss), h, api.AcceptTicketOffer, api.AcceptOffer{Token: token}); !fault.Is(err, fault.Expired) {
			t.Errorf("a ticket that was taken back is accepted: %v", err)
		}
		old, offer := h.offered(alice, event, "old@corp.example")
		token = h.token(offer.ID)
		h.clock.Advance(7 * 24 * time.Hour)
		if _, err := do(h.as(boss), h, api.AcceptTicketOffer, api.AcceptOffer{Token: token}); !fault.Is(err, fault.Expired) {
			t.Errorf("an offer is good after a week: %v", err)
		}
		if now := must(h.as(alice), h, api.GetTicket, api.TicketRef{ID: old.ID}); now.Offer != nil {
			t.Error("an offer that is over is shown")
		}
		outcomes := map[string]int{}
		testkit.Eventually(t, 15*time.Second, func() error {
			if n := len(h.published(api.TicketOfferEnded.Subject)); n != 4 {
				return fmt.Errorf("%d ends of offers %v", n, outcomes)
			}
			return nil
		})
	})
}

// Offers are mailed to strangers: few, and by who has confirmed the own address.
func TestOffersAreLimited(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		event, alice, eve := h.publish(100, 0), person(), person()
		h.people["eve@example.org"] = api.Contact{ID: eve, Email: "eve@example.org"}
		o := must(h.as(eve), h, api.CreateOrder, order(event, 1))
		ticket := must(h.as(eve), h, api.ListOrderTickets, api.OrderRef{ID: o.ID}).Items[0]
		if _, err := do(h.as(eve), h, api.TransferTicket, api.Transfer{ID: ticket.ID, Email: "victim@example.org"}); !fault.Is(err, fault.Conflict) {
			t.Errorf("who has confirmed nothing writes to strangers: %v", err)
		}
		o = must(h.as(alice), h, api.CreateOrder, order(event, 20))
		tickets := must(h.as(alice), h, api.ListOrderTickets, api.OrderRef{ID: o.ID}).Items
		for i, ticket := range tickets[:4] {
			_, err := do(h.as(alice), h, api.TransferTicket, api.Transfer{ID: ticket.ID, Email: "victim@example.org"})
			if want := i == 3; fault.Is(err, fault.RateLimited) != want {
				t.Errorf("offer %d to one address: %v", i, err)
			}
		}
		for i, ticket := range tickets[4:] {
			must(h.as(alice), h, api.TransferTicket, api.Transfer{ID: ticket.ID, Email: fmt.Sprintf("v%d@example.org", i)})
		}
		must(h.as(alice), h, api.WithdrawTransfer, api.TicketRef{ID: tickets[4].ID})
		must(h.as(alice), h, api.TransferTicket, api.Transfer{ID: tickets[4].ID, Email: "w@example.org"})
		must(h.as(alice), h, api.WithdrawTransfer, api.TicketRef{ID: tickets[4].ID})
		if _, err := do(h.as(alice), h, api.TransferTicket, api.Transfer{ID: tickets[4].ID, Email: "x@example.org"}); !fault.Is(err, fault.RateLimited) {
			t.Errorf("the 21st offer of a day: %v", err)
		}
	})
}

// The bounds of offers hold for such that come at once, at two instances.
func TestBoundsOfOffersAreExact(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		h.start()
		event := h.publish(60, 0)
		made := func(n int, offer func(i int) error) (fine int) {
			var work sync.WaitGroup
			errs := make([]error, n)
			for i := range n {
				work.Go(func() { errs[i] = offer(i) })
			}
			work.Wait()
			for _, err := range errs {
				if err == nil {
					fine++
				} else if !fault.Is(err, fault.RateLimited) {
					t.Errorf("an offer: %v", err)
				}
			}
			return fine
		}
		ticketsOf := func(buyer ids.User, n int) []api.Ticket {
			o := must(h.as(buyer), h, api.CreateOrder, order(event, n))
			return must(h.as(buyer), h, api.ListOrderTickets, api.OrderRef{ID: o.ID}).Items
		}
		var tickets []api.Ticket
		for range 12 {
			tickets = append(tickets, ticketsOf(person(), 1)...)
		}
		if n := made(len(tickets), func(i int) error {
			_, err := do(h.as(tickets[i].OwnerID), h, api.TransferTicket, api.Transfer{ID: tickets[i].ID, Email: "victim@example.org"})
			return err
		}); n != offersToOne {
			t.Errorf("%d people offer tickets to one address", n)
		}
		giver := person()
		tickets = append(ticketsOf(giver, 20), ticketsOf(giver, 10)...)
		if n := made(len(tickets), func(i int) error {
			_, err := do(h.as(giver), h, api.TransferTicket, api.Transfer{ID: tickets[i].ID, Email: fmt.Sprintf("n%d@example.org", i)})
			return err
		}); n != offersByOne {
			t.Errorf("one person makes %d offers", n)
		}
	})
}

// At two instances an offer is accepted twice and refused, while the giver takes it back, gives the ticket to another and
// comes in with it: one of them has it.
func TestOneHasTheTicket(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		h.start()
		event := h.publish(40, 0)
		friend := person()
		h.people["friend@example.org"] = api.Contact{ID: friend, Email: "friend@example.org", Name: "Friend", EmailVerified: true}
		for round := range 6 {
			giver, one, two := person(), person(), person()
			ticket, offer := h.offered(giver, event, fmt.Sprintf("s%d@example.org", round))
			token := h.token(offer.ID)
			var work sync.WaitGroup
			var mu sync.Mutex
			won := map[string]bool{}
			try := func(name string, fn func() error) {
				work.Go(func() {
					err := fn()
					mu.Lock()
					defer mu.Unlock()
					switch {
					case err == nil:
						won[name] = true
					case !fault.Is(err, fault.Conflict) && !fault.Is(err, fault.Expired) && !fault.Is(err, fault.NotFound):
						t.Errorf("%s: %v", name, err)
					}
				})
			}
			accept := func(by ids.User) func() error {
				return func() error {
					_, err := do(h.as(by), h, api.AcceptTicketOffer, api.AcceptOffer{Token: token})
					return err
				}
			}
			try("one", accept(one))
			try("two", accept(two))
			try("refuse", func() error {
				_, err := do(h.t.Context(), h, api.RefuseTicketOffer, api.RefuseOffer{Token: token})
				return err
			})
			try("withdraw", func() error {
				_, err := do(h.as(giver), h, api.WithdrawTransfer, api.TicketRef{ID: ticket.ID})
				return err
			})
			try("transfer", func() error {
				_, err := do(h.as(giver), h, api.TransferTicket, api.Transfer{ID: ticket.ID, Email: "friend@example.org"})
				return err
			})
			try("admit", func() error {
				got, err := do(h.as(ownerOf(event)), h, api.AdmitTicket, api.Admission{EventID: event.Event.ID, Code: ticket.Code})
				if err == nil && got.Result != api.Admitted {
					err = fault.New(fault.Conflict, "%s", got.Result)
				}
				return err
			})
			work.Wait()
			owners := 0
			for _, name := range []string{"one", "two", "transfer", "admit"} {
				if won[name] {
					owners++
				}
			}
			// Who was let in with the ticket, or has it now, is one; but for the giver, who may have it still.
			if owners > 1 || owners == 0 && !won["refuse"] && !won["withdraw"] {
				t.Errorf("round %d: %v", round, won)
			}
			if (won["one"] || won["two"]) && (won["refuse"] || won["withdraw"]) {
				t.Errorf("round %d: an offer that was accepted ended otherwise: %v", round, won)
			}
		}
	})
}

// The answer to an acceptance is lost on its way from the database: it is done, once.
func TestLostCommitOfAnAcceptance(t *testing.T) {
	lose := testkit.LoseCommits(t, testkit.Postgres(t))
	h := newHarness(t, testkit.Open(t, lose.URL, "ticketing", Migrations()))
	h.start()
	giver, taker := person(), person()
	_, offer := h.offered(giver, h.publish(10, 0), "bo@example.org")
	token := h.token(offer.ID)
	lose.Next(func(query []byte) bool { return strings.Contains(string(query), "UPDATE tickets SET owner_id") })
	got, err := do(h.as(taker), h, api.AcceptTicketOffer, api.AcceptOffer{Token: token})
	if err != nil || got.OwnerID != taker || got.Revision != 2 || !lose.Lost() {
		t.Errorf("the acceptance: %+v, %v", got, err)
	}
	testkit.Eventually(t, 15*time.Second, func() error {
		if n := len(h.published(api.TicketTransferred.Subject)); n != 1 {
			return errors.New("the transfer is not told once")
		}
		return nil
	})
}
