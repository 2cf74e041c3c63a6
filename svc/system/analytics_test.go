package system_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/starlightsymphony/starlight/natsconf"
	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/rpc/codec"
	"github.com/starlightsymphony/starlight/shared/stream"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/system"
	"github.com/starlightsymphony/starlight/svc/system/command"
	"github.com/starlightsymphony/starlight/svc/ticketing/audit"
)

// first opens a live stream and returns the data of its first event.
func (s *site) first(path, token string) (name string, data []byte) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", s.url+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" {
		s.t.Fatalf("GET %s: %d %s", path, resp.StatusCode, resp.Header.Get("Content-Type"))
	}
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		if v, ok := strings.CutPrefix(lines.Text(), "event:"); ok {
			name = strings.TrimSpace(v)
		} else if v, ok := strings.CutPrefix(lines.Text(), "data:"); ok {
			data = []byte(strings.TrimSpace(v))
		} else if lines.Text() == "" && len(data) > 0 {
			return name, data
		}
	}
	s.t.Fatalf("GET %s: no event: %v", path, lines.Err())
	return "", nil
}

// summary waits until the numbers of an event are what want says, and returns them as they came.
func (s *site) summary(token string, event api.Event, want api.Numbers) []byte {
	s.t.Helper()
	var body []byte
	testkit.Eventually(s.t, 60*time.Second, func() error {
		got, err := s.send("GET", "/v1/events/"+event.ID.String()+"/analytics", token, nil)
		if err != nil || got.status != 200 {
			return fmt.Errorf("%d %s %w", got.status, got.body, err)
		}
		var e api.EventSummary
		if err := json.Unmarshal(got.body, &e); err != nil {
			return err
		}
		n := api.Numbers{Views: e.Views, OrdersHeld: e.OrdersHeld, OrdersPaid: e.OrdersPaid, OrdersExpired: e.OrdersExpired, OrdersCancelled: e.OrdersCancelled,
			OrdersRefunded: e.OrdersRefunded, TicketsSold: e.TicketsSold, TicketsRevoked: e.TicketsRevoked, Admitted: e.Admitted, Revenue: e.Revenue.Amount, Refunds: e.Refunds.Amount}
		if n != want {
			return fmt.Errorf("the numbers are %+v, want %+v", n, want)
		}
		body = got.body
		return nil
	})
	return body
}

// refund gives money back and waits until it is there.
func (s *site) refund(token string, o api.Order, what api.NewRefund) {
	s.t.Helper()
	path := "/v1/payments/" + o.PaymentID.String() + "/refunds"
	r := call[api.Refund](s, 201, "POST", path, token, what)
	testkit.Eventually(s.t, 60*time.Second, func() error {
		for _, one := range call[api.List[api.Refund]](s, 200, "GET", path, token, nil).Items {
			if one.ID == r.ID && one.Status == api.RefundSucceeded {
				return nil
			}
		}
		return fmt.Errorf("the refund of %v is under way", r.Amount)
	})
}

