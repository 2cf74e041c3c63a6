package ticketing

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/ticketing/invoices"
)

// invoicing has the organizer of an event make invoices.
func invoicing(o *api.Offer) {
	o.Organizer.Selling = api.Selling{SalesTerms: api.SalesTerms{Invoices: true, InvoicePrefix: "RE", InvoiceNote: "Thank you."},
		Seller: api.Seller{LegalName: "Oper Kassel gGmbH", Address: "Friedrichsplatz 15\n34117 Kassel", Country: "DE",
			TaxID: "DE123456788", Language: "de", Timezone: "Europe/Berlin"}}
}

func billing() *api.Billing {
	return &api.Billing{Company: "Example AG", Street: "Long Road 1", Postcode: "8001", City: "Zürich", Country: "CH"}
}

func (h *harness) invoicesOf(b bought) []api.Invoice {
	h.t.Helper()
	return must(h.as(b.buyer), h, api.ListOrderInvoices, api.OrderRef{ID: b.ID}).Items
}

// balance checks that the numbers of each series begin at 1 and have no gap, that each paid order of an organizer that
// makes invoices has one, and that invoices less credit notes are what was paid and has not gone back.
func (h *harness) balance() (documents int) {
	h.t.Helper()
	var rows []invoices.Row
	if err := h.db.Read().NewRaw("SELECT * FROM invoices ORDER BY organizer_id, year, number").Scan(h.t.Context(), &rows); err != nil {
		h.t.Fatal(err)
	}
	last := map[string]int64{}
	left := map[ids.Order]int64{}
	for _, r := range rows {
		series := fmt.Sprint(r.OrganizerID, " ", r.Year)
		if last[series]++; r.Number != last[series] {
			h.t.Errorf("number %d of %s comes after %d", r.Number, series, last[series]-1)
		}
		doc := r.Document
		if want := fmt.Sprintf("-%05d", r.Number); !strings.HasSuffix(doc.Number, want) || doc.ID != r.ID {
			h.t.Errorf("the document of %d says %q", r.Number, doc.Number)
		}
		var net, tax, gross int64
		for _, l := range doc.Lines {
			net, tax, gross = net+l.Net.Amount, tax+l.Tax.Amount, gross+l.Gross.Amount
		}
		if doc.Net.Amount != net || doc.Tax.Amount != tax || doc.Gross.Amount != gross || net+tax != gross {
			h.t.Errorf("the lines of %s are %d + %d = %d: %+v", doc.Number, net, tax, gross, doc)
		}
		if r.Kind == api.CreditNote {
			gross = -gross
			if doc.Corrects.Number == "" {
				h.t.Errorf("%s corrects %+v", doc.Number, doc.Corrects)
			}
		}
		left[r.OrderID] += gross
	}
	var orders []orderRow
	if err := h.db.Read().NewRaw("SELECT * FROM orders WHERE paid_at IS NOT NULL AND total > 0").Scan(h.t.Context(), &orders); err != nil {
		h.t.Fatal(err)
	}
	for _, o := range orders {
		n, ok := left[o.ID]
		if delete(left, o.ID); !h.offers[o.EventID].Organizer.Selling.Invoices {
			if ok {
				h.t.Errorf("order %s has an invoice", o.ID)
			}
			continue
		}
		if n != o.Total-o.Refunded {
			h.t.Errorf("the documents of %s come to %d, of %d %d are back", o.ID, n, o.Total, o.Refunded)
		}
	}
	if len(left) > 0 {
		h.t.Errorf("there are documents of orders that are not paid: %v", left)
	}
	return len(rows)
}

