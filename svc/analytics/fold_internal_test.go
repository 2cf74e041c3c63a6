package analytics

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
	"pgregory.net/rapid"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/document"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

func TestMain(m *testing.M) {
	if os.Getenv(foldDirEnv) != "" {
		foldAndDie()
	}
	testkit.Main(m)
}

var testStart = time.Date(2027, 3, 27, 20, 0, 0, 0, time.UTC)

func typeNumber(i int) ids.TicketType { return ids.Derive[ids.TicketTypeKind](fmt.Sprint(i)) }

func person(name string) ids.User { return ids.Derive[ids.UserKind](name) }

// published is one fact, as a stream holds it.
type published struct {
	subject string
	data    []byte
}

func publish(subject string, v any) published {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return published{subject, data}
}

// recount is the naive recount: what was done, kept while it is done.
type recount struct {
	held, paid, expired, cancelled, refunded, sold, revoked, admitted, revenue, refunds int64
	minutes                                                                             map[int64]int64 // tickets sold
	gates                                                                               map[string]int64
}

// history makes what may happen to orders of an event, and its recount.
func history(t *rapid.T, event ids.Event) ([]published, *recount) {
	l := &recount{minutes: map[int64]int64{}, gates: map[string]int64{}}
	var facts []published
	for i := range rapid.IntRange(1, 12).Draw(t, "orders") {
		made := testStart.Add(time.Duration(rapid.IntRange(0, 300).Draw(t, "made")) * time.Minute)
		paidAt := made.Add(time.Minute)
		n := rapid.IntRange(1, 4).Draw(t, "quantity")
		typ := typeNumber(rapid.IntRange(0, 1).Draw(t, "type"))
		o := api.Order{ID: ids.Derive[ids.OrderKind](fmt.Sprint(i)), EventID: event,
			UserID: ids.Derive[ids.UserKind](fmt.Sprint(i)), Status: api.OrderPending, CreatedAt: made,
			UpdatedAt: paidAt,
			Items: []api.OrderItem{{TicketTypeID: typ, Quantity: n,
				UnitPrice: api.Money{Amount: 1000, Currency: "EUR"}}},
			Total: api.Money{Amount: int64(n) * 1000, Currency: "EUR"}}
		facts = append(facts, publish(api.OrderWasHeld.Subject, api.OrderEvent{Order: o}))
		l.held++
		switch rapid.SampledFrom([]string{"paid", "paid", "paid", "expired", "cancelled", "late"}).Draw(t, "end") {
		case "expired":
			facts = append(facts, publish(api.OrderHasExpired.Subject, api.OrderEvent{Order: o}))
			l.expired++
			continue
		case "cancelled":
			facts = append(facts, publish(api.OrderWasCancelled.Subject, api.OrderEvent{Order: o}))
			l.cancelled++
			continue
		case "late": // money that came for an expired order goes back: it was never revenue
			facts = append(facts, publish(api.OrderHasExpired.Subject, api.OrderEvent{Order: o}),
				publish(api.RefundHasSucceeded.Subject,
					api.RefundEvent{Refund: api.Refund{ID: ids.Derive[ids.RefundKind]("late", string(o.ID)),
						OrderID: o.ID, PaymentID: ids.Derive[ids.PaymentKind]("late"), Amount: o.Total,
						UpdatedAt: paidAt}}))
			l.expired++
			continue
		}
		o.Status, o.PaidAt, o.PaymentID = api.OrderPaid, &paidAt, ids.Derive[ids.PaymentKind](string(o.ID))
		facts = append(facts, publish(api.OrderWasPaid.Subject, api.OrderEvent{Order: o}))
		l.paid++
		l.sold += int64(n)
		l.revenue += o.Total.Amount
		l.minutes[minuteOf(paidAt)] += int64(n)
		gone := 0
		if rapid.Bool().Draw(t, "refund") {
			gone = rapid.IntRange(1, n).Draw(t, "tickets")
		}
		for k := range gone {
			at := paidAt.Add(time.Duration(k) * time.Hour)
			refund := api.Refund{ID: ids.Derive[ids.RefundKind](fmt.Sprint(i), fmt.Sprint(k)), OrderID: o.ID,
				PaymentID: o.PaymentID, Amount: api.Money{Amount: 1000, Currency: "EUR"}, UpdatedAt: at}
			l.revoked++
			l.refunds += 1000
			facts = append(facts, publish(api.TicketWasRevoked.Subject,
				api.TicketEvent{TicketID: ids.Derive[ids.TicketKind](fmt.Sprint(i), fmt.Sprint(k)), EventID: event,
					TicketTypeID: typ, OwnerID: o.UserID, At: at}))
			if rapid.Bool().Draw(t, "exchanged") { // its price pays another order
				facts = append(facts, publish(api.TicketsWereExchanged.Subject, api.ExchangeEvent{RefundID: refund.ID,
					OrderID: o.ID, EventID: event, PaymentID: o.PaymentID, Credit: refund.Amount, At: at}))
				continue
			}
			facts = append(facts, publish(api.RefundHasSucceeded.Subject, api.RefundEvent{Refund: refund}))
			// after it had succeeded
			fails := rapid.SampledFrom([]string{"", "", "fails", "is repeated"}).Draw(t, "refund fails")
			if fails != "" {
				refund.UpdatedAt = at.Add(24 * time.Hour)
				facts = append(facts, publish(api.RefundHasFailed.Subject, api.RefundEvent{Refund: refund}))
				l.refunds -= 1000
			}
			if fails == "is repeated" {
				refund.UpdatedAt = at.Add(48 * time.Hour)
				facts = append(facts, publish(api.RefundHasSucceeded.Subject, api.RefundEvent{Refund: refund}))
				l.refunds += 1000
			}
		}
		if gone == n {
			facts = append(facts, publish(api.OrderWasRefunded.Subject, api.OrderEvent{Order: o}))
			l.refunded++
		}
		for k := gone; k < n; k++ {
			if !rapid.Bool().Draw(t, "comes") {
				continue
			}
			gate := rapid.SampledFrom([]string{"north", "south"}).Draw(t, "gate")
			at := paidAt.Add(time.Duration(k+1) * 24 * time.Hour)
			entry := api.TicketEvent{TicketID: ids.Derive[ids.TicketKind](fmt.Sprint(i), fmt.Sprint(k)), EventID: event,
				TicketTypeID: typ, OwnerID: o.UserID, Gate: gate, At: at}
			facts = append(facts, publish(api.TicketAdmission.Subject, entry))
			undo := publish(api.TicketAdmissionUndone.Subject, entry)
			switch rapid.SampledFrom([]string{"", "", "undone", "comes again"}).Draw(t, "undone") {
			case "undone":
				facts = append(facts, undo)
				continue
			case "comes again":
				gate = "west"
				entry.Gate, entry.At = gate, at.Add(time.Minute)
				facts = append(facts, undo, publish(api.TicketAdmission.Subject, entry))
			}
			if rapid.Bool().Draw(t, "twice") { // two doors that were cut off from each other
				entry.Gate, entry.At = "east", at.Add(time.Hour)
				facts = append(facts, publish(api.TicketAdmission.Subject, entry))
			}
			l.admitted++
			l.gates[gate]++
		}
	}
	return facts, l
}

