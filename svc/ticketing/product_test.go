package ticketing

import (
	"bytes"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
)

// The types of an event that sells products.
const (
	aTicket = iota
	parking // one for an order
	shirtM  // one for each ticket
	shirtL
	deposit // required with each ticket
	program // required, once
)

// sells gives an event of six types products.
func (h *harness) sells(prices ...int64) *api.Offer {
	o := h.publish(10, prices...)
	for i := range o.Event.TicketTypes {
		t := &o.Event.TicketTypes[i]
		t.Kind, t.Per = api.KindProduct, api.PerOrder
		switch i {
		case aTicket:
			t.Kind, t.Per = "", ""
		case parking:
			t.MaxPerOrder = 1
		case shirtM, shirtL:
			t.Group, t.Per = "T-shirt", api.PerTicket
		case deposit:
			t.Per, t.Required = api.PerTicket, true
		case program:
			t.Required = true
		}
	}
	return o
}

// of is an order of so many of each type.
func of(o *api.Offer, n ...int) (req api.NewOrder) {
	req.EventID = o.Event.ID
	for i := len(n) - 1; i >= 0; i-- { // the tickets last
		if n[i] > 0 {
			req.Items = append(req.Items, api.NewOrderItem{TicketTypeID: o.Event.TicketTypes[i].ID, Quantity: n[i]})
		}
	}
	return req
}

// buys pays for so many of each type.
func (h *harness) buys(o *api.Offer, n ...int) bought {
	h.t.Helper()
	b := bought{buyer: person()}
	req := of(o, n...)
	req.Attendees = []api.Attendee{{Name: "Ada"}}
	made := must(h.as(b.buyer), h, api.CreateOrder, req)
	if made.Total.Amount > 0 {
		b.payment = h.pay(b.buyer, &made.Order)
	}
	b.Order = h.becomes(b.buyer, made.ID, api.OrderPaid)
	b.tickets = must(h.as(b.buyer), h, api.ListOrderTickets, api.OrderRef{ID: made.ID}).Items
	return b
}

