package doors_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/svc/edge/doors"
)

// till is a harness whose event has two ticket types, and leases of the first.
type till struct {
	*harness
	types []api.TicketType
}

func newTill(t *testing.T, leased ...int) *till {
	t.Helper()
	h := newHarness(t)
	now := h.clock.Now()
	x := &till{harness: h, types: []api.TicketType{
		{ID: ids.New[ids.TicketTypeKind](now), Name: "Stalls", Price: api.Money{Amount: 2500, Currency: "EUR"}},
		{ID: ids.New[ids.TicketTypeKind](now), Name: "Gift", Price: api.Money{Currency: "EUR"}, MaxPerOrder: 3}}}
	h.event.Offer.Event.TicketTypes = x.types
	for _, n := range leased {
		h.event.Leases = append(h.event.Leases, line.Lease{ID: ids.New[ids.LeaseKind](now), TicketTypeID: x.types[0].ID,
			Quantity: n, Target: n, Revision: 1})
	}
	x.take()
	x.event = x.said()
	x.event.State = line.DoorsVenue
	return x
}

// said is the event as it comes over the line: the doors have what the test does not change.
func (x *till) said() (out line.Event) {
	x.t.Helper()
	text, err := json.Marshal(x.event)
	if err == nil {
		err = json.Unmarshal(text, &out)
	}
	if err != nil {
		x.t.Fatal(err)
	}
	return out
}

// sale is a sale of n seats, under a key.
func (x *till) sale(n int, key string) *doors.Sale {
	s := &doors.Sale{By: "pas_till", NewSale: api.NewSale{EventID: x.event.EventID,
		Items:   []api.NewOrderItem{{TicketTypeID: x.types[0].ID, Quantity: n}},
		Payment: api.BoxOfficePayment{Method: api.PaidInCash}}}
	copy(s.Key[:], key)
	s.Hash[0] = byte(n)
	return s
}

func (x *till) sell(s *doors.Sale) (sale api.Sale, replayed bool, err error) {
	x.t.Helper()
	sold, err := x.d.Sell(x.t.Context(), s)
	if err != nil {
		return sale, false, err
	}
	if err := json.Unmarshal(sold.Answer, &sale); err != nil {
		x.t.Fatal(err)
	}
	return sale, sold.Replayed, nil
}

func (x *till) mustSell(n int) api.Sale {
	x.t.Helper()
	sale, _, err := x.sell(x.sale(n, ""))
	if err != nil {
		x.t.Fatal(err)
	}
	return sale
}

func (x *till) refused(s *doors.Sale, code fault.Code) {
	x.t.Helper()
	if sale, _, err := x.sell(s); !fault.Is(err, code) {
		x.t.Errorf("sold %+v, %v, want %s", sale, err, code)
	}
}

// tell says what the hub says, when it has so much of the journal.
func (x *till) tell(journal int64) {
	x.t.Helper()
	if err := x.d.Follow(&line.State{Journal: journal, Events: []line.Event{x.said()}}, false); err != nil {
		x.t.Fatal(err)
	}
}

func (x *till) journal() []line.Entry {
	x.t.Helper()
	entries, err := x.d.Journal(2000)
	if err != nil {
		x.t.Fatal(err)
	}
	for i, e := range entries {
		if e.Number != int64(i+1) || e.EventID != x.event.EventID || e.Epoch != x.event.Epoch {
			x.t.Fatalf("entry %d is %+v", i+1, e)
		}
	}
	return entries
}

// seats counts the seats that were sold, by lease.
func (x *till) seats() map[ids.Lease]int {
	sold := map[ids.Lease]int{}
	for _, e := range x.journal() {
		if e.Sale == nil {
			continue
		}
		n := 0
		for _, l := range e.Sale.Lines {
			sold[l.LeaseID] += l.Quantity
			n += l.Quantity
		}
		if len(e.Sale.Tickets) != n || e.Sale.Total.Amount != int64(n)*2500 {
			x.t.Errorf("sale is %+v", e.Sale)
		}
	}
	return sold
}

