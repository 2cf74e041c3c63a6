package faults_test

import (
	"cmp"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/system/systemtest"
)

// market is an event at which everything happens that can happen to orders, and what was answered.
type market struct {
	*systemtest.Site
	owner  string
	event  api.Event
	buyers []string // tokens
	mails  []string // of the buyers
	stop   chan struct{}

	mu      sync.Mutex
	more    int // seats of each type than at first
	paid    []had
	answers map[string]int // by what was done and how it was answered
}

// had is an order that has its tickets.
type had struct {
	token   string
	order   ids.Order
	payment ids.Payment
	tickets []api.Ticket
}

// The types of the market's event.
const (
	aStudent = iota // has a stage, and draws on the hall
	aGuest          // comes with a dinner
	aDinner
	aShirt
)

const marketCode = "early-riser"

// openMarket starts a system in a process of its own, with an event that has one of everything.
func openMarket(t *testing.T) (*market, *systemtest.Mortal) {
	t.Helper()
	hub := systemtest.StartMortal(t, "")
	hub.Unlimited(hub.Admin)
	for key, value := range map[string]string{
		"ticketing.hold_ttl": "4s", "ticketing.payment_grace": "2s", "payment.poll_after": "1s", "user.access_ttl": "30m",
		"payment.sandbox_capture_delay": "50ms", "payment.sandbox_copies": "2", "payment.sandbox_lost": "5",
	} {
		hub.Set(hub.Admin, key, value)
	}
	impatient := *hub.Site
	impatient.Timeout = 4 * time.Second // what was under way in a process that was killed gets no answer
	m := &market{Site: &impatient, owner: hub.Login(systemtest.AdminEmail), stop: make(chan struct{}), answers: map[string]int{}}
	eur := func(amount int64) api.Money { return api.Money{Amount: amount, Currency: "EUR"} }
	start := time.Now().AddDate(0, 2, 0).UTC().Truncate(time.Second)
	draft := systemtest.Call[api.Event](hub.Site, 201, "POST", "/v1/events", m.owner, api.NewEvent{Name: "Market of Lights",
		Description: "Everything is sold here.", StartsAt: start, EndsAt: start.Add(8 * time.Hour), Timezone: "Europe/Berlin",
		Location: api.Location{Name: "Hall", City: "Berlin", Country: "DE"}, Language: "en",
		Quotas: []api.NewQuota{{Name: "Hall", Capacity: 150}},
		Tax:    api.Tax{Name: "VAT", Rate: "19", Included: true},
		Fees:   []api.Fee{{Name: "Booking", Per: "ticket", Amount: eur(100)}, {Name: "Service", Per: "order", Percent: "3.5"}},
		TicketTypes: []api.NewTicketType{
			{Name: "Student", Price: eur(2000), Quantity: 110, Quotas: []string{"Hall"}, Tax: api.Tax{Name: "VAT", Rate: "7", Included: true},
				Stages: []api.Stage{{Name: "Early bird", Price: eur(1500), Quantity: 8}}},
			{Name: "Guest", Price: eur(9000), Quantity: 110, Quotas: []string{"Hall"},
				Includes: []api.IncludeProduct{{TicketTypeID: "Dinner", Quantity: 1, Price: eur(3333)}}},
			{Name: "Dinner", Kind: api.KindProduct, Per: api.PerOrder, Price: eur(4000), Quantity: 40},
			{Name: "Shirt", Kind: api.KindProduct, Per: api.PerOrder, Price: eur(1800), Quantity: 100},
		},
		OrderRules: api.OrderRules{Cancellation: api.CancellationPolicy{SelfService: true, FeePercent: 10},
			Exchange: api.ExchangePolicy{SelfService: true, OtherTypes: true, Cheaper: true, FeePerTicket: 50}}})
	systemtest.Call[api.Organizer](hub.Site, 200, "PATCH", "/v1/organizers/"+draft.OrganizerID.String(), m.owner, map[string]any{
		"legal_name": "Lights Ltd", "address": "Main Street 1, 10115 Berlin", "country": "DE", "tax_id": "DE136695976", "invoices": true,
		"invoice_prefix": "L-"})
	m.event = systemtest.Call[api.Event](hub.Site, 200, "POST", "/v1/events/"+draft.ID.String()+"/publish", m.owner, nil)
	systemtest.Call[api.PromoCode](hub.Site, 201, "POST", m.at("/codes"), m.owner, api.NewPromoCode{Code: marketCode,
		PromoTerms: api.PromoTerms{Kind: "percent", Percent: "33.33", MaxUses: 1}})
	for i := range 6 {
		mail := fmt.Sprintf("buyer%d@example.org", i)
		_, token := hub.Join(mail)
		hub.Confirm(hub.Cfg, mail)
		m.buyers, m.mails = append(m.buyers, token), append(m.mails, mail)
	}
	return m, hub
}