// Products come with tickets: as many as there are tickets, or as their own limits allow, and those that are required
// with every order. A counter sells what people ask for.
func TestProductsComeWithTickets(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		o := h.sells(1000, 500, 2000, 2000, 100, 300)
		o.Event.OrderRules = api.OrderRules{MinPerOrder: 2, MaxPerOrder: 3, MaxPerPerson: 3}
		for name, c := range map[string]struct {
			n     []int
			field string
		}{
			"nothing but products":       {[]int{0, 1, 0, 0, 0, 1}, "items"},
			"too few tickets":            {[]int{1, 1, 0, 0, 1, 1}, "items"},
			"too many tickets":           {[]int{4, 0, 0, 0, 4, 1}, "items"},
			"without what is required":   {[]int{2, 0, 0, 0, 2, 0}, "items"},
			"too few for the tickets":    {[]int{2, 0, 0, 0, 1, 1}, "items[1].quantity"},
			"too many for the tickets":   {[]int{2, 0, 0, 0, 3, 1}, "items[1].quantity"},
			"more shirts than tickets":   {[]int{2, 0, 1, 2, 2, 1}, "items[3].quantity"},
			"more than its own limit":    {[]int{2, 2, 0, 0, 2, 1}, "items[2].quantity"},
			"more than any order may":    {[]int{2, 0, 0, 0, 2, 21}, "items[0].quantity"},
			"none of what each must get": {[]int{2, 0, 0, 0, 0, 1}, "items"},
		} {
			_, err := do(h.as(person()), h, api.CreateOrder, of(o, c.n...))
			f := fault.From(err)
			if !fault.Is(err, fault.Invalid) || len(f.Fields) == 0 || f.Fields[0].Field != c.field {
				t.Errorf("%s: %v", name, err)
			}
		}
		b := h.buys(o, 3, 1, 2, 1, 3, 2)
		if b.Total != eur(3*1000+500+3*2000+3*100+2*300) {
			t.Errorf("it costs %v", b.Total)
		}
		if i := b.Items; i[0].IsProduct() || len(i) != 6 || i[3].Title() != "T-shirt, type 3" || !i[1].IsProduct() {
			t.Errorf("the lines are %+v", i)
		}
		kinds := map[string]int{}
		for i, k := range b.tickets {
			kinds[k.Kind]++
			if (i < 3) == (k.Kind == api.KindProduct) || (i == 0) != (k.Holder.Name == "Ada") ||
				strings.HasPrefix(k.Code, "SP1") != (k.Kind == api.KindProduct) {
				t.Errorf("ticket %d is %+v", i, k)
			}
		}
		if kinds[""] != 3 || kinds[api.KindProduct] != 9 {
			t.Errorf("there are %v", kinds)
		}
		if _, err := do(h.as(b.buyer), h, api.CreateOrder, of(o, 2, 0, 0, 0, 2, 1)); !fault.Is(err, fault.Conflict) {
			t.Errorf("more tickets than a person may have: %v", err)
		}
		organizer := h.as(ownerOf(o))
		lists := func(kind string, want int) {
			t.Helper()
			list := must(organizer, h, api.ListAttendees, api.AttendeePage{EventPage: api.EventPage{EventID: o.Event.ID},
				Kind: kind})
			file := must(organizer, h, api.GetAttendeesCSV, api.AttendeeExport{Kind: kind,
				EventExport: api.EventExport{EventID: o.Event.ID}})
			if n := strings.Count(string(file.Data), "tkt_"); len(list.Items) != want || n != want {
				t.Errorf("%d of kind %q are listed, %d are in the file, want %d", len(list.Items), kind, n, want)
			}
		}
		if _, err := do(organizer, h, api.ListAttendees, api.AttendeePage{Kind: "shirt",
			EventPage: api.EventPage{EventID: o.Event.ID}}); !fault.Is(err, fault.Invalid) {
			t.Errorf("a list of what is not sold: %v", err)
		}
		if _, err := do(organizer, h, api.GetAttendeesCSV, api.AttendeeExport{Kind: "shirt",
			EventExport: api.EventExport{EventID: o.Event.ID}}); !fault.Is(err, fault.Invalid) {
			t.Errorf("a file of what is not sold: %v", err)
		}
		lists("", 3)
		lists(api.KindTicket, 3)
		lists(api.KindProduct, 9)

		sale := must(organizer, h, api.CreateSale, api.NewSale{EventID: o.Event.ID, Items: of(o, 0, 1, 0, 0, 0, 1).Items,
			Payment: api.BoxOfficePayment{Method: api.PaidInCash}})
		if sale.Total != eur(800) || len(sale.Tickets) != 2 || !strings.HasPrefix(sale.Tickets[0].Code, "SP1") {
			t.Errorf("at the counter: %+v", sale)
		}
		h.audit()
	})
}