// Two tills, and more, sell all seats of the leases, and not one more, also after a restart.
func TestTillsSellWhatIsLeased(t *testing.T) {
	x := newTill(t, 30, 13)
	var sold atomic.Int64
	var tills sync.WaitGroup
	for range 8 {
		tills.Go(func() {
			for i := range 20 {
				n := 1 + i%3
				_, err := x.d.Sell(t.Context(), x.sale(n, ""))
				if err == nil {
					sold.Add(int64(n))
				} else if !fault.Is(err, fault.SoldOut) {
					t.Error(err)
				}
			}
		})
	}
	tills.Wait()
	for range 3 {
		if _, _, err := x.sell(x.sale(1, "")); err == nil {
			sold.Add(1)
		}
	}
	check := func() {
		t.Helper()
		x.refused(x.sale(1, ""), fault.SoldOut)
		first, second := x.event.Leases[0].ID, x.event.Leases[1].ID
		if got := x.seats(); sold.Load() != 43 || got[first] != 30 || got[second] != 13 {
			t.Errorf("%d sold, %v", sold.Load(), got)
		}
		for _, l := range x.d.Leases(x.event.EventID) {
			if l.Left != 0 || l.Sold != l.Quantity {
				t.Errorf("lease is %+v", l)
			}
		}
	}
	check()
	x.again()
	check()
}

// What was sold is known after a restart, and what is left is sold then.
func TestSoldSeatsSurvive(t *testing.T) {
	x := newTill(t, 5)
	x.mustSell(3)
	x.again()
	x.refused(x.sale(3, ""), fault.SoldOut)
	x.mustSell(2)
	x.refused(x.sale(1, ""), fault.SoldOut)
	// Nothing is sold from a lease that the hub does not name.
	x.event.Leases = []line.Lease{{ID: ids.New[ids.LeaseKind](x.clock.Now()), TicketTypeID: x.types[0].ID, Quantity: 1,
		Target: 1}}
	x.tell(0)
	x.mustSell(1)
	x.event.Leases = nil
	x.tell(0)
	x.refused(x.sale(1, ""), fault.SoldOut)
}

