package system_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc/codec"
	"github.com/starlightsymphony/starlight/svc/system/systemtest"
)

// mangled replaces the names in a path.
func mangled(path, with string) string {
	for _, name := range codec.PathNames(path) {
		path = strings.ReplaceAll(path, "{"+name+"}", with)
	}
	return path
}

// addressed puts ids of the right kinds into a path, those of the event and its organizer where it is about them.
func addressed(path string, event api.Event) string {
	now := time.Now()
	path = strings.NewReplacer("/v1/organizers/{id}", "/v1/organizers/"+event.OrganizerID.String(), "/v1/venues/{id}",
		"/v1/venues/"+ids.New[ids.VenueKind](now).String(), "/v1/users/{id}", "/v1/users/"+ids.New[ids.UserKind](now).String(), "{lease_id}", ids.New[ids.LeaseKind](now).String(), "{webhook_id}",
		ids.New[ids.WebhookKind](now).String(), "{import_id}", ids.New[ids.ImportKind](now).String()).Replace(path)
	return mangled(path, event.ID.String())
}

// documented fails the test unless an answer is one that the documentation tells of: a success, or a problem with a code
// of the catalogue, the status that belongs to it, and a request id; never a defect.
func documented(t *testing.T, what string, got systemtest.Answer) {
	t.Helper()
	if got.Status < 400 {
		return
	}
	var p systemtest.Problem
	if got.Header.Get("Content-Type") != "application/problem+json" || json.Unmarshal(got.Body, &p) != nil || p.RequestID == "" || p.Title == "" || p.Status != got.Status {
		t.Errorf("%s: %d %.200s is no problem document", what, got.Status, got.Body)
		return
	}
	code := fault.Code(p.Code)
	special := got.Status == 408 // of HTTP itself
	if got.Status >= 500 || !slices.Contains(fault.Codes(), code) || !special && code.Status() != got.Status {
		t.Errorf("%s: %d %.200s", what, got.Status, got.Body)
	}
}