// A product's code is handed out once, whoever scans it how often, and never lets anybody in. No count of visitors has
// it. It can be taken back.
func TestProductsAreHandedOutOnce(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		h.start()
		o := h.sells(0, 0, 0)
		b := h.buys(o, 1, 1, 1)
		product := b.tickets[1]
		h.exits(o, product.Code, api.NotInside)
		var handed, again atomic.Int64
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				switch out, err := h.scan(o, product.Code); {
				case err != nil:
					t.Error(err)
				case out.Result == api.HandedOut:
					handed.Add(1)
				case out.Result == api.AlreadyHandedOut && out.FirstGate == "hub" && out.FirstAdmittedAt != nil &&
					out.Ticket.Status == api.TicketHandedOut && out.Ticket.Kind == api.KindProduct:
					again.Add(1)
				default:
					t.Errorf("the door hears %+v", out)
				}
			})
		}
		if all.Wait(); handed.Load() != 1 || again.Load() != 19 {
			t.Errorf("handed out %d times, refused %d times", handed.Load(), again.Load())
		}
		h.scanned(o, "ST1"+product.Code[3:], api.InvalidCode)
		h.exits(o, product.Code, api.NotInside)
		h.scanned(o, b.tickets[0].Code, api.Admitted)
		h.scanned(o, b.tickets[0].Code, api.AlreadyAdmitted)
		if _, err := do(h.as(b.buyer), h, api.CancelOrder, api.OrderRef{ID: b.ID}); !fault.Is(err, fault.Conflict) {
			t.Errorf("an order of which something is used: %v", err)
		}
		h.audit()
		var scan api.Scan
		for _, s := range h.admissions(o) {
			if s.Result == api.HandedOut {
				scan = s
			}
		}
		if !scan.CanUndo || scan.TypeName != "T-shirt, type 2" {
			t.Errorf("it is listed as %+v", scan)
		}
		must(h.as(ownerOf(o)), h, api.UndoAdmission, api.AdmissionRef{EventID: o.Event.ID, ID: scan.ID})
		h.scanned(o, product.Code, api.HandedOut)
		h.scanned(o, product.Code, api.AlreadyHandedOut)
		h.scanned(o, h.buys(o, 1).tickets[0].Code, api.Admitted)
		h.publishes(api.TicketAdmission.Subject, 2)
		if n := len(h.published(api.TicketAdmissionUndone.Subject)); n != 0 {
			t.Errorf("%d visitors are told to be gone", n)
		}
		h.audit()
	})
}

// Fees for each ticket, codes and discounts that name no type, and what the organizer keeps of each ticket are not for
// products. What is named is.
func TestChargesLeaveProductsOut(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		o := h.sells(1000, 500, 2000)
		charge(o)
		b := h.buys(o, 2, 1)
		if b.Total != eur(2*1000+500+2*150+490) || len(b.Fees) != 2 || b.Fees[0].Quantity != 2 {
			t.Errorf("it costs %v: %+v", b.Total, b.Fees)
		}
		if tax := b.Items[1].Tax; tax == nil || tax.Rate != "19" {
			t.Errorf("the product has %+v", tax)
		}
		terms := percent("50")
		h.code(o, "half", terms)
		terms.TicketTypeIDs = []ids.TicketType{o.Event.TicketTypes[parking].ID}
		h.code(o, "park", terms)
		for code, want := range map[string]int64{"half": 500, "park": 250} {
			req := of(o, 1, 1)
			req.PromoCode = code
			if made := must(h.as(person()), h, api.CreateOrder, req); made.Discount != eur(want) {
				t.Errorf("%s makes it %v cheaper", code, made.Discount)
			}
		}
		if _, err := do(h.as(person()), h, api.CreateOrder, func() api.NewOrder {
			req := of(o, 1)
			req.PromoCode = "park"
			return req
		}()); !fault.Is(err, fault.Conflict) {
			t.Errorf("a code for what is not bought: %v", err)
		}
		due := must(h.as(ownerOf(o)), h, api.DecideRefund, b.refund(nil, b.tickets[2].ID))
		if due.Amount != eur(500) || len(due.Taxes) != 1 || due.Taxes[0].Rate != "19" {
			t.Errorf("the product goes back for %+v", due)
		}
		h.audit()
		rest := must(h.as(ownerOf(o)), h, api.DecideRefund, b.refund(nil))
		if rest.Amount != eur(2*1000+2*150+490) {
			t.Errorf("the rest goes back for %v", rest.Amount)
		}
		h.audit()
	})
}

