package venues_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/edge"
	"github.com/starlightsymphony/starlight/svc/system/systemtest"
)

// crowd is an evening at a venue: gates that scan, tills that sell from leases, and a system that meanwhile sells to
// others, has orders expire, and refunds and transfers tickets. It remembers all that was answered.
type crowd struct {
	h     *systemtest.Hall
	t     *testing.T
	pace  time.Duration // of a gate, from one scan to the next
	began time.Time
	stop  chan struct{}
	wg    sync.WaitGroup

	owner, friend atomic.Pointer[string] // tokens, which run out
	supervisor    string                 // token at the venue, which a line is not needed for

	scanned, sold, served atomic.Int64 // answers at gates, at tills, and at the system

	mu      sync.Mutex
	tickets []api.SaleTicket // to be shown, the newest last
	scans   map[ids.Ticket][]porcupine.Operation
	answers map[string]int      // of gates, by result
	sales   []api.Sale          // of tills, and not taken back
	back    []api.Sale          // that were
	orders  []api.Order         // paid at the system, and neither refunded nor transferred
	undone  map[ids.Ticket]bool // whose admission was taken back, or may have been: each once
	failed  map[string]int      // what was not answered as it should be, by who asked
	last    string              // of these
}

// forever is when a scan has returned whose answer was lost.
const forever = 1 << 62

func newCrowd(h *systemtest.Hall, pace time.Duration) *crowd {
	return &crowd{h: h, t: h.Hub.T, pace: pace, began: time.Now(), stop: make(chan struct{}), answers: map[string]int{},
		scans: map[ids.Ticket][]porcupine.Operation{}, undone: map[ids.Ticket]bool{}, failed: map[string]int{}}
}

// always does something until the end, with a pause in between.
func (x *crowd) always(n int, pause time.Duration, do func()) {
	for range n {
		x.wg.Go(func() {
			for {
				select {
				case <-x.stop:
					return
				case <-time.After(rand.N(2*pause) + time.Millisecond):
					do()
				}
			}
		})
	}
}

// open begins.
func (x *crowd) open(gates, tills int) {
	var got edge.Token
	testkit.Eventually(x.t, time.Minute, func() error {
		return systemtest.Did(x.h.Edge, "POST", "/v1/sessions", "", api.Login{Email: systemtest.AdminEmail, Password: systemtest.Password}, &got, "", 201)
	})
	x.supervisor = got.AccessToken
	x.always(gates, x.pace, func() { x.scan("gate", x.h.Edge, x.h.Pass) })
	x.always(max(gates/10, 1), x.pace, x.leave)
	x.always(1, 3*x.pace, x.supervise)
	x.always(tills, 4*x.pace, x.till)
	x.always(1, 4*x.pace, func() { x.scan("desk", x.h.Hub, *x.owner.Load()) })
	x.always(1, 2*x.pace, x.counter)
	x.always(2, 2*x.pace, x.buyer)
	x.always(1, 4*x.pace, x.regret)
}

func (x *crowd) end() {
	close(x.stop)
	x.wg.Wait()
}

// ask reports whether a request got the answer that it should, decoded into what, and remembers it if not.
func (x *crowd) ask(who string, s *systemtest.Site, method, path, token string, body, into any, key string, want int) (systemtest.Answer, bool) {
	got, err := s.Send(method, path, token, body, "Idempotency-Key", key)
	if err == nil && got.Status == want && got.Decode(into) == nil {
		return got, true
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.failed[who]++
	x.last = fmt.Sprintf("%s: %s %s: %d %s %v", who, method, path, got.Status, got.Body, err)
	return got, false
}

// show adds tickets that may be shown at a door.
func (x *crowd) show(tickets ...api.SaleTicket) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.tickets = append(x.tickets, tickets...)
}

// any returns a ticket, rather one of the newest.
func (x *crowd) any() (api.SaleTicket, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	n := len(x.tickets)
	if n == 0 {
		return api.SaleTicket{}, false
	}
	if rand.IntN(3) > 0 {
		return x.tickets[n-1-rand.IntN(min(n, 50))], true
	}
	return x.tickets[rand.IntN(n)], true
}

// scan shows a ticket at a door. One in three is shown at two doors at once.
func (x *crowd) scan(who string, s *systemtest.Site, token string) {
	ticket, ok := x.any()
	if !ok {
		return
	}
	if who == "gate" && rand.IntN(3) == 0 {
		x.wg.Go(func() { x.scanOne(who, s, token, ticket) })
	}
	x.scanOne(who, s, token, ticket)
}