// A paid order has its invoice, what goes back a credit note, and neither ever changes.
func TestInvoices(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		offer := h.publish(20, 1000)
		charge(offer)
		invoicing(offer)
		organizer := h.as(ownerOf(offer))

		buyer := person()
		req := order(offer, 3)
		req.Billing = billing()
		req.Billing.Country = "Schweiz"
		if _, err := do(h.as(buyer), h, api.CreateOrder, req); fault.From(err).Fields[0].Field != "billing.country" {
			t.Errorf("a country that is none: %v", err)
		}
		req.Billing = billing()
		o := must(h.as(buyer), h, api.CreateOrder, req)
		if got := must(h.as(buyer), h, api.GetOrder, api.OrderRef{ID: o.ID}); got.Billing == nil || *got.Billing != *billing() {
			t.Errorf("the order is made out to %+v", got.Billing)
		}
		person := *billing()
		person.Company, person.Name, person.VATID = "", "Kim Day", "atu 123.456-75"
		got := must(h.as(buyer), h, api.PutBilling, api.NewBilling{ID: o.ID, Billing: person})
		if got.VATID != "ATU12345675" {
			t.Errorf("the VAT number is %q", got.VATID)
		}
		b := bought{buyer: buyer, payment: h.pay(buyer, &o.Order)}
		b.Order = h.becomes(buyer, o.ID, api.OrderPaid)
		b.tickets = must(h.as(buyer), h, api.ListOrderTickets, api.OrderRef{ID: o.ID}).Items

		list := h.invoicesOf(b)
		if len(list) != 1 {
			t.Fatalf("the order has %+v", list)
		}
		doc := list[0]
		year := h.clock.Now().In(time.FixedZone("CET", 3600)).Year()
		if doc.Number != fmt.Sprintf("RE-%d-00001", year) || doc.Gross != b.Total || len(doc.Lines) != 3 ||
			doc.Lines[0].Quantity != 3 || doc.Buyer == nil || doc.Buyer.Name != "Kim Day" || doc.OrderNumber != b.Number ||
			doc.Seller.LegalName != "Oper Kassel gGmbH" || doc.Note != "Thank you." || len(doc.Taxes) != 2 {
			t.Errorf("the invoice is %+v", doc)
		}
		if _, err := do(h.as(buyer), h, api.PutBilling, api.NewBilling{ID: o.ID, Billing: person}); !fault.Is(err, fault.Conflict) {
			t.Errorf("an address after the invoice: %v", err)
		}

		must(organizer, h, api.DecideRefund, b.refund(nil, b.tickets[0].ID))
		some := eur(333)
		must(organizer, h, api.DecideRefund, b.refund(&some))
		if list = h.invoicesOf(b); len(list) != 3 || list[1].Kind != api.CreditNote || list[1].Gross != eur(1150) ||
			list[1].Corrects.Number != doc.Number || !strings.HasSuffix(list[1].Number, "-00002") ||
			list[2].Gross != some || list[1].RefundID == list[2].RefundID {
			t.Errorf("after refunds of a ticket and an amount: %+v", list)
		}
		paid := map[string]int64{}
		for _, doc := range list {
			for _, of := range doc.Taxes {
				if doc.Kind == api.CreditNote {
					of.Gross.Amount *= -1
				}
				paid[of.Name+of.Rate] += of.Gross.Amount
			}
		}
		taxes := must(organizer, h, api.ListOrganizerTaxes, api.InvoiceExport{ID: doc.OrganizerID, Year: year}).Items
		if len(taxes) != len(paid) {
			t.Errorf("the taxes are %+v, want %v", taxes, paid)
		}
		for _, of := range taxes {
			if of.Month != doc.IssuedOn[:7] || of.Gross != eur(paid[of.Name+of.Rate]) || of.Net.Amount+of.Tax.Amount != of.Gross.Amount {
				t.Errorf("the taxes say %+v, the documents %v", of, paid)
			}
		}
		if before := must(organizer, h, api.ListOrganizerTaxes, api.InvoiceExport{ID: doc.OrganizerID, Year: year - 1}).Items; len(before) != 0 {
			t.Errorf("the year before has %+v", before)
		}
		if name := list[1].Lines[1].Name; name != "1 × type 0" {
			t.Errorf("the ticket is called %q", name)
		}
		if _, err := do(h.as(buyer), h, api.CreateInvoice, api.NewInvoice{ID: o.ID, Billing: billing()}); !fault.Is(err, fault.Conflict) {
			t.Errorf("another address after a refund: %v", err)
		}
		must(organizer, h, api.DecideRefund, b.refund(nil))
		if n := h.balance(); n != 4 {
			t.Errorf("there are %d documents", n)
		}

		for _, query := range []string{"UPDATE invoices SET document = '{}'", "DELETE FROM invoices"} {
			err := h.db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
				_, err := tx.ExecContext(ctx, query)
				return err
			})
			if err == nil || !strings.Contains(err.Error(), "never") {
				t.Errorf("%s: %v", query, err)
			}
		}
		h.audit()
	})
}