// Buyers give products back as they do tickets, but not so that tickets are left without what is required, or products
// without the tickets that they belong to.
func TestBuyersGiveProductsBack(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		o := h.sells(1000, 500, 2000, 2000, 100, 300)
		o.Event.OrderRules.Cancellation = api.CancellationPolicy{SelfService: true, FeePerTicket: 50}
		b := h.buys(o, 2, 1, 1, 1, 2, 1)
		// 0, 1: tickets; then by type from the last to the first: programme, 2 deposits, L, M, parking
		back := func(positions ...int) (*api.Cancellation, error) {
			req := api.NewCancellation{OrderID: b.ID}
			for _, p := range positions {
				req.Tickets = append(req.Tickets, b.tickets[p].ID)
			}
			return do(h.as(b.buyer), h, api.CreateCancellation, req)
		}
		for name, positions := range map[string][]int{"the programme": {2}, "a deposit": {3}, "both deposits": {3, 4},
			"a ticket without its deposit": {0}, "a ticket without its shirt": {0, 3},
			"both tickets and what is theirs, but not parking": {0, 1, 2, 3, 4, 5, 6}} {
			if _, err := back(positions...); !fault.Is(err, fault.Invalid) {
				t.Errorf("%s: %v", name, err)
			}
		}
		one, err := back(0, 3, 5)
		if err != nil || one.Refund != eur(1000+100+2000-50) || one.Fee != eur(50) {
			t.Errorf("a ticket with what is its: %+v, %v", one, err)
		}
		h.scanned(o, b.tickets[6].Code, api.HandedOut) // a shirt
		all := must(h.as(b.buyer), h, api.CreateCancellation, api.NewCancellation{OrderID: b.ID})
		if len(all.Tickets) != 4 || all.Refund != eur(1000+100+500+300-50) {
			t.Errorf("the rest: %+v", all)
		}
		left := must(h.t.Context(), h, api.GetAvailability, api.AvailabilityQuery{ID: o.Event.ID}).TicketTypes
		for i, a := range left {
			want := 10
			if i == shirtM { // somebody wears it
				want = 9
			}
			if a.Available != want {
				t.Errorf("of type %d there are %d", i, a.Available)
			}
		}
		h.audit()
	})
}

// Of a product a hundred buyers at two instances get as many as there are, each with a ticket or without either.
func TestProductsUnderRaces(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		h.start()
		o := h.sells(0, 0)
		o.Event.TicketTypes[aTicket].Quantity = 200
		var sold, refused atomic.Int64
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				switch _, err := h.createWithRetry(person(), of(o, 1, 1)); {
				case err == nil:
					sold.Add(1)
				case fault.Is(err, fault.SoldOut):
					refused.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		if all.Wait(); sold.Load() != 10 || refused.Load() != 90 {
			t.Errorf("%d got one, %d did not", sold.Load(), refused.Load())
		}
		h.sold(o, 10)
		h.audit()
	})
}

// A venue leases products as it does tickets, sells them, and hands out what it or the system has sold.
func TestVenuesSellProducts(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		s := h.start()
		o := h.sells(1000, 500)
		e := h.edge(ownerOf(o))
		e.mustHello()
		lease := must(h.as(ownerOf(o)), h, api.CreateLease, api.NewLease{EventID: o.Event.ID, VenueID: e.session.VenueID,
			TicketTypeID: o.Event.TicketTypes[parking].ID, Quantity: 4})
		h.handOver(e, o, line.PolicyVenue)
		e.hold(o.Event.ID)
		if err := e.take(o.Event.ID); err != nil {
			t.Fatal(err)
		}
		b := h.buys(o, 1, 1)
		x := &till{harness: h, s: s, o: o, lease: lease}
		sold := x.sale(2)
		for i := range sold.Sale.Lines {
			sold.Sale.Lines[i].TicketTypeID = o.Event.TicketTypes[parking].ID
			sold.Sale.Lines[i].UnitPrice = eur(500)
		}
		for i := range sold.Sale.Tickets {
			sold.Sale.Tickets[i].TicketTypeID = o.Event.TicketTypes[parking].ID
		}
		sold.Sale.Total = eur(1000)
		scan := func(ticket ids.Ticket, kind, result string) line.Entry {
			out := x.entry()
			out.Scan = &line.Scan{ID: ids.New[ids.AdmissionKind](h.clock.Now()), Kind: kind, TicketID: ticket, Revision: 1,
				Result: result, Gate: "bar", By: "usr_x"}
			return out
		}
		ours, theirs := b.tickets[1].ID, sold.Sale.Tickets[0].ID
		entries := []line.Entry{sold, scan(theirs, line.ScanEntry, api.HandedOut),
			scan(theirs, line.ScanEntry, api.AlreadyHandedOut), scan(ours, line.ScanEntry, api.HandedOut),
			scan(ours, line.ScanUndo, ""), scan(ours, line.ScanExit, api.NotInside)}
		if n, err := e.send(entries...); err != nil || n != int64(len(entries)) {
			t.Fatalf("the journal is here up to %d, %v", n, err)
		}
		order := must(h.as(ownerOf(o)), h, api.GetOrder, api.OrderRef{ID: sold.Sale.OrderID})
		if len(order.Items) != 1 || !order.Items[0].IsProduct() {
			t.Errorf("it was sold as %+v", order.Items)
		}
		for id, want := range map[ids.Ticket]string{theirs: api.TicketHandedOut, ours: api.TicketValid} {
			if got, err := s.db.ticket(t.Context(), id); err != nil || got.Status != want || !got.IsProduct() {
				t.Errorf("%s is %+v, %v; want %s", id, got, err, want)
			}
		}
		if n := len(h.published(api.TicketAdmission.Subject)); n != 0 {
			t.Errorf("%d visitors are told of", n)
		}
		h.audit()
	})
}