func (m *market) at(path string) string { return "/v1/events/" + m.event.ID.String() + path }

// try sends a request until its outcome is known, always with the same key, and counts it. It reports whether it
// succeeded.
func (m *market) try(what, method, path, token string, body, into any) bool {
	key := fmt.Sprint("market-", rand.Uint64())
	for {
		select {
		case <-m.stop:
			return false
		default:
		}
		got, err := m.Send(method, path, token, body, "Idempotency-Key", key)
		if err != nil || got.Status >= 500 || got.Status == 429 { // a killed process, or one that has just started
			<-time.After(20 * time.Millisecond)
			continue
		}
		var refused systemtest.Problem
		if got.Status < 400 && into != nil {
			err = json.Unmarshal(got.Body, into)
		} else if got.Status >= 400 {
			err = json.Unmarshal(got.Body, &refused)
		}
		if err != nil {
			m.T.Errorf("%s: %d %s", what, got.Status, got.Body)
		}
		if len(refused.Errors) > 0 && refused.Errors[0].Field == "promo_code" {
			refused.Code = "used up"
		}
		m.note(what, refused.Code)
		return got.Status < 400
	}
}

func (m *market) note(what, code string) {
	if code != "" {
		what += ": " + code
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.answers[what]++
}

// any returns one of the purchases.
func (m *market) any() (p had, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.paid) == 0 {
		return p, false
	}
	return m.paid[rand.IntN(len(m.paid))], true
}

func (m *market) items(of ...int) (all []api.NewOrderItem) {
	for _, t := range of {
		all = append(all, api.NewOrderItem{TicketTypeID: m.event.TicketTypes[t].ID, Quantity: 1 + rand.IntN(2)})
	}
	return all
}

// pay pays an order, with a declined card before it at times, and waits until it is decided.
func (m *market) pay(what, token string, o api.Order) {
	path := "/v1/orders/" + o.ID.String()
	for _, outcome := range []string{"declined", "succeeded"} {
		if outcome == "declined" && rand.IntN(6) > 0 {
			continue
		}
		var p api.Payment
		if !m.try(what+" begins to pay", "POST", path+"/payments", token, api.NewPayment{Provider: "sandbox"}, &p) ||
			!m.try(what+" "+outcome, "POST", "/v1/sandbox/payments/"+p.ID.String(), "", api.SandboxOutcome{Outcome: outcome}, nil) {
			return
		}
		if outcome == "declined" {
			until(m.Site, token, p, api.PaymentFailed)
		}
	}
	m.settle(what, token, o)
}

// settle waits until an order is not pending any more, and keeps it if it has tickets.
func (m *market) settle(what, token string, o api.Order) {
	path := "/v1/orders/" + o.ID.String()
	for range 200 {
		if !m.try("look", "GET", path, token, nil, &o) {
			return
		}
		if o.Status != api.OrderPending {
			break
		}
		<-time.After(50 * time.Millisecond)
	}
	m.note(what, o.Status)
	var tickets api.List[api.Ticket]
	if o.Status == api.OrderPaid && m.try("tickets", "GET", path+"/tickets", token, nil, &tickets) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.paid = append(m.paid, had{token, o.ID, o.PaymentID, tickets.Items})
	}
}