// Whatever is thrown at an endpoint, it answers a documented problem, and nothing is lost.
func TestMalformedRequests(t *testing.T) {
	t.Parallel()
	s, sys, _ := systemtest.Start(t, systemtest.Config(t.TempDir()))
	admin := s.Login(systemtest.AdminEmail)
	s.Unlimited(admin)
	event := s.Concert(admin, 10, 1000)
	order := systemtest.Call[api.Order](s, 201, "POST", "/v1/orders", admin, systemtest.Seats(event, 2))
	id := ids.New[ids.EventKind](time.Now()).String()
	bodies := map[string][]byte{
		"unknown field": []byte(`{"surprise":1}`), "wrong types": []byte(`{"email":1,"name":[],"items":{},"quantity":"x","capacity":"y","value":{},"roles":7,"code":{},"outcome":[]}`),
		"an array": []byte(`[]`), "half": []byte(`{"a":`), "two": []byte(`{} {}`), "not text": {'{', '"', 0xff, 0xfe, '"', ':', '1', '}'},
		"deep": []byte(strings.Repeat("[", 50000)), "deep objects": []byte(strings.Repeat(`{"a":`, 10000)), "huge": []byte(`{"name":"` + strings.Repeat("x", 1<<20) + `"}`),
		"a nul": []byte("{\"name\":\"\x00\"}"), "a name twice": []byte(`{"surprise":1,"surprise":2}`),
	}
	checked := 0
	check := func(what, method, path string, body any, headers ...string) {
		t.Helper()
		what = fmt.Sprintf("%s %.100s with %s", method, path, what)
		got, err := s.Send(method, path, admin, body, headers...)
		if err != nil {
			if len(fmt.Sprint(body)) < 1<<20 { // else the server closed the connection on a body that it does not want
				t.Errorf("%s: %v", what, err)
			}
			return
		}
		checked++
		if documented(t, what, got); got.Status < 400 {
			t.Errorf("%s: %d %.200s", what, got.Status, got.Body)
		}
	}
	for _, d := range api.All() {
		if d.Path == "" {
			continue
		}
		hasBody := d.Method != "GET" && !d.Raw
		if len(codec.PathNames(d.Path)) > 0 {
			for _, wild := range []string{"*", ">", "%2A", "%3E", "%2e", "%00", "a%00b", "%0d%0aX:%20y", "evt_*", "evt_%3E", strings.Repeat("a", 3000), "a%2f%2e%2e%2fb",
				"%ff", "ev%20t", "$JS.API", "_INBOX.%3E", id + "x", strings.ToUpper(id), id + ".evil", "%E2%80%AE", "' or 1=1--", id} {
				check("path "+wild, d.Method, mangled(d.Path, strings.ReplaceAll(wild, " ", "%20")), nil)
			}
		}
		if hasBody {
			for what, body := range bodies {
				check(what, d.Method, mangled(d.Path, id), body)
			}
			for _, kind := range []string{"", "text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-16", "multipart/form-data; boundary=x", "\"json"} {
				check("content type "+kind, d.Method, mangled(d.Path, id), []byte(`{}`), "Content-Type", kind)
			}
			check("content encoding", d.Method, mangled(d.Path, id), []byte(`{}`), "Content-Encoding", "gzip")
		}
		if _, pages := d.Request.FieldByName("Cursor"); pages && len(codec.PathNames(d.Path)) < 2 { // what does not exist has no pages
			path := addressed(d.Path, event)
			for _, query := range []string{"cursor=%00", "cursor=!!!!", "cursor=bm90LWEtY3Vyc29y", "cursor=" + strings.Repeat("A", 4000), "limit=-1", "limit=0x10", "limit=201", "limit=x",
				"limit=100000000000000000000", "cursor=%ff", "limit=%zz"} {
				s.Refused("invalid", "GET", path+"?"+query, admin, nil)
				checked++
			}
		}
		for f := range fields(d.Request) {
			if name := f.Tag.Get("query"); name != "" && f.Type.Name() != "string" { // text may be anything
				path := addressed(d.Path, event)
				if strings.HasPrefix(path, "/v1/orders/") {
					path = strings.Replace(path, "evt_", "ord_", 1)
				}
				s.Refused("invalid", d.Method, path+"?"+name+"=yesterday*", admin, nil)
				checked++
			}
		}
		check("another method", "TRACE", mangled(d.Path, id), nil)
		check("another method", "LOCK", mangled(d.Path, id), nil)
	}
	t.Logf("%d answers", checked)
	if checked < 1000 {
		t.Errorf("only %d answers were checked", checked)
	}
	wildEvents(s, admin)
	wildOrders(s, admin, event)

	// All of this has changed nothing.
	if got := s.Left(event); got.Held != 2 || got.Available != 8 {
		t.Errorf("after all that: %+v", got)
	}
	if got := systemtest.Call[api.Order](s, 200, "GET", "/v1/orders/"+order.ID.String(), admin, nil); got.Revision != order.Revision {
		t.Errorf("after all that the order is %+v", got)
	}
	noPanics(s, sys.OpsURL())
}