// A ticket comes with products: they have lines of their own at their part of its price and its discount, each taxed at
// its own rate, are taken with it in one step, and go back with it; nobody gives them back alone.
func TestTicketsComeWithProducts(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		o := h.publish(10, 12000, 4000)
		o.Event.TicketTypes[1].Kind, o.Event.TicketTypes[1].Per = api.KindProduct, api.PerOrder
		o.Event.TicketTypes[1].Quantity, o.Event.TicketTypes[1].Hidden = 5, true
		o.Event.TicketTypes[0].Includes = []api.IncludedProduct{{TicketTypeID: o.Event.TicketTypes[1].ID, Quantity: 2,
			Price: eur(1500)}}
		o.Event.TicketTypes[0].Tax = api.Tax{Name: "VAT", Rate: "7", Included: true}
		o.Event.TicketTypes[1].Tax = api.Tax{Name: "VAT", Rate: "19", Included: true}
		o.Event.OrderRules.Cancellation = api.CancellationPolicy{SelfService: true}
		invoicing(o)
		h.code(o, "half", percent("50"))
		if a := must(h.as(person()), h, api.GetAvailability, api.AvailabilityQuery{ID: o.Event.ID}).TicketTypes; len(a) != 1 ||
			a[0].Available != 2 {
			t.Errorf("what is left: %+v", a)
		}
		b := bought{buyer: person()}
		made := must(h.as(b.buyer), h, api.CreateOrder, with(o, 2, "half"))
		if i := made.Items; made.Total != eur(12000) || len(i) != 2 || i[0].UnitPrice != eur(9000) || i[0].Gross() != 9000 ||
			i[1].UnitPrice != eur(1500) || i[1].Quantity != 4 || i[1].Gross() != 3000 || i[1].Title() != "type 1 (type 0)" {
			t.Fatalf("the order: %+v", made)
		}
		want := []api.TaxTotal{{Name: "VAT", Rate: "19", Net: eur(2521), Tax: eur(479), Gross: eur(3000)},
			{Name: "VAT", Rate: "7", Net: eur(8411), Tax: eur(589), Gross: eur(9000)}}
		if !slices.Equal(made.Taxes, want) {
			t.Errorf("its taxes are %+v", made.Taxes)
		}
		if _, err := do(h.as(person()), h, api.CreateOrder, order(o, 1)); !fault.Is(err, fault.SoldOut) {
			t.Errorf("a ticket whose products are sold out: %v", err)
		}
		b.payment = h.pay(b.buyer, &made.Order)
		h.becomes(b.buyer, made.ID, api.OrderPaid)
		ref := api.OrderRef{ID: made.ID}
		b.tickets = must(h.as(b.buyer), h, api.ListOrderTickets, ref).Items
		if len(b.tickets) != 6 || b.tickets[2].Kind != api.KindProduct || b.tickets[2].TypeName != "type 1" {
			t.Fatalf("the tickets are %+v", b.tickets)
		}
		back := func(id ids.Ticket) (*api.Cancellation, error) {
			return do(h.as(b.buyer), h, api.CreateCancellation, api.NewCancellation{OrderID: made.ID, Tickets: []ids.Ticket{id}})
		}
		if _, err := back(b.tickets[2].ID); !fault.Is(err, fault.Invalid) {
			t.Errorf("a product alone: %v", err)
		}
		if file := must(h.as(ownerOf(o)), h, api.GetOrdersCSV, api.EventExport{EventID: o.Event.ID}).Data; !bytes.Contains(file,
			[]byte(",2 × type 0; 4 × type 1 (type 0),")) {
			t.Errorf("the file of orders says %s", file)
		}
		if may := must(h.as(b.buyer), h, api.GetCancellation, ref); len(may.Tickets) != 2 || may.Refund != eur(12000) {
			t.Errorf("what can be given back: %+v", may)
		}
		c, err := back(b.tickets[1].ID)
		if err != nil || c.Refund != eur(6000) || !slices.Equal(c.Tickets, []ids.Ticket{b.tickets[1].ID, b.tickets[4].ID,
			b.tickets[5].ID}) {
			t.Errorf("the second ticket went back as %+v, %v", c, err)
		}
		h.audit()
		h.balance()
		if _, err := do(h.as(person()), h, api.CreateOrder, order(o, 1)); err != nil {
			t.Errorf("the products came back: %v", err)
		}
	})
}