// An invoice has the words of all languages of its event, as they are when it is issued; so has its credit note, whatever
// they become.
func TestInvoicesAreInTheLanguagesOfTheEvent(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		offer := h.publish(20, 1000)
		charge(offer)
		invoicing(offer)
		say := func(o *api.Offer, event, typ string) {
			o.Event.Language, o.Event.Translations = "de", []api.Translation{{Language: "en", Name: event}}
			o.Event.TicketTypes = slices.Clone(o.Event.TicketTypes)
			o.Event.TicketTypes[0].Translations = []api.TypeTranslation{{Language: "en", Name: typ}}
		}
		h.change(offer.Event.ID, api.EventUpdated.Subject, func(o *api.Offer) { say(o, "Starlit night", "Stalls") })
		b := h.buys(offer, 3)
		file := func(reader string) string {
			blob := must(h.as(b.buyer), h, api.GetOrderInvoicePDF, api.OrderInvoiceFile{ID: b.ID, Language: reader})
			return string(blob.Data)
		}
		doc, plain, german, french := h.invoicesOf(b)[0], file(""), file("de"), file("fr")
		if own := doc.Lines[0]; own.Name != "type 0" || own.TicketTypeID != offer.Event.TicketTypes[0].ID ||
			doc.EventName != offer.Event.Name || doc.Language != "de" || len(doc.Translations) != 1 {
			t.Fatalf("the invoice is %+v", doc)
		}
		if in := doc.Translations[0]; in.Language != "en" || in.EventName != "Starlit night" || len(in.Lines) != len(doc.Lines) ||
			in.Lines[0] != "Stalls" || in.Lines[1] != doc.Lines[1].Name {
			t.Errorf("in English it is %+v", in)
		}
		if plain != german || plain != file("en") || plain == french {
			t.Error("an event in German and English has no invoice in both")
		}

		h.change(offer.Event.ID, api.EventUpdated.Subject, func(o *api.Offer) { say(o, "Night", "Pit") })
		some := eur(2)
		must(h.as(ownerOf(offer)), h, api.DecideRefund, b.refund(nil, b.tickets[0].ID))
		must(h.as(ownerOf(offer)), h, api.DecideRefund, b.refund(&some))
		list := h.invoicesOf(b)
		if !reflect.DeepEqual(list[0], doc) || file("de") != plain {
			t.Errorf("the invoice was %+v and is %+v", doc, list[0])
		}
		for _, note := range list[1:] {
			if in := note.Translations; len(in) != 1 || len(in[0].Lines) != len(note.Lines) || in[0].EventName != "Starlit night" {
				t.Errorf("the credit note is %+v", note)
			}
		}
		if note := list[1]; note.Lines[1].Name != "1 × type 0" || note.Translations[0].Lines[1] != "1 × Stalls" {
			t.Errorf("the credit note is %+v", note)
		}
	})
}

// What is sold at the counter has an invoice, and what costs nothing has none. Whoever gives another address gets
// another invoice, with a credit note of the first between them.
func TestInvoicesAtTheCounter(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		offer := h.publish(20, 1000)
		invoicing(offer)
		organizer := h.as(ownerOf(offer))
		sale := must(organizer, h, api.CreateSale, api.NewSale{EventID: offer.Event.ID, Items: order(offer, 2).Items,
			Payment: api.BoxOfficePayment{Method: api.PaidInCash}})
		first := must(organizer, h, api.CreateInvoice, api.NewInvoice{ID: sale.OrderID})
		if len(first.Taxes) != 1 || first.Taxes[0].Rate != "0" || first.Buyer != nil || first.Gross != eur(2000) {
			t.Errorf("the invoice of a sale is %+v", first)
		}
		for range 2 {
			second := must(organizer, h, api.CreateInvoice, api.NewInvoice{ID: sale.OrderID, Billing: billing()})
			if second.ID == first.ID || second.Buyer == nil || *second.Buyer != *billing() || !strings.HasSuffix(second.Number, "-00003") {
				t.Errorf("made out to another address it is %+v", second)
			}
		}
		must(organizer, h, api.ReverseSale, api.ReverseSaleRequest{OrderID: sale.OrderID})
		list := must(organizer, h, api.ListOrderInvoices, api.OrderRef{ID: sale.OrderID}).Items
		if len(list) != 4 || list[1].Corrects.ID != first.ID || list[3].Corrects.ID != list[2].ID || list[3].Gross != eur(2000) {
			t.Errorf("the documents of the sale: %+v", list)
		}
		staff := api.StaffOrder{EventID: offer.Event.ID, Items: order(offer, 1).Items, Email: "press@example.org", Complimentary: true}
		free := must(organizer, h, api.CreateStaffOrder, staff)
		if _, err := do(organizer, h, api.CreateInvoice, api.NewInvoice{ID: free.ID}); !fault.Is(err, fault.Conflict) {
			t.Errorf("an invoice of what was free: %v", err)
		}
		plain := h.publish(5, 1000)
		b := h.buy(plain, 1)
		if list := h.invoicesOf(b); len(list) != 0 {
			t.Errorf("invoices of who makes none: %+v", list)
		}
		h.mu.Lock()
		invoicing(plain)
		h.mu.Unlock()
		testkit.Eventually(t, 5*time.Second, func() error {
			h.clock.Advance(time.Second)
			_, err := do(h.as(b.buyer), h, api.CreateInvoice, api.NewInvoice{ID: b.ID})
			return err
		})
		if n := h.balance(); n != 5 {
			t.Errorf("there are %d documents", n)
		}
	})
}

