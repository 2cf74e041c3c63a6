package system_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// mangled replaces the names in a path.
func mangled(path, with string) string {
	for _, name := range rpc.PathNames(path) {
		path = strings.ReplaceAll(path, "{"+name+"}", with)
	}
	return path
}

// Whatever is thrown at an endpoint, it answers a documented problem: never a 5xx, never something else.
func TestMalformedRequests(t *testing.T) {
	s, sys, _ := start(t, config(t.TempDir()))
	admin := s.login(adminEmail)
	s.unlimited(admin)
	id := ids.New[ids.EventKind](time.Now()).String()
	bodies := map[string][]byte{
		"unknown field": []byte(`{"surprise":1}`), "wrong types": []byte(`{"email":1,"name":[],"items":{},"quantity":"x","capacity":"y","value":{},"roles":7,"code":{},"outcome":[]}`),
		"an array": []byte(`[]`), "half": []byte(`{"a":`), "two": []byte(`{} {}`), "not text": {'{', '"', 0xff, 0xfe, '"', ':', '1', '}'},
		"deep": []byte(strings.Repeat("[", 50000)), "huge": []byte(`{"name":"` + strings.Repeat("x", 1<<20) + `"}`), "null": []byte("null"), "a nul": []byte("{\"name\":\"\x00\"}"),
	}
	checked := 0
	check := func(what, method, path string, body any) {
		t.Helper()
		got, err := s.send(method, path, admin, body)
		if err != nil {
			return // the server closed the connection on a body that it does not want
		}
		checked++
		if got.status < 400 { // there are endpoints that a body does not concern
			return
		}
		var p problem
		if got.status >= 500 || got.header.Get("Content-Type") != "application/problem+json" || json.Unmarshal(got.body, &p) != nil || p.Code == "" || p.RequestID == "" {
			t.Errorf("%s %s with %s: %d %.200s", method, path, what, got.status, got.body)
		}
	}
	for _, d := range api.All() {
		if d.Path == "" || d.Name == "logout" || d.Name == "delete_me" {
			continue
		}
		for _, wild := range []string{"*", ">", ".", "%00", "%0d%0aX:%20y", "evt_*", strings.Repeat("a", 3000), "%2e%2e%2f", "%ff", "ev%20t", id + "x", id} {
			check("path "+wild, d.Method, mangled(d.Path, wild), nil)
		}
		if d.Method != "GET" && !d.Raw {
			for what, body := range bodies {
				check(what, d.Method, mangled(d.Path, id), body)
			}
		}
		for _, query := range []string{"?cursor=%00", "?cursor=!!!!", "?limit=-1", "?limit=100000000000000000000", "?limit=x", "?nonsense=1", "?from=yesterday", "?organizer=*", "?limit=1&limit=2"} {
			if d.Method == "GET" {
				check("query "+query, d.Method, mangled(d.Path, id)+query, nil)
			}
		}
		check("another method", "TRACE", mangled(d.Path, id), nil)
	}
	if checked < 500 {
		t.Errorf("only %d answers were checked", checked)
	}
	event := func(change string) string {
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
		return "{" + strings.Join(out, ",") + "}"
	}
	kind := func(price, currency, quantity string) string {
		return fmt.Sprintf(`ticket_types=[{"name":"T","price":{"amount":%s,"currency":%q},"quantity":%s}]`, price, currency, quantity)
	}
	if got, err := s.send("POST", "/v1/events", admin, []byte(event("name=\"Good\""))); err != nil || got.status != 201 {
		t.Fatalf("the good event is refused: %d %s", got.status, got.body)
	}
	for _, change := range []string{kind("1", "EUR", "-5"), kind("-1", "EUR", "5"), kind("9223372036854775807", "EUR", "5"), kind("92233720368547758070", "EUR", "5"), kind("1.5", "EUR", "5"),
		kind("1", "XXQ", "5"), kind("1", "eur", "5"), kind("1", "", "5"), kind("1", "EUR", "99999999999"), `timezone="Mars/Olympus"`, `timezone="Local"`, `timezone="../../etc/passwd"`, `capacity=-1`,
		`capacity=1e99`, `starts_at="soon"`, `ends_at="1999-01-01T00:00:00Z"`, `name=""`, `name="a\r\nb"`, `location={"name":"H","city":"B","country":"Q1"}`,
		`location={"name":"H","city":"B","country":"DE","latitude":95,"longitude":1}`, `surprise=1`} {
		s.refused("invalid", "POST", "/v1/events", admin, []byte(event(change)))
	}
	resp, err := http.Get(sys.OpsURL() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	panics := 0
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "starlight_rpc_panics_total{") {
			panics++
			if !strings.HasSuffix(line, " 0\n") {
				t.Error(strings.TrimSpace(line))
			}
		}
	}
	if panics == 0 {
		t.Error("there is no metric for panics")
	}
}

// A thousand orders at once for a hundred seats, over HTTP.
func TestThousandBuyers(t *testing.T) {
	cfg := config(t.TempDir())
	s, _, stop := start(t, cfg)
	admin := s.login(adminEmail)
	s.unlimited(admin)
	event := s.concert(admin, 100, 1000)
	client := &http.Client{Transport: &http.Transport{MaxConnsPerHost: 200, MaxIdleConnsPerHost: 200}}
	defer client.CloseIdleConnections()
	body := fmt.Sprintf(`{"event_id":%q,"items":[{"ticket_type_id":%q,"quantity":1}]}`, event.ID, event.TicketTypes[0].ID)
	var won, lost atomic.Int64
	var wg sync.WaitGroup
	for range 1000 {
		wg.Go(func() {
			req, err := http.NewRequest("POST", s.url+"/v1/orders", strings.NewReader(body))
			if err != nil {
				t.Error(err)
				return
			}
			req.Header.Set("Content-Type", "application/json")
			req.Header.Set("Authorization", "Bearer "+admin)
			resp, err := client.Do(req)
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			text, err := io.ReadAll(resp.Body)
			switch {
			case err == nil && resp.StatusCode == 201:
				won.Add(1)
			case err == nil && resp.StatusCode == 409 && strings.Contains(string(text), `"sold_out"`):
				lost.Add(1)
			default:
				t.Errorf("%d %s %v", resp.StatusCode, text, err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 100 || lost.Load() != 900 {
		t.Errorf("%d orders for 100 seats, %d sold out", won.Load(), lost.Load())
	}
	if got := s.left(event); got.Held != 100 || got.Available != 0 {
		t.Errorf("%+v", got)
	}
	stop()
	audit(t, cfg, stopped)
}