// toEvents is a follower of EVENTS without anything around it.
var toEvents = follower{stream: api.EventsStream, read: new(reader).read}

// bare returns a service with a read model and nothing else.
func bare(dir string) (*Service, error) {
	db, err := openFile(dir)
	if err != nil {
		return nil, err
	}
	fonts, err := document.NewFonts(document.FontConfig{BuiltInOnly: true})
	if err != nil {
		return nil, err
	}
	s := &Service{db: db, fonts: fonts, now: func() time.Time { return testStart }, progress: newProgress(),
		touched: map[ids.Event]uint64{}, metrics: observe.NewRegistry()}
	s.progress.setEnd(api.EventsStream, 0, testStart)
	s.progress.setEnd(api.AnalyticsStream, 0, testStart)
	return s, nil
}

// Whatever the order, the repetitions and the groups in which facts come: analytics are what a recount says.
func TestFoldAnyHistory(t *testing.T) {
	event := ids.Derive[ids.EventKind]("1")
	dir := t.TempDir()
	run := 0
	rapid.Check(t, func(t *rapid.T) {
		run++
		s, err := bare(fmt.Sprintf("%s/%d", dir, run))
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		s.db.NoSync = true
		facts, want := history(t, event)
		for range rapid.IntRange(0, len(facts)).Draw(t, "duplicates") {
			facts = append(facts, facts[rapid.IntRange(0, len(facts)-1).Draw(t, "which")])
		}
		facts = rapid.Permutation(facts).Draw(t, "order")
		seq := uint64(0)
		for len(facts) > 0 {
			var group []message
			last := seq
			for _, f := range facts[:rapid.IntRange(1, len(facts)).Draw(t, "group")] {
				seq++
				c, err := new(reader).read(f.subject, f.data, testStart)
				if err != nil {
					t.Fatal(err)
				}
				group = append(group, message{seq: seq, change: c})
			}
			facts = facts[len(group):]
			if err := s.commit(toEvents, last, group); err != nil {
				t.Fatal(err)
			}
		}
		err = s.db.View(func(tx *bolt.Tx) error {
			c := total(tx, event, byEvent, "")
			got := counts{nHeld: want.held, nPaid: want.paid, nExpired: want.expired, nCancelled: want.cancelled,
				nRefunded: want.refunded, nSold: want.sold,
				nRevoked: want.revoked, nAdmitted: want.admitted, nRevenue: want.revenue, nRefunds: want.refunds}
			if c != got {
				t.Fatalf("analytics %v, recount %v", c, got)
			}
			var sum, types counts
			minutes := map[int64]int64{}
			cells(tx, event, byEvent, "", 0, 1<<32, func(m int64, c counts) {
				sum.add(&c)
				if c[nSold] != 0 {
					minutes[m] = c[nSold]
				}
			})
			dimensions(tx, event, byType, func(_ string, c counts) { types.add(&c) })
			if sum != c || types[nSold] != c[nSold] || types[nRevoked] != c[nRevoked] ||
				types[nRevenue] != c[nRevenue] {
				t.Fatalf("cells are %v, types %v, the total %v", sum, types, c)
			}
			if !maps.Equal(minutes, want.minutes) {
				t.Fatalf("sold by minute %v, recount %v", minutes, want.minutes)
			}
			gates := map[string]int64{}
			dimensions(tx, event, byGate, func(g string, c counts) { gates[g] = c[nAdmitted] })
			if !maps.Equal(gates, want.gates) {
				t.Fatalf("gates %v, recount %v", gates, want.gates)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.commit(toEvents, seq+1, []message{{seq: seq + 2}}); err == nil {
			t.Fatal("a group was folded that does not follow the last one")
		}
	})
}

func TestUnreadable(t *testing.T) {
	for subject, data := range map[string]string{api.OrderWasPaid.Subject: "{", api.FactViews: `{"count":1}`,
		api.TicketAdmission.Subject:    `{}`,
		api.RefundHasSucceeded.Subject: `{"refund":{}}`, api.EventCreated.Subject: `[]`} {
		if c, err := new(reader).read(subject, []byte(data), testStart); err == nil || c != nil {
			t.Errorf("%s %s is readable", subject, data)
		}
	}
	if c, err := new(reader).read("ev.other.thing", []byte("{"), testStart); err != nil || c != nil {
		t.Error("what is of no interest is looked at")
	}
}