// order makes an order in one of many ways and pays it, or does not.
func (m *market) order() {
	req, token, what := api.NewOrder{EventID: m.event.ID}, m.buyers[rand.IntN(len(m.buyers))], "order"
	switch rand.IntN(5) {
	case 0, 1:
		req.Items = m.items(aStudent)
	case 2:
		req.Items = m.items(aStudent, aShirt)
	case 3:
		req.Items, what = m.items(aGuest), "order with a dinner"
	case 4:
		req.Items, what = m.items(aGuest, aDinner), "order with another dinner"
	}
	switch rand.IntN(8) {
	case 0:
		req.PromoCode, what = marketCode, "order with a code"
	case 1:
		if req.Items[0].TicketTypeID == m.event.TicketTypes[aStudent].ID {
			req.Items[0].MaxPrice, what = &api.Money{Amount: 1500, Currency: "EUR"}, "order as shown"
		}
	case 2:
		token, req.Email, what = "", fmt.Sprintf("guest%d@example.org", rand.IntN(5)), "order of a guest"
	}
	var o api.CreatedOrder
	if !m.try(what, "POST", "/v1/orders", token, req, &o) {
		return
	}
	if token == "" {
		token = o.AccessToken
	}
	switch rand.IntN(10) {
	case 0: // walks away
		m.settle(what, token, o.Order)
	case 1:
		m.try("give up", "POST", "/v1/orders/"+o.ID.String()+"/cancel", token, nil, nil)
	default:
		m.pay(what, token, o.Order)
	}
}

func (p had) ticket() ids.Ticket { return p.tickets[rand.IntN(len(p.tickets))].ID }

// giveBack has a buyer give a ticket back for money, less a tenth.
func (m *market) giveBack() {
	if p, ok := m.any(); ok {
		m.try("give back", "POST", "/v1/orders/"+p.order.String()+"/cancellations", p.token,
			api.NewCancellation{Tickets: []ids.Ticket{p.ticket()}}, nil)
	}
}

// refund has the organizer give the money of a ticket back.
func (m *market) refund() {
	if p, ok := m.any(); ok && p.payment != "" {
		m.try("refund", "POST", "/v1/payments/"+p.payment.String()+"/refunds", m.owner,
			api.NewRefund{OrderID: p.order, Tickets: []ids.Ticket{p.ticket()}, Reason: "kindness"}, nil)
	}
}

// exchange takes another type for a ticket, and pays what that costs more, or does not.
func (m *market) exchange() {
	p, ok := m.any()
	if !ok {
		return
	}
	to, what := rand.IntN(2), "exchange for a cheaper one"
	if to == aGuest {
		what = "exchange for a dearer one"
	}
	var o api.CreatedOrder
	if !m.try(what, "POST", "/v1/orders/"+p.order.String()+"/exchanges", p.token, api.ExchangeFor{
		Tickets: []ids.Ticket{p.ticket()}, TicketTypeID: m.event.TicketTypes[to].ID}, &o) {
		return
	}
	token := cmp.Or(o.AccessToken, p.token) // a guest has one for each order
	switch {
	case o.Status != api.OrderPending:
		m.settle(what, token, o.Order)
	case rand.IntN(3) > 0:
		m.pay(what, token, o.Order)
	}
}

func (m *market) transfer() {
	if p, ok := m.any(); ok {
		m.try("transfer", "POST", "/v1/tickets/"+p.ticket().String()+"/transfer", p.token,
			api.Transfer{Email: m.mails[rand.IntN(len(m.mails))]}, nil)
	}
}

func (m *market) scan() {
	if p, ok := m.any(); ok {
		t := p.tickets[rand.IntN(len(p.tickets))]
		var a api.AdmissionResult
		if m.try("scan", "POST", m.at("/admissions"), m.owner, api.Admission{Code: t.Code, Gate: "north"}, &a) {
			m.note("scan", a.Result)
		}
	}
}