// An organizer lists its invoices and takes them into its bookkeeping; others see none of it.
func TestInvoiceListAndExport(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		s := h.start()
		offer := h.publish(20, 1000)
		charge(offer)
		invoicing(offer)
		if err := s.offers.Save(t.Context(), offer); err != nil {
			t.Fatal(err)
		}
		organizer, id := h.as(ownerOf(offer)), offer.Event.OrganizerID
		b := h.buy(offer, 1)
		must(organizer, h, api.DecideRefund, b.refund(nil))
		h.buy(offer, 2)
		var numbers []string
		for page := (api.InvoicePage{ID: id, Page: api.Page{Limit: 2}}); ; {
			got := must(organizer, h, api.ListInvoices, page)
			for _, doc := range got.Items {
				numbers = append(numbers, doc.Number[len(doc.Number)-1:])
			}
			if page.Cursor = got.NextCursor; page.Cursor == "" {
				break
			}
		}
		if fmt.Sprint(numbers) != "[3 2 1]" {
			t.Errorf("the list has %v", numbers)
		}
		year := h.clock.Now().In(time.FixedZone("CET", 3600)).Year()
		if got := must(organizer, h, api.ListInvoices, api.InvoicePage{ID: id, Year: year - 1}); len(got.Items) != 0 {
			t.Errorf("the year before has %+v", got.Items)
		}
		for name, err := range map[string]error{
			"list": func() error { _, err := do(h.as(person()), h, api.ListInvoices, api.InvoicePage{ID: id}); return err }(),
			"one": func() error {
				_, err := do(h.as(person()), h, api.GetInvoice, api.InvoiceOf{ID: h.invoicesOf(b)[0].ID})
				return err
			}(),
		} {
			if !fault.Is(err, fault.NotFound) {
				t.Errorf("%s of a stranger: %v", name, err)
			}
		}
		part, err := s.invoicesCSV(rpc.WithPrincipal(t.Context(), rpc.Principal{User: ownerOf(offer)}),
			&api.InvoiceExport{ID: id, Year: year}, "")
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSpace(string(part.Body)), "\n")
		if len(lines) != 1+3*2 || !strings.HasPrefix(lines[3], "6.40,H,EUR,") {
			t.Errorf("the export is\n%s", part.Body)
		}
		if _, err := do(h.as(ownerOf(offer)), h, api.GetInvoicesCSV, api.InvoiceExport{ID: id}); !fault.Is(err, fault.Invalid) {
			t.Errorf("an export of no year: %v", err)
		}
	})
}

// Purchases and refunds of two organizers at two instances, some of which die, use each number once.
func TestInvoiceNumbersHaveNoGap(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		one, other := h.start(), h.start()
		offers := []*api.Offer{h.publish(1000, 1000, 500), h.publish(1000, 700)}
		for _, o := range offers {
			charge(o)
			invoicing(o)
		}
		var wg sync.WaitGroup
		paid := make([]bought, 40)
		for i := range paid {
			wg.Go(func() {
				o := offers[i%2]
				b := bought{buyer: person()}
				b.Order = &must(h.as(b.buyer), h, api.CreateOrder, order(o, 1+i%3)).Order
				p := api.Payment{ID: ids.New[ids.PaymentKind](h.clock.Now()), OrderID: b.ID, UserID: b.buyer, Amount: b.Total}
				s := one
				if i%4 > 1 {
					s = other
				}
				if i%5 == 0 { // it dies somewhere on the way, and the message comes again, to both
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*time.Millisecond/4)
					_ = s.recordPayment(ctx, p)
					cancel()
					wg.Go(func() { _ = other.recordPayment(t.Context(), p) })
				}
				testkit.Eventually(t, 20*time.Second, func() error { return s.recordPayment(t.Context(), p) })
				b.payment = p.ID
				paid[i] = b
			})
		}
		wg.Wait()
		for i, b := range paid {
			wg.Go(func() {
				amount := eur(int64(100 + i))
				organizer := h.as(ownerOf(offers[i%2]))
				decide := func(r api.RefundOrder) { // and again while there is too much to do, as any client would
					testkit.Eventually(t, 30*time.Second, func() error {
						_, err := do(organizer, h, api.DecideRefund, r)
						return err
					})
				}
				for range 2 {
					decide(b.refund(&amount))
				}
				if i%3 == 0 {
					decide(b.refund(nil))
				}
			})
		}
		wg.Wait()
		if n := h.balance(); n != 40+80+14 {
			t.Errorf("there are %d documents", n)
		}
		h.audit()
	})
}

