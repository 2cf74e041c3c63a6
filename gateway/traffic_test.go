package gateway_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/gateway"
	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// Every read page is counted once, by the host that led there. A HEAD and a refused request are not.
func TestTrafficIsCountedOnce(t *testing.T) {
	d := open(t)
	d.nats.Stream("ANALYTICS", "facts.>")
	ask := func(method, path string, want int, headers ...string) *http.Response {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, d.url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i+1 < len(headers); i += 2 {
			req.Header.Set(headers[i], headers[i+1])
		}
		resp, err := d.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Fatalf("%s %s: %d, want %d", method, path, resp.StatusCode, want)
		}
		return resp
	}
	page := "/v1/events/" + string(theEvent)
	etag := ask("GET", page, 200).Header.Get("ETag")
	ask("GET", page, 200, "Referer", "https://News.example.com/private/page?who=me")
	ask("GET", page, 200, "Referer", "https://news.example.com/")
	ask("GET", page, 200, "Referer", d.url+"/v1/events") // from ourselves
	ask("GET", page, 200, "Referer", "https://a.\u00e4.*.>/")
	ask("GET", page, 304, "If-None-Match", etag)
	ask("HEAD", page, 200)
	ask("GET", page+".x", 404)
	ask("GET", page+"/calendar.ics", 200)
	d.does(func(context.Context) error { return fault.New(fault.NotFound, "gone") })
	ask("GET", page, 404)
	ask("GET", "/v1/events?q=jazz", 200)
	ask("GET", "/v1/events?q=jazz&cursor=abc", 200)
	ask("GET", "/v1/events", 200)

	want := map[string]int64{
		api.FactViews + " " + string(theEvent) + " ":                 4,
		api.FactViews + " " + string(theEvent) + " news.example.com": 2,
		api.FactSearches + "  ":                                      1,
	}
	testkit.Eventually(t, 20*time.Second, func() error {
		got := map[string]int64{}
		for _, m := range d.nats.Messages("ANALYTICS") {
			var f api.TrafficFact
			if err := json.Unmarshal(m.Data, &f); err != nil {
				t.Fatal(err)
			}
			if !f.At.Equal(d.clock.Now().Truncate(time.Minute).UTC()) {
				t.Fatalf("a fact of %v at %v", f.At, d.clock.Now())
			}
			got[m.Subject+" "+string(f.EventID)+" "+f.Referrer] += f.Count
		}
		if !maps.Equal(got, want) {
			return fmt.Errorf("counted %v, want %v", got, want)
		}
		return nil
	})
}

// Whoever looks at an event all the time does not make it popular; what is not counted is answered all the same.
func TestViewsOfOneAddressAreBounded(t *testing.T) {
	d := open(t, func(c *gateway.Config) { c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} })
	d.nats.Stream("ANALYTICS", "facts.>")
	page := "/v1/events/" + string(theEvent)
	views := func(from string, n int) {
		t.Helper()
		for range n {
			if a := d.do("GET", page, "", "X-Forwarded-For", from); a.StatusCode != 200 {
				t.Fatalf("status %d", a.StatusCode)
			}
		}
	}
	views("192.0.2.1", 50)
	views("192.0.2.2", 3)
	d.clock.Advance(time.Minute)
	views("192.0.2.1", 1)
	const want = 30 + 3 + 1
	testkit.Eventually(t, 20*time.Second, func() error {
		var got int64
		for _, m := range d.nats.Messages("ANALYTICS") {
			var f api.TrafficFact
			if err := json.Unmarshal(m.Data, &f); err != nil {
				t.Fatal(err)
			}
			got += f.Count
		}
		if got != want {
			return fmt.Errorf("%d views, want %d", got, want)
		}
		return nil
	})
}