func (x *crowd) scanOne(who string, s *systemtest.Site, token string, ticket api.SaleTicket) {
	var result api.AdmissionResult
	call := x.since()
	got, ok := x.ask(who, s, "POST", x.h.At("/admissions"), token, api.Admission{Code: ticket.Code, Gate: who}, &result, "", 200)
	if ok {
		x.scanned.Add(1)
	}
	x.note(ticket.ID, call, "scan", result.Result, got.Status)
}

// leave shows the ticket of somebody who goes out, and may come in again.
func (x *crowd) leave() {
	ticket, ok := x.any()
	if !ok {
		return
	}
	var result edge.Exit
	call := x.since()
	got, _ := x.ask("leave", x.h.Edge, "POST", x.h.At("/exits"), x.h.Pass, api.Admission{Code: ticket.Code, Gate: "out"}, &result, "", 200)
	x.note(ticket.ID, call, "exit", result.Result, got.Status)
}

// supervise takes an admission back that the venue's list has among its newest, as a supervisor does, and asks until it
// is known what became of that. A ticket is left alone then, so that an admission is taken back once.
func (x *crowd) supervise() {
	var list api.List[api.Scan]
	if _, ok := x.ask("supervisor", x.h.Edge, "GET", x.h.At("/admissions?limit=100"), x.supervisor, nil, &list, "", 200); !ok {
		return
	}
	x.mu.Lock()
	i := slices.IndexFunc(list.Items, func(s api.Scan) bool { return s.Result == api.Admitted && !x.undone[s.TicketID] })
	if i < 0 {
		x.mu.Unlock()
		return
	}
	scan := list.Items[i]
	x.undone[scan.TicketID] = true
	x.mu.Unlock()
	call, lost := x.since(), false
	for {
		got, ok := x.ask("supervisor", x.h.Edge, "DELETE", x.h.At("/admissions/"+scan.ID.String()), x.supervisor, nil, nil, "", 200)
		switch {
		case ok:
			x.note(scan.TicketID, call, "undo", "undone", got.Status)
			return
		case got.Status >= 400 && got.Status < 500 && !lost: // somebody went out, or the doors are the system's
			x.note(scan.TicketID, call, "undo", "", got.Status)
			return
		case got.Status >= 400 && got.Status < 500: // it may have been taken back before
			x.note(scan.TicketID, call, "undo", "", 0)
			return
		}
		lost = lost || got.Status != 503
		select {
		case <-x.stop:
			x.note(scan.TicketID, call, "undo", "", 0)
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (x *crowd) since() int64 { return time.Since(x.began).Nanoseconds() }

// note remembers what was answered to something that was done with a ticket.
func (x *crowd) note(id ids.Ticket, call int64, what, result string, status int) {
	op := porcupine.Operation{Input: what, Call: call, Output: result, Return: x.since()}
	switch {
	case status == 200:
	case status >= 400 && status < 500, status == 503: // nothing was decided
		op.Output = "refused"
	default:
		op.Output, op.Return = "lost", forever
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.answers[op.Output.(string)]++
	if op.Output == "refused" {
		return // which says nothing of the door
	}
	op.ClientId = len(x.scans[id])
	x.scans[id] = append(x.scans[id], op)
}

// till sells at the venue, and asks again until it knows.
func (x *crowd) till() {
	key := fmt.Sprintf("till-%d", rand.Uint64())
	sale := x.h.Sale(1 + rand.IntN(2))
	for {
		var sold api.Sale
		got, ok := x.ask("till", x.h.Edge, "POST", api.CreateSale.Path, x.h.Pass, sale, &sold, key, 201)
		if ok {
			x.sold.Add(1)
			x.show(sold.Tickets...)
			if rand.IntN(4) == 0 && x.reverse(sold) {
				return
			}
			x.mu.Lock()
			x.sales = append(x.sales, sold)
			x.mu.Unlock()
		}
		if ok || got.Status >= 400 && got.Status < 500 {
			return
		}
		select {
		case <-x.stop: // it is not known
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// reverse takes a sale back at the venue, and reports whether it did: not if a ticket was admitted by then.
func (x *crowd) reverse(sale api.Sale) (done bool) {
	call := x.since()
	for {
		path := strings.ReplaceAll(api.ReverseSale.Path, "{id}", sale.OrderID.String())
		got, ok := x.ask("reversal", x.h.Edge, "POST", path, x.h.Pass, api.ReverseSaleRequest{Reason: "wrong slip"}, nil, "", 200)
		if ok || got.Status >= 400 && got.Status < 500 {
			for _, t := range sale.Tickets {
				x.note(t.ID, call, "reversal", "reversed", got.Status)
			}
			x.mu.Lock()
			defer x.mu.Unlock()
			if ok {
				x.back = append(x.back, sale)
			}
			return ok
		}
		select {
		case <-x.stop: // it is not known
			for _, t := range sale.Tickets {
				x.note(t.ID, call, "reversal", "", 0)
			}
			return true // which of the two it is, nobody says
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// counter sells at the system.
func (x *crowd) counter() {
	var sold api.Sale
	if _, ok := x.ask("counter", x.h.Hub, "POST", api.CreateSale.Path, *x.owner.Load(), x.h.Sale(2), &sold,
		fmt.Sprintf("counter-%d", rand.Uint64()), 201); ok {
		x.served.Add(1)
		x.show(sold.Tickets...)
	}
}

// buyer orders at the system, and pays every second order; the others expire.
func (x *crowd) buyer() {
	var o api.Order
	token := *x.owner.Load()
	if _, ok := x.ask("buyer", x.h.Hub, "POST", "/v1/orders", token, systemtest.Seats(x.h.Event, 1), &o, "", 201); !ok || rand.IntN(2) == 0 {
		return
	}
	x.served.Add(1)
	var p api.Payment
	if _, ok := x.ask("buyer", x.h.Hub, "POST", "/v1/orders/"+o.ID.String()+"/payments", token, api.NewPayment{Provider: "sandbox"}, &p, "", 201); !ok {
		return
	}
	if _, ok := x.ask("buyer", x.h.Hub, "POST", "/v1/sandbox/payments/"+p.ID.String(), "", api.SandboxOutcome{Outcome: "succeeded"}, nil, "", 202); !ok {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	o.PaymentID = p.ID
	x.orders = append(x.orders, o)
}

// regret shows the tickets of an order that was paid, and then gives it back, or hands its ticket to a friend.
func (x *crowd) regret() {
	x.mu.Lock()
	if len(x.orders) == 0 {
		x.mu.Unlock()
		return
	}
	o := x.orders[0]
	x.orders = x.orders[1:]
	x.mu.Unlock()
	token := *x.owner.Load()
	var list api.List[api.Ticket]
	if _, ok := x.ask("regret", x.h.Hub, "GET", "/v1/orders/"+o.ID.String()+"/tickets", token, nil, &list, "", 200); !ok || len(list.Items) == 0 {
		return
	}
	ticket := list.Items[0]
	x.show(api.SaleTicket{ID: ticket.ID, Code: ticket.Code})
	x.served.Add(1)
	switch rand.IntN(3) {
	case 0:
		x.ask("regret", x.h.Hub, "POST", "/v1/payments/"+o.PaymentID.String()+"/refunds", token, api.NewRefund{}, nil, "refund-"+o.ID.String(), 201)
	case 1:
		at := "/v1/tickets/" + ticket.ID.String()
		x.ask("regret", x.h.Hub, "POST", at+"/transfer", token, api.Transfer{Email: friendEmail}, nil, "", 200)
		var now api.Ticket
		if _, ok := x.ask("regret", x.h.Hub, "GET", at, *x.friend.Load(), nil, &now, "", 200); ok {
			x.show(api.SaleTicket{ID: now.ID, Code: now.Code})
		}
	}
}

const friendEmail = "friend@example.org"

// signIn gets fresh tokens.
func (x *crowd) signIn() {
	x.t.Helper()
	for email, token := range map[string]*atomic.Pointer[string]{systemtest.AdminEmail: &x.owner, friendEmail: &x.friend} {
		var got api.Tokens
		testkit.Eventually(x.t, time.Minute, func() error {
			return systemtest.Did(x.h.Hub, "POST", "/v1/sessions", "", api.Login{Email: email, Password: systemtest.Password}, &got, "", 201)
		})
		token.Store(&got.AccessToken)
	}
	x.h.Owner = *x.owner.Load()
}

// through waits until so many more scans, sales, and answers of the system have come.
func (x *crowd) through(scans, sales, served int64) {
	x.t.Helper()
	scans, sales, served = scans+x.scanned.Load(), sales+x.sold.Load(), served+x.served.Load()
	testkit.Eventually(x.t, 90*time.Second, func() error {
		if more := max(scans-x.scanned.Load(), 0) + max(sales-x.sold.Load(), 0) + max(served-x.served.Load(), 0); more > 0 {
			return fmt.Errorf("%d answers are missing: %s", more, x.lastFailure())
		}
		return nil
	})
}

func (x *crowd) lastFailure() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.last
}

// answered returns how often an answer was given.
func (x *crowd) answered(what string) int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.answers[what]
}

// failures returns how often the venue has not answered.
func (x *crowd) failures() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.failed["gate"]
}

// check proves from what was answered that all doors together were like one, and that each sale is an order.
func (x *crowd) check(steps *hallSteps) {
	x.t.Helper()
	for id, ops := range x.scans {
		if result := porcupine.CheckOperationsTimeout(doorModel(), inOrder(ops), 20*time.Second); result != porcupine.Ok {
			text, _ := json.Marshal(ops)
			x.t.Errorf("the doors were not like one for ticket %s: %s %s", id, result, text)
		}
	}
	x.mutate()
	for _, sale := range x.sales {
		if err := steps.booked(sale); err != nil {
			x.t.Error(err)
		}
	}
	for _, sale := range x.back {
		if err := systemtest.Did(x.h.Hub, "GET", "/v1/orders/"+sale.OrderID.String(), x.h.Owner, nil, nil, "", 200); err != nil {
			x.t.Error(err)
		}
		x.h.Hub.Await(x.h.Owner, api.Order{ID: sale.OrderID}, api.OrderRefunded)
	}
	x.t.Logf("%d sales were taken back", len(x.back))
	x.t.Logf("answers at the doors: %v; %d sales at tills; not answered: %v", x.answers, len(x.sales), x.failed)
	if x.answers[api.Admitted] < 50 || x.answers[api.AlreadyAdmitted] < 50 || len(x.sales) < 10 || x.answers[api.Exited] < 10 ||
		x.answers["undone"] < 5 {
		x.t.Error("an evening that proves nothing")
	}
}

// mutate takes what let a ticket be admitted once more out of what was answered, and proves that this is found.
func (x *crowd) mutate() {
	x.t.Helper()
	proven := 0
	for _, ops := range x.scans {
		counts := map[string]int{}
		for _, op := range ops {
			counts[fmt.Sprint(op.Input, " ", op.Output)]++
		}
		again := counts["exit exited"] + counts["undo undone"]
		// Each admission after the first one needs all of them, and there is nothing of which the answer is not known.
		if counts["exit lost"]+counts["undo lost"] > 0 || again == 0 || counts["scan admitted"] != again+1 {
			continue
		}
		i := slices.IndexFunc(ops, func(op porcupine.Operation) bool { return op.Output == "undone" || op.Output == api.Exited })
		less := slices.Delete(slices.Clone(ops), i, i+1)
		if result := porcupine.CheckOperationsTimeout(doorModel(), inOrder(less), 20*time.Second); result == porcupine.Ok {
			x.t.Errorf("without %v nobody finds that a ticket was admitted twice: %+v", ops[i], less)
		}
		proven++
	}
	if x.t.Logf("%d tickets were let in again", proven); proven == 0 {
		x.t.Error("nobody came in again")
	}
}

// numbers proves that the organizer's numbers are those of the scans.
func (x *crowd) numbers() {
	x.t.Helper()
	inside, unclear := doorsRecord{x.h.Scans(x.h.Edge, x.h.Pass), x.h.Scans(x.h.Hub, x.h.Owner)}.inside()
	testkit.Eventually(x.t, 60*time.Second, func() error {
		var got struct {
			Admitted int `json:"admitted"`
		}
		if err := systemtest.Did(x.h.Hub, "GET", x.h.At("/analytics"), x.h.Owner, nil, &got, "", 200); err != nil {
			return err
		}
		if got.Admitted < len(inside) || got.Admitted > len(inside)+len(unclear) {
			return fmt.Errorf("%d came in, and %d of which it is unclear: analytics has %d", len(inside), len(unclear), got.Admitted)
		}
		return nil
	})
}