// A payment and a refund that die at any commit, before or after it, leave the order with its invoice and credit note
// once they are tried again.
func TestInvoicesKilledAtEachStep(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		var hook atomic.Pointer[func()]
		h.db.AroundCommit(func(bool) {
			if f := hook.Load(); f != nil {
				(*f)()
			}
		})
		s := h.start()
		offer := h.publish(1000, 1000)
		charge(offer)
		invoicing(offer)
		killed := func(kill int, step func(context.Context) error) bool {
			ctx, cancel := context.WithCancel(rpc.WithPrincipal(t.Context(), rpc.Principal{User: ownerOf(offer)}))
			defer cancel()
			var commits atomic.Int32 // others commit beside the step, too
			count := func() {
				if int(commits.Add(1)) == kill {
					cancel()
				}
			}
			hook.Store(&count)
			_ = step(ctx)
			hook.Store(nil)
			if err := step(rpc.WithPrincipal(t.Context(), rpc.Principal{User: ownerOf(offer)})); err != nil {
				t.Fatalf("killed at %d: %v", kill, err)
			}
			return int(commits.Load()) >= kill
		}
		for kill, more := 1, true; more; kill++ {
			b := bought{buyer: person()}
			b.Order = &must(h.as(b.buyer), h, api.CreateOrder, order(offer, 2)).Order
			b.payment = ids.New[ids.PaymentKind](h.clock.Now())
			p := api.Payment{ID: b.payment, OrderID: b.ID, UserID: b.buyer, Amount: b.Total}
			more = killed(kill, func(ctx context.Context) error { return s.recordPayment(ctx, p) })
			h.balance()
			amount := eur(500)
			refund := b.refund(&amount)
			if killed(kill, func(ctx context.Context) error {
				_, err := s.decideRefund(ctx, &refund)
				return err
			}) {
				more = true
			}
			if h.balance(); len(h.invoicesOf(b)) != 2 {
				t.Fatalf("killed at %d: %+v", kill, h.invoicesOf(b))
			}
			if kill > 50 {
				t.Fatal("there is no end of commits")
			}
		}
		h.audit()
	})
}

// Whoever is forgotten is in no address that is still to be used; the invoices that were issued are kept.
func TestForgottenBuyersStayOnInvoices(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		s := h.start()
		offer := h.publish(5, 1000)
		invoicing(offer)
		buyer := person()
		req := order(offer, 1)
		req.Billing = billing()
		o := must(h.as(buyer), h, api.CreateOrder, req)
		b := bought{buyer: buyer, payment: h.pay(buyer, &o.Order)}
		b.Order = h.becomes(buyer, o.ID, api.OrderPaid)
		if err := s.db.forgetPerson(t.Context(), buyer); err != nil {
			t.Fatal(err)
		}
		if left, err := invoices.Billing(t.Context(), h.db.Read(), []ids.Order{o.ID}); err != nil || len(left) > 0 {
			t.Errorf("there is still %+v, %v", left, err)
		}
		if list := h.invoicesOf(b); len(list) != 1 || list[0].Buyer == nil {
			t.Errorf("the invoices are %+v", list)
		}
		for _, m := range h.nats.Messages("EVENTS") {
			if strings.Contains(string(m.Data), "Example AG") {
				t.Errorf("%s has the address of the buyer", m.Subject)
			}
		}
	})
}

// The lists of an organizer are read by one index.
func TestInvoicesAreListedByTheirNumbers(t *testing.T) {
	db := testkit.Open(t, testkit.SQLite(t), "ticketing", Migrations())
	var steps []struct {
		ID, Parent, Notused int
		Detail              string
	}
	query := "EXPLAIN QUERY PLAN SELECT * FROM invoices WHERE organizer_id = 'x' AND (year, number) < (1, 1) ORDER BY year DESC, number DESC LIMIT 9"
	err := db.Read().NewRaw(query).Scan(t.Context(), &steps)
	if got := fmt.Sprint(steps); err != nil || !strings.Contains(got, "SEARCH") || strings.Contains(got, "TEMP B-TREE") {
		t.Errorf("%v, %v", steps, err)
	}
}