// wildEvents offers events that are wrong in one thing each.
func wildEvents(s *systemtest.Site, admin string) {
	s.T.Helper()
	event := func(change string) []byte {
		start := time.Now().AddDate(0, 1, 0).UTC().Format(time.RFC3339)
		end := time.Now().AddDate(0, 1, 1).UTC().Format(time.RFC3339)
		fields := map[string]string{"name": `"N"`, "timezone": `"Europe/Berlin"`, "starts_at": `"` + start + `"`, "ends_at": `"` + end + `"`, "capacity": "10",
			"location": `{"name":"H","city":"B","country":"DE"}`, "ticket_types": `[{"name":"T","price":{"amount":1,"currency":"EUR"},"quantity":10}]`}
		name, value, _ := strings.Cut(change, "=")
		fields[name] = value
		var out []string
		for k, v := range fields {
			out = append(out, fmt.Sprintf("%q:%s", k, v))
		}
		return []byte("{" + strings.Join(out, ",") + "}")
	}
	kind := func(price, currency, quantity string) string {
		return fmt.Sprintf(`ticket_types=[{"name":"T","price":{"amount":%s,"currency":%q},"quantity":%s}]`, price, currency, quantity)
	}
	good := systemtest.Call[api.Event](s, 201, "POST", "/v1/events", admin, event("name=\"Good\""))
	types := "/v1/events/" + good.ID.String() + "/ticket-types"
	for _, change := range []string{kind("1", "EUR", "-5"), kind("-1", "EUR", "5"), kind("9223372036854775807", "EUR", "5"), kind("92233720368547758070", "EUR", "5"), kind("1.5", "EUR", "5"),
		kind("1", "XXQ", "5"), kind("1", "eur", "5"), kind("1", "", "5"), kind("1", "EUR", "99999999999"), kind("1", "EUR", "1e3"), kind(`"1"`, "EUR", "5"), kind("1", "EUR", "9223372036854775807"),
		`timezone="Mars/Olympus"`, `timezone="Local"`, `timezone="../../etc/passwd"`, `timezone=""`, `capacity=-1`, `capacity=1e99`, `capacity=2.5`, `starts_at="soon"`, `starts_at=1`,
		`ends_at="1999-01-01T00:00:00Z"`, `ends_at="9999-12-31T23:59:59Z"`, `name=""`, `name="a\r\nb"`, `name="a\u0000b"`, `name="` + strings.Repeat("x", 100000) + `"`,
		`location={"name":"H","city":"B","country":"Q1"}`, `location={"name":"H","city":"B","country":"DE","latitude":95,"longitude":1}`, `location={"name":"H","city":"B","country":"DE","latitude":1}`,
		`category="a\nb"`, `surprise=1`} {
		s.Refused("invalid", "POST", "/v1/events", admin, event(change))
		if name, value, _ := strings.Cut(change, "="); name != "ticket_types" {
			s.Refused("invalid", "PATCH", "/v1/events/"+good.ID.String(), admin, fmt.Appendf(nil, `{%q:%s}`, name, value))
		} else {
			one := []byte(strings.Trim(value, "[]"))
			s.Refused("invalid", "POST", types, admin, one)
			s.Refused("invalid", "PATCH", types+"/"+good.TicketTypes[0].ID.String(), admin, one)
		}
	}
	if got := systemtest.Call[api.Event](s, 200, "GET", "/v1/events/"+good.ID.String(), admin, nil); got.Revision != good.Revision {
		s.T.Errorf("refused changes have changed the event: %+v", got)
	}
}

// wildOrders asks for seats in every wrong way.
func wildOrders(s *systemtest.Site, admin string, event api.Event) {
	s.T.Helper()
	kind := event.TicketTypes[0].ID.String()
	line := func(id, quantity string) string {
		return fmt.Sprintf(`{"ticket_type_id":%q,"quantity":%s}`, id, quantity)
	}
	for _, items := range []string{"", line(kind, "0"), line(kind, "-1"), line(kind, "-9223372036854775808"), line(kind, "9223372036854775807"), line(kind, "9223372036854775808"), line(kind, "1e3"),
		line(kind, "1.5"), line(kind, `"1"`), line(kind, "null"), line("*", "1"), line(">", "1"), line("", "1"), line(kind+".x", "1"), line(event.ID.String(), "1"),
		line(kind, "2") + "," + line(kind, "-1"), line(kind, "9223372036854775807") + "," + line(kind, "9223372036854775807"), strings.TrimSuffix(strings.Repeat(line(kind, "1")+",", 1000), ","), "null"} {
		got, err := s.Send("POST", "/v1/orders", admin, fmt.Appendf(nil, `{"event_id":%q,"items":[%s]}`, event.ID, items))
		if documented(s.T, "items "+items, got); err != nil || got.Status != 400 {
			s.T.Errorf("items %.200s: %d %.200s %v", items, got.Status, got.Body, err)
		}
	}
	for _, id := range []string{`"*"`, `">"`, `""`, `"evt_*"`, "1", "null", "{}", fmt.Sprintf("%q", event.ID.String()+"\x00")} {
		got, err := s.Send("POST", "/v1/orders", admin, fmt.Appendf(nil, `{"event_id":%s,"items":[%s]}`, id, line(kind, "1")))
		if documented(s.T, "event_id "+id, got); err != nil || got.Status != 400 {
			s.T.Errorf("event_id %s: %d %.200s %v", id, got.Status, got.Body, err)
		}
	}
}

