package pages

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
)

// stall is a site without a system behind it, and an event that it could show.
func stall(t testing.TB) (*Site, *api.Event, map[string]any) {
	t.Helper()
	s, err := New(Config{Name: "Starlight"})
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2030, 5, 17, 18, 0, 0, 0, time.UTC)
	e := &api.Event{ID: ids.New[ids.EventKind](at), Name: "Nocturne", Description: strings.Repeat("Strings after dark. ", 20), Status: api.EventPublished,
		StartsAt: at, EndsAt: at.Add(2 * time.Hour), Timezone: "Europe/Berlin", Revision: 1}
	var offers []offer
	for i := range 3 {
		offers = append(offers, offer{TicketType: api.TicketType{ID: ids.New[ids.TicketTypeKind](at), Name: fmt.Sprint("Seat ", i),
			Price: api.Money{Amount: 1500, Currency: "EUR"}, Quantity: 100}, Left: 20, Most: 10, Choice: []int{0, 1, 2}, State: "open"})
	}
	return s, e, map[string]any{"Event": e, "Dates": []api.Event(nil), "Offers": offers, "Products": []offer(nil), "Open": true, "Over": false}
}

func (s *Site) look(t testing.TB, e *api.Event, data map[string]any, change func(*visit)) *visit {
	t.Helper()
	v := &visit{Request: &Request{RC: &fasthttp.RequestCtx{}}, site: s, lang: "en"}
	v.RC.Request.SetRequestURI("/events/nocturne")
	if change != nil {
		change(v)
	}
	if err := v.showKept("event", e.ID.String()+" "+e.ETag(), data, "Event"); err != nil {
		t.Fatal(err)
	}
	return v
}

// A page is kept for strangers, and is never older than what it is made of.
func TestPagesAreKept(t *testing.T) {
	s, e, data := stall(t)
	first := s.look(t, e, data, nil)
	body, etag := first.RC.Response.Body(), string(first.RC.Response.Header.Peek("ETag"))
	if len(s.kept.pages) != 1 || etag == "" || !bytes.Contains(body, []byte("20 left")) {
		t.Fatalf("%d pages are kept, %s: %s", len(s.kept.pages), etag, body)
	}
	if again := s.look(t, e, data, nil).RC.Response.Body(); &again[0] != &body[0] {
		t.Error("the page was made again")
	}
	if v := s.look(t, e, data, func(v *visit) { v.RC.Request.Header.Set("If-None-Match", etag) }); v.RC.Response.StatusCode() != 304 || len(v.RC.Response.Body()) > 0 {
		t.Errorf("who has the page is answered with %d", v.RC.Response.StatusCode())
	}
	zipped := s.look(t, e, data, func(v *visit) {
		v.RC.Request.Header.Set("Accept-Encoding", "gzip")
		v.RC.Request.Header.Set("If-None-Match", etag)
	})
	if text, err := zipped.RC.Response.BodyGunzip(); err != nil || !bytes.Equal(text, body) {
		t.Errorf("compressed: %v", err)
	}
	for what, change := range map[string]func(*visit){
		"somebody": func(v *visit) { v.access, v.name = "token", "Ada" },
		"a guest":  func(v *visit) { v.guest = "token" },
		"German":   func(v *visit) { v.lang = "de" },
		"a query":  func(v *visit) { v.RC.Request.SetRequestURI("/events/nocturne?from=here") },
		"a tenth":  func(*visit) { data["Offers"].([]offer)[1].Left = 9 },
		"the end":  func(*visit) { data["Over"] = true },
		"renamed":  func(*visit) { e.Revision, e.Name = 2, "Serenade" },
	} {
		t.Run(what, func(t *testing.T) {
			was, name, revision, offers := data["Over"], e.Name, e.Revision, data["Offers"].([]offer)[1].Left
			got := s.look(t, e, data, change)
			if same := bytes.Equal(got.RC.Response.Body(), body); same != (what == "a guest") {
				t.Errorf("the page is the same: %s", body)
			}
			if kept := len(got.RC.Response.Header.Peek("ETag")) > 0; kept != (got.access == "" && got.guest == "") {
				t.Errorf("kept: %t", kept)
			}
			data["Over"], e.Name, e.Revision, data["Offers"].([]offer)[1].Left = was, name, revision, offers
			if back := s.look(t, e, data, nil).RC.Response.Body(); !bytes.Equal(back, body) {
				t.Errorf("the page has changed: %s", back)
			}
		})
	}
	for i := range mostKept + 50 {
		s.look(t, e, data, func(v *visit) { v.RC.Request.SetRequestURI(fmt.Sprint("/events/nocturne?", i)) })
	}
	sum := 0
	for _, p := range s.kept.pages {
		sum += p.size()
	}
	if len(s.kept.pages) > mostKept || s.kept.bytes > mostKeptSize || s.kept.bytes != sum {
		t.Errorf("%d pages of %d bytes are kept, counted as %d", len(s.kept.pages), sum, s.kept.bytes)
	}
	long := len(s.kept.pages)
	s.look(t, e, data, func(v *visit) { v.RC.Request.SetRequestURI("/events/" + strings.Repeat("x", longestKept)) })
	if len(s.kept.pages) != long {
		t.Error("a long address is kept")
	}
}

func BenchmarkEventPage(b *testing.B) {
	s, e, data := stall(b)
	for name, change := range map[string]func(*visit){"kept": nil, "made": func(v *visit) { v.name = "Ada" }} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.look(b, e, data, func(v *visit) {
					v.RC.Request.Header.Set("Accept-Encoding", "gzip")
					if change != nil {
						change(v)
					}
				})
			}
		})
	}
}