// Two kinds of tickets come with the same product, which is sold alone, too: of a hundred buyers at two instances as
// many get theirs as the product is there for, all of it or nothing, and what they give back others get.
func TestTicketsWithProductsUnderRaces(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		h.start()
		o := h.publish(100, 12000, 9000, 4000)
		types := o.Event.TicketTypes
		types[2].Kind, types[2].Per, types[2].Quantity = api.KindProduct, api.PerOrder, 31
		types[0].Includes = []api.IncludedProduct{{TicketTypeID: types[2].ID, Quantity: 2, Price: eur(1500)}}
		types[1].Includes = []api.IncludedProduct{{TicketTypeID: types[2].ID, Quantity: 1, Price: eur(1500)}}
		rush := func(buyers int) (dinners int, made map[ids.Order]ids.User) {
			made = map[ids.Order]ids.User{}
			var mu sync.Mutex
			var all sync.WaitGroup
			for i := range buyers {
				all.Go(func() {
					buyer, req := person(), order(o, 1)
					req.Items[0].TicketTypeID = types[i%2].ID
					if i%4 == 0 { // and one more dinner
						req.Items = append(req.Items, api.NewOrderItem{TicketTypeID: types[2].ID, Quantity: 1})
					}
					got, err := h.createWithRetry(buyer, req)
					mu.Lock()
					defer mu.Unlock()
					switch {
					case fault.Is(err, fault.SoldOut):
					case err != nil:
						t.Error(err)
					default:
						made[got.ID] = buyer
						for _, item := range got.Items[1:] {
							dinners += item.Quantity
						}
					}
				})
			}
			all.Wait()
			return dinners, made
		}
		dinners, made := rush(100)
		if dinners < 30 || dinners > 31 { // the last one is for a ticket with one
			t.Errorf("%d of 31 dinners were sold", dinners)
		}
		h.audit()
		for id, buyer := range made {
			must(h.as(buyer), h, api.CancelOrder, api.OrderRef{ID: id})
		}
		if dinners, _ = rush(100); dinners < 30 || dinners > 31 {
			t.Errorf("%d of 31 dinners were sold after all came back", dinners)
		}
		h.audit()
	})
}
