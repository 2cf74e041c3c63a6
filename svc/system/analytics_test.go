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
	"github.com/starlightsymphony/starlight/svc/system/systemtest"
	"github.com/starlightsymphony/starlight/svc/ticketing/audit"
)

// first opens a live stream and returns the data of its first event.
func first(s *systemtest.Site, path, token string) (name string, data []byte) {
	s.T.Helper()
	ctx, cancel := context.WithTimeout(s.T.Context(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", s.URL+path, nil)
	if err != nil {
		s.T.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.T.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" {
		s.T.Fatalf("GET %s: %d %s", path, resp.StatusCode, resp.Header.Get("Content-Type"))
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
	s.T.Fatalf("GET %s: no event: %v", path, lines.Err())
	return "", nil
}

// summary waits until the numbers of an event are what want says, and returns them as they came.
func summary(s *systemtest.Site, token string, event api.Event, want api.Numbers) []byte {
	s.T.Helper()
	var body []byte
	testkit.Eventually(s.T, 60*time.Second, func() error {
		got, err := s.Send("GET", "/v1/events/"+event.ID.String()+"/analytics", token, nil)
		if err != nil || got.Status != 200 {
			return fmt.Errorf("%d %s %w", got.Status, got.Body, err)
		}
		var e api.EventSummary
		if err := json.Unmarshal(got.Body, &e); err != nil {
			return err
		}
		n := api.Numbers{Views: e.Views, OrdersHeld: e.OrdersHeld, OrdersPaid: e.OrdersPaid, OrdersExpired: e.OrdersExpired, OrdersCancelled: e.OrdersCancelled,
			OrdersRefunded: e.OrdersRefunded, TicketsSold: e.TicketsSold, TicketsRevoked: e.TicketsRevoked, Admitted: e.Admitted, Revenue: e.Revenue.Amount, Refunds: e.Refunds.Amount}
		if n != want {
			return fmt.Errorf("the numbers are %+v, want %+v", n, want)
		}
		body = got.Body
		return nil
	})
	return body
}

// refund gives money back and waits until it is there.
func refund(s *systemtest.Site, token string, o api.Order, what api.NewRefund) {
	s.T.Helper()
	path := "/v1/payments/" + o.PaymentID.String() + "/refunds"
	r := systemtest.Call[api.Refund](s, 201, "POST", path, token, what)
	testkit.Eventually(s.T, 60*time.Second, func() error {
		for _, one := range systemtest.Call[api.List[api.Refund]](s, 200, "GET", path, token, nil).Items {
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
	cfg := systemtest.Config(t.TempDir())
	log := &testkit.Buffer{}
	cfg.Sandbox, cfg.LogTo = true, log
	s, sys, stop := systemtest.Start(t, cfg)
	admin := s.Login(systemtest.AdminEmail)
	s.Unlimited(admin)
	_, organizer := s.Join("organizer@example.org")
	deleted := s.Concert(organizer, 5, 2500) // is not in the overview below
	systemtest.Call[any](s, 204, "DELETE", "/v1/events/"+deleted.ID.String(), organizer, nil)
	event := s.Concert(organizer, 40, 2500)
	path := "/v1/events/" + event.ID.String()
	creds := filepath.Join(cfg.Data, "creds")
	poison(t, sys.NATSURL(), creds)

	systemtest.Call[api.List[api.Event]](s, 200, "GET", "/v1/events?q=concert", "", nil)
	var buyers []string
	var orders []api.Order
	var door []api.Ticket
	for i := range 5 {
		_, buyer := s.Join(fmt.Sprintf("buyer%d@example.org", i))
		systemtest.Call[api.User](s, 200, "PATCH", "/v1/me", buyer, api.UpdateProfile{Profile: codec.To(api.Profile{BirthYear: 1990, City: "Berlin", Country: "DE", ShareDemographics: true})})
		if got, err := s.Send("GET", path, buyer, nil, "Referer", "https://news.example.com/a/page?q=1"); err != nil || got.Status != 200 {
			t.Fatalf("a view: %d %v", got.Status, err)
		}
		o := systemtest.Call[api.Order](s, 201, "POST", "/v1/orders", buyer, systemtest.Seats(event, 2))
		tickets := s.Pay(buyer, o)
		buyers, door = append(buyers, buyer), append(door, tickets[0])
		orders = append(orders, systemtest.Call[api.Order](s, 200, "GET", "/v1/orders/"+o.ID.String(), buyer, nil))
	}
	gone := systemtest.Call[api.Order](s, 201, "POST", "/v1/orders", buyers[0], systemtest.Seats(event, 1))
	systemtest.Call[api.Order](s, 200, "POST", "/v1/orders/"+gone.ID.String()+"/cancel", buyers[0], nil)
	for i, gate := range []string{"north", "north", "south"} {
		scan := api.Admission{Code: door[i].Code, Gate: gate}
		for range 2 { // the second time counts nothing
			systemtest.Call[api.AdmissionResult](s, 200, "POST", path+"/admissions", organizer, scan)
		}
	}
	refund(s, organizer, orders[3], api.NewRefund{Amount: &api.Money{Amount: 700, Currency: "EUR"}})
	refund(s, organizer, orders[4], api.NewRefund{})

	want := api.Numbers{Views: 5, OrdersHeld: 6, OrdersPaid: 5, OrdersCancelled: 1, OrdersRefunded: 1, TicketsSold: 10, TicketsRevoked: 2, Admitted: 3, Revenue: 25000, Refunds: 5700}
	before := summary(s, organizer, event, want)
	var sum api.EventSummary
	if err := json.Unmarshal(before, &sum); err != nil {
		t.Fatal(err)
	}
	if left := s.Left(event); int64(left.Sold) != sum.TicketsSold-sum.TicketsRevoked {
		t.Errorf("ticketing has sold %d, analytics %d less %d", left.Sold, sum.TicketsSold, sum.TicketsRevoked)
	}
	var paid, back int64
	for i, o := range orders {
		o = systemtest.Call[api.Order](s, 200, "GET", "/v1/orders/"+o.ID.String(), buyers[i], nil)
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
		got, err := s.Send("GET", path+"/analytics/demographics", organizer, nil)
		if err == nil && got.Status != 200 {
			err = fmt.Errorf("%d %s", got.Status, got.Body)
		}
		if err := errors.Join(err, json.Unmarshal(got.Body, &d)); err != nil {
			return err
		}
		if len(d.Countries.Groups) != 1 || d.Countries.Groups[0] != (api.Group{Name: "DE", People: 5}) || len(d.AgeBands.Groups) != 1 || len(d.Cities.Groups) != 1 {
			return fmt.Errorf("demographics %+v", d)
		}
		return nil
	}
	testkit.Eventually(t, 30*time.Second, people)
	at := systemtest.Call[api.Series](s, 200, "GET", path+"/analytics/attendance?interval=hour", organizer, nil)
	if len(at.Gates) != 2 || at.Gates[0].Admitted != 2 || at.Gates[1].Admitted != 1 {
		t.Errorf("gates %+v", at.Gates)
	}
	sales := systemtest.Call[api.Series](s, 200, "GET", path+"/analytics/sales?interval=day", organizer, nil)
	if len(sales.Types) != 1 || sales.Types[0].Name == "" || sales.Types[0].TicketsSold != 10 || sales.Types[0].Numbers.Revenue != 25000 {
		t.Errorf("sales by ticket type %+v", sales.Types)
	}
	for _, more := range []string{"funnel", "forecast"} {
		systemtest.Call[map[string]any](s, 200, "GET", path+"/analytics/"+more, organizer, nil)
	}
	if o := systemtest.Call[api.Overview](s, 200, "GET", "/v1/analytics/overview", organizer, nil); len(o.Items) != 1 || o.Items[0].Revenue != sum.Revenue || o.Searches != 1 {
		t.Errorf("overview %+v", o)
	}
	if name, data := first(s, path+"/analytics/live", organizer); name != "snapshot" || !bytes.Equal(data, before) {
		t.Errorf("live: %s %s, want %s", name, data, before)
	}
	reports(s, organizer, path)
	strangers(s, buyers[0], path)

	connect := systemtest.Ops(t, sys.NATSURL(), creds)
	buried(s, connect, admin)
	systemtest.MustAudit(t, cfg, connect)
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
		if after := summary(s, organizer, event, want); !bytes.Equal(after, before) {
			t.Errorf("built again: %s\nbefore: %s", after, before)
		}
	}
	same()
	stop()
	systemtest.MustAudit(t, cfg, systemtest.Stopped)
	s, _, _ = systemtest.Start(t, cfg)
	organizer = s.Login("organizer@example.org")
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
func buried(s *systemtest.Site, connect func(context.Context) (jetstream.JetStream, func(), error), admin string) {
	s.T.Helper()
	js, done, err := connect(s.T.Context())
	if err != nil {
		s.T.Fatal(err)
	}
	defer done()
	dead, err := js.Stream(s.T.Context(), stream.DeadStream)
	if err != nil {
		s.T.Fatal(err)
	}
	if msg, err := dead.GetLastMsgForSubject(s.T.Context(), "dead.analytics"); err != nil || string(msg.Data) != `{"order":{"id":7}}` {
		s.T.Errorf("the event that cannot be read is no dead letter of analytics: %v", err)
	}
	letters := func() (ids []string) {
		for _, l := range systemtest.Call[api.List[api.DeadLetter]](s, 200, "GET", "/v1/dead-letters", admin, nil).Items {
			if l.Consumer == "analytics" {
				ids = append(ids, l.ID)
			}
		}
		return ids
	}
	found := letters()
	if len(found) != 1 {
		s.T.Fatalf("dead letters of analytics: %v", found)
	}
	s.Refused("conflict", "POST", "/v1/dead-letters/"+found[0]+"/replay", admin, nil)
	if left := letters(); !slices.Equal(left, found) {
		s.T.Errorf("after the refusal %v are left", left)
	}
}

// reports downloads every report in every form.
func reports(s *systemtest.Site, token, path string) {
	s.T.Helper()
	for _, name := range []string{"sales", "funnel", "arrivals", "demographics"} {
		for form, want := range map[string][2]string{"csv": {"text/csv", ""}, "svg": {"image/svg+xml", "<svg"}, "png": {"image/png", "\x89PNG"}, "pdf": {"application/pdf", "%PDF-"}} {
			got, err := s.Send("GET", path+"/reports/"+name+"."+form, token, nil)
			if err != nil || got.Status != 200 || !strings.HasPrefix(got.Header.Get("Content-Type"), want[0]) || !bytes.HasPrefix(got.Body, []byte(want[1])) || len(got.Body) == 0 {
				s.T.Errorf("report %s.%s: %d %s %v, %d bytes", name, form, got.Status, got.Header.Get("Content-Type"), err, len(got.Body))
			}
		}
	}
	s.Refused("not_found", "GET", path+"/reports/secrets.csv", token, nil)
}

// strangers may read none of it, and who has no token neither.
func strangers(s *systemtest.Site, stranger, path string) {
	s.T.Helper()
	for _, p := range []string{"/analytics", "/analytics/sales", "/analytics/demographics", "/analytics/live", "/reports/sales.csv"} {
		s.Refused("forbidden", "GET", path+p, stranger, nil)
		s.Refused("unauthenticated", "GET", path+p, "", nil)
	}
	s.Refused("not_found", "GET", "/v1/events/evt_00000000000000000000000000/analytics", stranger, nil)
}