// counter sells at the box office, and takes some of it back.
func (m *market) counter() {
	var sale api.Sale
	if m.try("counter", "POST", "/v1/box-office/sales", m.owner, api.NewSale{EventID: m.event.ID,
		Items: m.items(aStudent, aShirt), Payment: api.BoxOfficePayment{Method: "cash"}}, &sale) && rand.IntN(2) == 0 {
		m.try("counter takes back", "POST", "/v1/box-office/sales/"+sale.OrderID.String()+"/reversal", m.owner, nil, nil)
	}
}

// staff gives tickets away, and makes orders that are paid later.
func (m *market) staff() {
	free := rand.IntN(2) == 0
	what := "order by staff"
	if free {
		what = "complimentary"
	}
	req := api.StaffOrder{Items: m.items(aStudent), Email: "friend@example.org", Complimentary: free}
	if !free {
		soon := time.Now().Add(5 * time.Second)
		req.HoldUntil = &soon
	}
	m.try(what, "POST", m.at("/orders"), m.owner, req, nil)
}

// load takes orders over from a file.
func (m *market) load() {
	var i api.Import
	file := fmt.Sprintf("email,ticket_type,price\nmoved%d@example.org,Student,0\n", rand.IntN(1000))
	if m.try("import", "POST", m.at("/imports"), m.owner, []byte(file), &i) {
		m.try("import starts", "POST", m.at("/imports/"+i.ID.String()+"/start"), m.owner, api.ImportStart{}, nil)
	}
}

// resize changes how many there are, between what the house can bear.
func (m *market) resize() {
	m.mu.Lock()
	more := m.more
	m.mu.Unlock()
	of := rand.IntN(3)
	m.try("resize", "PATCH", m.at("/ticket-types/"+m.event.TicketTypes[of].ID.String()), m.owner,
		map[string]int{"quantity": m.event.TicketTypes[of].Quantity + more + rand.IntN(9) - 4}, nil)
}

// enlarge opens another hall once the house is full. Seats of tickets that were scanned, given away or taken over do not
// come back, and on a slow machine the house may be full for good before everything has happened.
func (m *market) enlarge() {
	m.mu.Lock()
	full := m.more == 0 && m.answers["order with a dinner: sold_out"] > 0 && m.answers["resize: conflict"] > 0
	const more = 500
	if full {
		m.more = more
	}
	m.mu.Unlock()
	if !full {
		return
	}
	hall := m.event.Quotas[0]
	hall.Capacity += 2 * more
	m.try("enlarge", "PATCH", m.at(""), m.owner, map[string]any{"quotas": []api.Quota{hall}}, nil)
	for _, t := range m.event.TicketTypes {
		m.try("enlarge", "PATCH", m.at("/ticket-types/"+t.ID.String()), m.owner, map[string]int{"quantity": t.Quantity + more}, nil)
	}
}

// visit does things until the market closes.
func (m *market) visit() {
	acts := []func(){m.order, m.order, m.order, m.order, m.order, m.giveBack, m.giveBack, m.refund, m.exchange, m.exchange,
		m.transfer, m.scan, m.counter, m.staff, m.load, m.resize}
	for {
		select {
		case <-m.stop:
			return
		default:
			acts[rand.IntN(len(acts))]()
		}
	}
}