// What people do is in the numbers of the event: the same as the ledger says, in every form, before and after the read
// model is built again.
func TestAnalytics(t *testing.T) {
	t.Parallel()
	cfg := config(t.TempDir())
	log := &testkit.Buffer{}
	cfg.Sandbox, cfg.LogTo = true, log
	s, sys, stop := start(t, cfg)
	admin := s.login(adminEmail)
	s.unlimited(admin)
	_, organizer := s.join("organizer@example.org")
	deleted := s.concert(organizer, 5, 2500) // is not in the overview below
	call[any](s, 204, "DELETE", "/v1/events/"+deleted.ID.String(), organizer, nil)
	event := s.concert(organizer, 40, 2500)
	path := "/v1/events/" + event.ID.String()
	creds := filepath.Join(cfg.Data, "creds")
	poison(t, sys.NATSURL(), creds)

	call[api.List[api.Event]](s, 200, "GET", "/v1/events?q=concert", "", nil)
	var buyers []string
	var orders []api.Order
	var door []api.Ticket
	for i := range 5 {
		_, buyer := s.join(fmt.Sprintf("buyer%d@example.org", i))
		call[api.User](s, 200, "PATCH", "/v1/me", buyer, api.UpdateProfile{Profile: codec.To(api.Profile{BirthYear: 1990, City: "Berlin", Country: "DE", ShareDemographics: true})})
		if got, err := s.send("GET", path, buyer, nil, "Referer", "https://news.example.com/a/page?q=1"); err != nil || got.status != 200 {
			t.Fatalf("a view: %d %v", got.status, err)
		}
		o := call[api.Order](s, 201, "POST", "/v1/orders", buyer, seats(event, 2))
		tickets := s.pay(buyer, o)
		buyers, door = append(buyers, buyer), append(door, tickets[0])
		orders = append(orders, call[api.Order](s, 200, "GET", "/v1/orders/"+o.ID.String(), buyer, nil))
	}
	gone := call[api.Order](s, 201, "POST", "/v1/orders", buyers[0], seats(event, 1))
	call[api.Order](s, 200, "POST", "/v1/orders/"+gone.ID.String()+"/cancel", buyers[0], nil)
	for i, gate := range []string{"north", "north", "south"} {
		scan := api.Admission{Code: door[i].Code, Gate: gate}
		for range 2 { // the second time counts nothing
			call[api.AdmissionResult](s, 200, "POST", path+"/admissions", organizer, scan)
		}
	}
	s.refund(organizer, orders[3], api.NewRefund{Amount: &api.Money{Amount: 700, Currency: "EUR"}})
	s.refund(organizer, orders[4], api.NewRefund{})

	want := api.Numbers{Views: 5, OrdersHeld: 6, OrdersPaid: 5, OrdersCancelled: 1, OrdersRefunded: 1, TicketsSold: 10, TicketsRevoked: 2, Admitted: 3, Revenue: 25000, Refunds: 5700}
	before := s.summary(organizer, event, want)
	var sum api.EventSummary
	if err := json.Unmarshal(before, &sum); err != nil {
		t.Fatal(err)
	}
	if left := s.left(event); int64(left.Sold) != sum.TicketsSold-sum.TicketsRevoked {
		t.Errorf("ticketing has sold %d, analytics %d less %d", left.Sold, sum.TicketsSold, sum.TicketsRevoked)
	}
	var paid, back int64
	for i, o := range orders {
		o = call[api.Order](s, 200, "GET", "/v1/orders/"+o.ID.String(), buyers[i], nil)
		paid, back = paid+o.Total.Amount, back+o.Refunded.Amount
	}
	if paid != sum.Revenue.Amount || back != sum.Refunds.Amount || sum.Net.Amount != paid-back || sum.Revenue.Currency != "EUR" {
		t.Errorf("the orders say %d and %d, analytics %+v", paid, back, sum)
	}
	if len(sum.Referrers) != 1 || sum.Referrers[0].Key != "news.example.com" || sum.Referrers[0].Views != 5 {
		t.Errorf("referrers %+v", sum.Referrers)
	}
	people := func() error {
		var d api.Demographics
		got, err := s.send("GET", path+"/analytics/demographics", organizer, nil)
		if err == nil && got.status != 200 {
			err = fmt.Errorf("%d %s", got.status, got.body)
		}
		if err := errors.Join(err, json.Unmarshal(got.body, &d)); err != nil {
			return err
		}
		if len(d.Countries.Groups) != 1 || d.Countries.Groups[0] != (api.Group{Name: "DE", People: 5}) || len(d.AgeBands.Groups) != 1 || len(d.Cities.Groups) != 1 {
			return fmt.Errorf("demographics %+v", d)
		}
		return nil
	}
	testkit.Eventually(t, 30*time.Second, people)
	at := call[api.Series](s, 200, "GET", path+"/analytics/attendance?interval=hour", organizer, nil)
	if len(at.Gates) != 2 || at.Gates[0].Admitted != 2 || at.Gates[1].Admitted != 1 {
		t.Errorf("gates %+v", at.Gates)
	}
	sales := call[api.Series](s, 200, "GET", path+"/analytics/sales?interval=day", organizer, nil)
	if len(sales.Types) != 1 || sales.Types[0].Name == "" || sales.Types[0].TicketsSold != 10 || sales.Types[0].Numbers.Revenue != 25000 {
		t.Errorf("sales by ticket type %+v", sales.Types)
	}
	for _, more := range []string{"funnel", "forecast"} {
		call[map[string]any](s, 200, "GET", path+"/analytics/"+more, organizer, nil)
	}
	if o := call[api.Overview](s, 200, "GET", "/v1/analytics/overview", organizer, nil); len(o.Items) != 1 || o.Items[0].Revenue != sum.Revenue || o.Searches != 1 {
		t.Errorf("overview %+v", o)
	}
	if name, data := s.first(path+"/analytics/live", organizer); name != "snapshot" || !bytes.Equal(data, before) {
		t.Errorf("live: %s %s, want %s", name, data, before)
	}
	s.reports(organizer, path)
	s.strangers(buyers[0], path)

	connect := ops(t, sys.NATSURL(), creds)
	s.buried(connect, admin)
	mustAudit(t, cfg, connect)
	findings, err := system.Audit(t.Context(), system.AuditConfig{Data: cfg.Data, DatabaseURL: cfg.DatabaseURL, Connect: connect})
	if err != nil || !slices.ContainsFunc(findings, func(f audit.Finding) bool {
		return strings.HasPrefix(f.Check, "analytics") && f.Compared == 1 && len(f.Broken) == 0
	}) {
		t.Errorf("the audit does not compare the numbers: %+v %v", findings, err)
	}

	// Built again, as `starlight rebuild analytics` has it: all is forgotten, and all is the same.
	var out bytes.Buffer
	if exit := command.Main([]string{"rebuild", "analytics", "--data", cfg.Data, "--nats-url", sys.NATSURL()}, &out, &out); exit != 0 {
		t.Fatalf("rebuild: exit %d %s", exit, out.String())
	}
	testkit.Eventually(t, 30*time.Second, func() error {
		if !strings.Contains(log.String(), `"generation":1`) {
			return errors.New("nothing is built again")
		}
		return nil
	})
	same := func() {
		t.Helper()
		testkit.Eventually(t, 60*time.Second, people)
		if after := s.summary(organizer, event, want); !bytes.Equal(after, before) {
			t.Errorf("built again: %s\nbefore: %s", after, before)
		}
	}
	same()
	stop()
	mustAudit(t, cfg, stopped)
	s, _, _ = start(t, cfg)
	organizer = s.login("organizer@example.org")
	same()
}