// noPanics reads on the operations listener that no handler has panicked.
func noPanics(s *systemtest.Site, ops string) {
	s.T.Helper()
	resp, err := http.Get(ops + "/metrics")
	if err != nil {
		s.T.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.T.Fatal(err)
	}
	panics := 0
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "starlight_") && strings.Contains(line, "panics_total{") {
			panics++
			if !strings.HasSuffix(line, " 0\n") {
				s.T.Error(strings.TrimSpace(line))
			}
		}
	}
	if panics == 0 {
		s.T.Error("there is no metric for panics")
	}
}

// order asks for seats under an idempotency key.
func order(client *http.Client, url, token, body, key string) (status int, text string, err error) {
	req, err := http.NewRequest("POST", url+"/v1/orders", strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Idempotency-Key", key)
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(answer), err
}

// A thousand orders at once for a hundred seats, over HTTP, from a few accounts: paid ones and free ones.
func TestThousandBuyers(t *testing.T) {
	const buyers, seats = 1000, 100
	cfg := systemtest.Config(t.TempDir())
	s, _, stop := systemtest.Start(t, cfg)
	admin := s.Login(systemtest.AdminEmail)
	s.Unlimited(admin)
	tokens := []string{admin}
	for i := range 3 {
		_, token := s.Join(fmt.Sprintf("buyer%d@example.org", i))
		tokens = append(tokens, token)
	}
	client := &http.Client{Transport: &http.Transport{MaxConnsPerHost: 200, MaxIdleConnsPerHost: 200}}
	defer client.CloseIdleConnections()
	for _, price := range []int64{1000, 0} {
		event := s.Concert(admin, seats, price)
		body := fmt.Sprintf(`{"event_id":%q,"items":[{"ticket_type_id":%q,"quantity":1}]}`, event.ID, event.TicketTypes[0].ID)
		var won, lost atomic.Int64
		var wg sync.WaitGroup
		for i := range buyers {
			wg.Go(func() {
				for {
					status, text, err := order(client, s.URL, tokens[i%len(tokens)], body, fmt.Sprintf("buyer-%d-%d", price, i))
					switch {
					case err == nil && status == 201:
						won.Add(1)
					case err == nil && status == 409 && strings.Contains(text, `"sold_out"`):
						lost.Add(1)
					case err == nil && (status == 503 || status == 504): // too much at once for a slow machine: buyers come again
						continue
					default:
						t.Errorf("%d %s %v", status, text, err)
					}
					return
				}
			})
		}
		wg.Wait()
		if won.Load() != seats || lost.Load() != buyers-seats {
			t.Errorf("%d orders for %d seats, %d sold out", won.Load(), seats, lost.Load())
		}
		if got := s.Left(event); got.Held+got.Sold != seats || got.Available != 0 || (got.Sold == 0) != (price > 0) {
			t.Errorf("price %d: %+v", price, got)
		}
	}
	stop()
	systemtest.MustAudit(t, cfg, systemtest.Stopped)
}