// The same key is the same sale: at the same moment, later, after a restart, and when the doors were given back.
func TestSaleIsSoldOnce(t *testing.T) {
	x := newTill(t, 10)
	answers := make([]api.Sale, 16)
	var tills sync.WaitGroup
	for i := range answers {
		tills.Go(func() {
			sale, _, err := x.sell(x.sale(2, "key"))
			if err != nil {
				t.Error(err)
			}
			answers[i] = sale
		})
	}
	tills.Wait()
	want := fmt.Sprint(answers[0])
	same := func() {
		t.Helper()
		sale, replayed, err := x.sell(x.sale(2, "key"))
		if fmt.Sprint(sale) != want || !replayed || err != nil {
			t.Errorf("sold %+v %v %v, want %s", sale, replayed, err, want)
		}
		if n := len(x.journal()); n != 1 {
			t.Errorf("%d entries", n)
		}
	}
	for _, a := range answers {
		if fmt.Sprint(a) != want || len(a.Tickets) != 2 {
			t.Errorf("sold %+v, want %s", a, want)
		}
	}
	same()
	x.again()
	same()
	x.refused(x.sale(3, "key"), fault.Unprocessable)
	if _, err := x.d.Give(x.event.EventID); err != nil {
		t.Fatal(err)
	}
	if _, replayed, err := x.sell(x.sale(2, "key")); !replayed || err != nil {
		t.Errorf("after the doors were given back: %v %v", replayed, err)
	}
	if err := x.d.ForgetAnswers(x.clock.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	x.refused(x.sale(2, "key"), fault.Conflict)
}

// A ticket that was sold is admitted at once, and once; after a restart; and after a hub that has not heard of it has
// sent all tickets anew.
func TestSoldTicketIsGood(t *testing.T) {
	x := newTill(t, 10)
	s := x.sale(3, "")
	s.Attendees = []api.Attendee{{Name: "Zoë"}}
	sale, _, err := x.sell(s)
	if err != nil {
		t.Fatal(err)
	}
	expect := func(i int, want string) {
		t.Helper()
		v := x.scan(sale.Tickets[i].Code, "north")
		if v.Result != want || v.Unknown || v.Ticket == nil || v.Ticket.Order != sale.OrderID {
			t.Errorf("%+v, want %s", v, want)
		}
	}
	expect(0, api.Admitted)
	expect(0, api.AlreadyAdmitted)
	x.again()
	expect(0, api.AlreadyAdmitted)
	expect(1, api.Admitted)
	x.event.Generation++
	x.follow(x.said())
	x.read(ticket("Max", 1))
	expect(0, api.AlreadyAdmitted)
	expect(2, api.Admitted)
	x.again()
	expect(1, api.AlreadyAdmitted)
	expect(2, api.AlreadyAdmitted)
	found, err := x.d.Search(x.event.EventID, "zoe", 10)
	if err != nil || len(found) != 1 || found[0].Status != api.TicketAdmitted {
		t.Errorf("found %+v %v", found, err)
	}
}

// From a closing lease nothing more is sold, and the journal says so after all of its sales, once.
func TestClosingLease(t *testing.T) {
	x := newTill(t, 100)
	var tills sync.WaitGroup
	for range 4 {
		tills.Go(func() {
			for range 25 {
				if _, err := x.d.Sell(t.Context(), x.sale(1, "")); err != nil {
					if !fault.Is(err, fault.SoldOut) {
						t.Error(err)
					}
					return
				}
			}
		})
	}
	x.event.Leases[0].Closing = true
	x.tell(0)
	tills.Wait()
	x.refused(x.sale(1, ""), fault.SoldOut)
	x.tell(0)
	x.again()
	x.tell(0)
	x.refused(x.sale(1, ""), fault.SoldOut)
	entries := x.journal()
	for i, e := range entries {
		if last := i == len(entries)-1; (e.LeaseDone == x.event.Leases[0].ID) != last || (e.Sale == nil) != last {
			t.Errorf("entry %d of %d is %+v", i+1, len(entries), e)
		}
	}
}

// Seats that the hub wants back are given back as far as they are not sold, once, and the hub's old number does not
// bring them back.
func TestLeaseIsCut(t *testing.T) {
	x := newTill(t, 10)
	x.mustSell(6)
	x.event.Leases[0].Target = 4
	x.tell(0)
	x.tell(1) // the sale is there, and the cut is not
	x.again()
	x.tell(1)
	entries := x.journal()
	if len(entries) != 2 || entries[1].LeaseCut == nil || *entries[1].LeaseCut != (line.LeaseCut{
		LeaseID: x.event.Leases[0].ID, Quantity: 4}) {
		t.Fatalf("journal is %+v", entries)
	}
	x.refused(x.sale(1, ""), fault.SoldOut)
	x.event.Leases[0].Quantity, x.event.Leases[0].Target = 8, 8 // the hub has the cut, and adds two seats
	x.tell(2)
	x.mustSell(2)
	x.refused(x.sale(1, ""), fault.SoldOut)
}

// Doors that are given back end the leases, after all sales.
func TestGivenBackDoorsSellNoMore(t *testing.T) {
	x := newTill(t, 10, 5)
	x.mustSell(2)
	for range 2 {
		last, err := x.d.Give(x.event.EventID)
		entries := x.journal()
		if err != nil || last != 3 || len(entries) != 3 || entries[0].Sale == nil {
			t.Fatalf("%d %v, %+v", last, err, entries)
		}
		for i, e := range entries[1:] {
			if e.LeaseDone != x.event.Leases[i].ID {
				t.Errorf("entry is %+v", e)
			}
		}
		x.refused(x.sale(1, ""), fault.Conflict)
		x.again()
	}
}

// Another computer of the venue has the doors: this one sells nothing, and says nothing of its leases.
func TestForeignDoorsSellNothing(t *testing.T) {
	x := newTill(t, 10)
	x.event.Epoch, x.event.Leases[0].Closing = 2, true
	x.tell(0)
	x.refused(x.sale(1, ""), fault.Conflict)
	if entries, _ := x.d.Journal(2000); len(entries) != 0 {
		t.Errorf("journal is %+v", entries)
	}
}

// The most tickets of a sale are what the hub allows an order, as it last said.
func TestLimitOfTheHub(t *testing.T) {
	x := newTill(t, 100)
	x.mustSell(20)
	x.refused(x.sale(21, ""), fault.Invalid)
	for _, limit := range []int{3, 40} {
		x.event.MaxPerOrder = limit
		x.tell(0)
		x.again()
		x.mustSell(limit)
		x.refused(x.sale(limit+1, ""), fault.Invalid)
	}
}

// Wrong sales are told what is wrong with them, and change nothing.
func TestWrongSales(t *testing.T) {
	x := newTill(t, 100)
	for name, c := range map[string]struct {
		change func(*doors.Sale)
		field  string
	}{
		"no items":      {func(s *doors.Sale) { s.Items = nil }, "items"},
		"none":          {func(s *doors.Sale) { s.Items[0].Quantity = 0 }, "items[0].quantity"},
		"fewer":         {func(s *doors.Sale) { s.Items[0].Quantity = -1 }, "items[0].quantity"},
		"too many":      {func(s *doors.Sale) { s.Items[0].Quantity = 21 }, "items[0].quantity"},
		"another type":  {func(s *doors.Sale) { s.Items[0].TicketTypeID = ids.New[ids.TicketTypeKind](time.Now()) }, "items[0].ticket_type_id"},
		"named twice":   {func(s *doors.Sale) { s.Items = append(s.Items, s.Items[0]) }, "items[1].ticket_type_id"},
		"most of order": {func(s *doors.Sale) { s.Items[0].TicketTypeID, s.Items[0].Quantity = x.types[1].ID, 4 }, "items[0].quantity"},
		"no method":     {func(s *doors.Sale) { s.Payment.Method = "" }, "payment.method"},
		"gold":          {func(s *doors.Sale) { s.Payment.Method = "gold" }, "payment.method"},
		"free":          {func(s *doors.Sale) { s.Payment.Method = api.PaidNot }, "payment.method"},
		"gift for cash": {func(s *doors.Sale) { s.Items[0].TicketTypeID = x.types[1].ID }, "payment.method"},
		"two lines":     {func(s *doors.Sale) { s.Payment.Reference = "a\nb" }, "payment.reference"},
		"attendees":     {func(s *doors.Sale) { s.Attendees = make([]api.Attendee, 2) }, "attendees"},
		"email":         {func(s *doors.Sale) { s.Attendees = []api.Attendee{{Email: "x"}} }, "attendees[0].email"},
		"name":          {func(s *doors.Sale) { s.Attendees = []api.Attendee{{Name: strings.Repeat("x", 201)}} }, "attendees[0].name"},
	} {
		s := x.sale(1, "")
		c.change(s)
		_, _, err := x.sell(s)
		if f := fault.From(err); !fault.Is(err, fault.Invalid) || len(f.Fields) == 0 ||
			!strings.HasPrefix(f.Fields[0].Field, c.field) {
			t.Errorf("%s: %v", name, err)
		}
	}
	s := x.sale(1, "")
	s.Items[0].TicketTypeID, s.Payment.Method = x.types[1].ID, api.PaidNot
	x.refused(s, fault.SoldOut) // there is no lease of it
	x.clock.Advance(4 * time.Hour)
	x.refused(x.sale(1, ""), fault.Conflict)
	x.event.Offer.Event.EndsAt, x.event.Offer.Event.Status = x.clock.Now().Add(time.Hour), api.EventCancelled
	x.tell(0)
	x.refused(x.sale(1, ""), fault.Conflict)
	if entries := x.journal(); len(entries) != 0 {
		t.Errorf("journal is %+v", entries)
	}
}