// Everything is bought, exchanged, given back, given away, taken over and scanned at once, while the process is killed
// again and again. Then nothing is held or pending, all records agree, invoices have no gap, and each way that a
// purchase can go was gone. STARLIGHT_MARKET=60s opens it for so long.
func TestMarket(t *testing.T) {
	t.Parallel()
	open := testkit.Within(15 * time.Second)
	if text := os.Getenv("STARLIGHT_MARKET"); text != "" {
		var err error
		if open, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	m, hub := openMarket(t)
	var visitors sync.WaitGroup
	for range 4 {
		visitors.Go(m.visit)
	}
	const kills = 3
	for range kills {
		<-time.After(open / (kills + 1))
		hub.P.Kill()
		hub.P.Again()
	}
	<-time.After(open / (kills + 1))
	testkit.Eventually(t, 60*time.Second, func() error {
		m.enlarge()
		return m.missing()
	})
	close(m.stop)
	visitors.Wait()

	testkit.Eventually(t, 90*time.Second, func() error { return m.settled(hub.Site) })
	systemtest.MustAudit(t, hub.Cfg, systemtest.Ops(t, "nats://"+hub.Cfg.NATS, filepath.Join(hub.Cfg.Data, "creds")))
	m.noGap(hub.Site)
	for _, what := range slices.Sorted(maps.Keys(m.answers)) {
		t.Logf("%6d  %s", m.answers[what], what)
	}
}

// settled returns an error while something is held or not decided, or the numbers of the organizer are not those of the
// orders.
func (m *market) settled(s *systemtest.Site) error {
	var net int64
	for _, a := range systemtest.Call[api.Availability](s, 200, "GET", m.at("/availability"), "", nil).TicketTypes {
		if a.Held != 0 {
			return fmt.Errorf("held: %+v", a)
		}
	}
	for cursor := "none"; cursor != ""; {
		page := systemtest.Call[api.List[api.Order]](s, 200, "GET",
			m.at("/orders?limit=200&cursor="+url.QueryEscape(strings.TrimPrefix(cursor, "none"))), m.owner, nil)
		for _, o := range page.Items {
			if o.Status == api.OrderPending || o.Status == api.OrderRefunding {
				return fmt.Errorf("not decided: %+v", o)
			}
			if o.PaidAt != nil {
				net += o.Total.Amount - o.Refunded.Amount
			}
		}
		cursor = page.NextCursor
	}
	for _, i := range systemtest.Call[api.List[api.Import]](s, 200, "GET", m.at("/imports"), m.owner, nil).Items {
		if i.Status == "running" {
			return fmt.Errorf("still running: %+v", i)
		}
	}
	sum := systemtest.Call[api.EventSummary](s, 200, "GET", m.at("/analytics"), m.owner, nil)
	if sum.Net.Amount != net {
		return fmt.Errorf("the orders are worth %d, and the organizer reads %+v", net, sum)
	}
	return nil
}

// missing returns an error for ways that a purchase can go and none has gone.
func (m *market) missing() (err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, way := range []string{
		"order: paid", "order: expired", "order with a dinner: paid", "order with a dinner: sold_out", "order with another dinner: paid",
		"order with a code: paid", "order with a code: used up", "order as shown: price_changed", "order of a guest: paid", "order declined",
		"give up", "give back", "refund", "exchange for a dearer one: paid", "exchange for a cheaper one: paid", "transfer", "scan: admitted",
		"scan: already_admitted", "scan: revoked", "scan: handed_out", "counter", "counter takes back", "order by staff", "complimentary",
		"import starts", "resize", "resize: conflict",
	} {
		if m.answers[way] == 0 {
			err = errors.Join(err, fmt.Errorf("never happened: %s", way))
		}
	}
	return err
}

// noGap fails the test if the invoices of the year are not numbered one after the other.
func (m *market) noGap(s *systemtest.Site) {
	m.T.Helper()
	year := url.Values{"year": {fmt.Sprint(time.Now().UTC().Year())}}.Encode()
	got, err := s.Send("GET", "/v1/organizers/"+m.event.OrganizerID.String()+"/invoices.csv?"+year, m.owner, nil)
	if err != nil || got.Status != 200 {
		m.T.Fatalf("the file of invoices: %d %s, %v", got.Status, got.Body, err)
	}
	rows, err := csv.NewReader(strings.NewReader(strings.TrimPrefix(string(got.Body), "\ufeff"))).ReadAll()
	if err != nil || len(rows) < 10 {
		m.T.Fatalf("%d lines of invoices, %v", len(rows), err)
	}
	column := slices.Index(rows[0], "number")
	numbers := map[int]bool{}
	for _, row := range rows[1:] {
		var n int
		if _, err := fmt.Sscanf(row[column][strings.LastIndex(row[column], "-")+1:], "%d", &n); err != nil {
			m.T.Fatalf("%q: %v", row[column], err)
		}
		numbers[n] = true
	}
	for n := 1; n <= len(numbers); n++ {
		if !numbers[n] {
			m.T.Errorf("of %d invoices there is none with number %d", len(numbers), n)
		}
	}
}