// poison puts an event that no consumer can read into the stream of all.
func poison(t *testing.T, url, creds string) {
	t.Helper()
	nc, err := natsconf.Dial(t.Context(), natsconf.DialConfig{URL: url, Role: "ticketing", Creds: creds})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), api.OrderWasPaid.Subject, []byte(`{"order":{"id":7}}`)); err != nil {
		t.Fatal(err)
	}
}

// buried looks for the poison among the dead letters of analytics, which cannot be replayed and stay.
func (s *site) buried(connect func(context.Context) (jetstream.JetStream, func(), error), admin string) {
	s.t.Helper()
	js, done, err := connect(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	defer done()
	dead, err := js.Stream(s.t.Context(), stream.DeadStream)
	if err != nil {
		s.t.Fatal(err)
	}
	if msg, err := dead.GetLastMsgForSubject(s.t.Context(), "dead.analytics"); err != nil || string(msg.Data) != `{"order":{"id":7}}` {
		s.t.Errorf("the event that cannot be read is no dead letter of analytics: %v", err)
	}
	letters := func() (ids []string) {
		for _, l := range call[api.List[api.DeadLetter]](s, 200, "GET", "/v1/dead-letters", admin, nil).Items {
			if l.Consumer == "analytics" {
				ids = append(ids, l.ID)
			}
		}
		return ids
	}
	found := letters()
	if len(found) != 1 {
		s.t.Fatalf("dead letters of analytics: %v", found)
	}
	s.refused("conflict", "POST", "/v1/dead-letters/"+found[0]+"/replay", admin, nil)
	if left := letters(); !slices.Equal(left, found) {
		s.t.Errorf("after the refusal %v are left", left)
	}
}

// reports downloads every report in every form.
func (s *site) reports(token, path string) {
	s.t.Helper()
	for _, name := range []string{"sales", "funnel", "arrivals", "demographics"} {
		for form, want := range map[string][2]string{"csv": {"text/csv", ""}, "svg": {"image/svg+xml", "<svg"}, "png": {"image/png", "\x89PNG"}, "pdf": {"application/pdf", "%PDF-"}} {
			got, err := s.send("GET", path+"/reports/"+name+"."+form, token, nil)
			if err != nil || got.status != 200 || !strings.HasPrefix(got.header.Get("Content-Type"), want[0]) || !bytes.HasPrefix(got.body, []byte(want[1])) || len(got.body) == 0 {
				s.t.Errorf("report %s.%s: %d %s %v, %d bytes", name, form, got.status, got.header.Get("Content-Type"), err, len(got.body))
			}
		}
	}
	s.refused("not_found", "GET", path+"/reports/secrets.csv", token, nil)
}

// strangers may read none of it, and who has no token neither.
func (s *site) strangers(stranger, path string) {
	s.t.Helper()
	for _, p := range []string{"/analytics", "/analytics/sales", "/analytics/demographics", "/analytics/live", "/reports/sales.csv"} {
		s.refused("forbidden", "GET", path+p, stranger, nil)
		s.refused("unauthenticated", "GET", path+p, "", nil)
	}
	s.refused("not_found", "GET", "/v1/events/evt_00000000000000000000000000/analytics", stranger, nil)
}
