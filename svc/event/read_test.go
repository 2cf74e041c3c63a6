package event

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	ics "github.com/arran4/golang-ical"
	"github.com/nats-io/nats.go"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/event/organizer"
)

func names(l *api.List[api.Event]) (out []string) {
	for _, e := range l.Items {
		out = append(out, e.Name)
	}
	return out
}

func TestListShowsWhatMayBeSeen(t *testing.T) {
	w := start(t)
	w.published("public")
	draft := w.draft("draft")
	must(w, anna, api.CancelEvent, api.CancelEventRequest{ID: w.published("off").ID})
	helped := w.draft("helped")
	must(w, anna, api.PutTeamMember, api.SetTeamMember{EventID: helped.ID, UserID: ben.User, Role: api.RoleDoor})
	for _, c := range []struct {
		who   rpc.Principal
		query api.EventQuery
		want  []string
	}{
		{nob, api.EventQuery{}, []string{"public"}},
		{anna, api.EventQuery{}, []string{"public"}},
		{nob, api.EventQuery{Status: api.EventDraft}, nil},
		{person("x"), api.EventQuery{Status: api.EventDraft}, nil},
		{person("x"), api.EventQuery{Status: api.EventDraft, Organizer: anna.User.String()}, nil},
		{ben, api.EventQuery{Status: api.EventDraft}, []string{"helped"}},
		{anna, api.EventQuery{Status: api.EventDraft}, []string{"draft", "helped"}},
		{admin, api.EventQuery{Status: api.EventDraft}, []string{"draft", "helped"}},
		{admin, api.EventQuery{Status: api.EventCancelled, Q: "of"}, []string{"off"}},
		{nob, api.EventQuery{Status: api.EventCancelled}, nil},
		{nob, api.EventQuery{Q: "Berlin PUB"}, []string{"public"}},
		{nob, api.EventQuery{Q: "draft"}, nil},
		{nob, api.EventQuery{Q: `"'*:& `}, nil},
		{nob, api.EventQuery{City: "BERLIN", Country: "de", Category: "Music"}, []string{"public"}},
		{nob, api.EventQuery{City: "Hamburg"}, nil},
		{nob, api.EventQuery{From: draft.EndsAt.Add(time.Second)}, nil},
	} {
		got := names(must(w, c.who, api.ListEvents, c.query))
		slices.Sort(got)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s %+v: %v, want %v", c.who.User, c.query, got, c.want)
		}
	}
	w.clock.Set(draft.EndsAt.Add(time.Second))
	if got := names(must(w, nob, api.ListEvents, api.EventQuery{})); got != nil {
		t.Errorf("what is over is listed: %v", got)
	}
	if got := names(must(w, nob, api.ListEvents, api.EventQuery{From: draft.StartsAt})); len(got) != 1 {
		t.Errorf("what is over is not listed when asked for: %v", got)
	}
}

func TestListPages(t *testing.T) {
	w := start(t)
	var want []string
	for i := range 7 {
		req := draftOf(fmt.Sprint("night ", i))
		req.StartsAt = req.StartsAt.Add(time.Duration(i/2) * time.Hour)
		req.EndsAt = req.StartsAt.Add(time.Hour)
		must(w, anna, api.PublishEvent, api.EventToPublish{ID: must(w, anna, api.CreateEvent, req).ID})
		want = append(want, req.Name)
	}
	var got []string
	query := api.EventQuery{Page: api.Page{Limit: 3}, Q: "night"}
	for range 3 {
		page := must(w, nob, api.ListEvents, query)
		got = append(got, names(page)...)
		query.Cursor = page.NextCursor
	}
	slices.Sort(got)
	if !slices.Equal(got, want) || query.Cursor != "" {
		t.Errorf("pages have %v and end with cursor %q", got, query.Cursor)
	}
	for _, c := range []struct {
		query api.EventQuery
		field string
	}{
		{api.EventQuery{Page: api.Page{Limit: -1}}, "limit"},
		{api.EventQuery{Page: api.Page{Limit: 201}}, "limit"},
		{api.EventQuery{Page: api.Page{Cursor: "wild"}}, "cursor"},
		{api.EventQuery{Status: "secret"}, "status"},
		{api.EventQuery{Category: "a b"}, "category"},
		{api.EventQuery{Country: "XX"}, "country"},
		{api.EventQuery{Q: strings.Repeat("a", 201)}, "q"},
		{api.EventQuery{From: time.Date(9000, 1, 1, 0, 0, 0, 0, time.UTC)}, "from"},
		{api.EventQuery{From: time.Date(2030, 2, 1, 0, 0, 0, 0, time.UTC),
			To: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)}, "to"},
	} {
		_, err := call(w, nob, api.ListEvents, c.query)
		if got := fields(err); !slices.Equal(got, []string{c.field}) {
			t.Errorf("%+v: %v, want a fault of %s", c.query, err, c.field)
		}
	}
}

func TestGetIsAsNewAsTheLastChange(t *testing.T) {
	w := start(t)
	e := w.published("Quartet")
	for i := range 20 {
		name := fmt.Sprint("Name ", i)
		must(w, anna, api.UpdateEvent, api.PatchEvent{ID: e.ID, Name: &name})
		if got := must(w, nob, api.GetEvent, api.EventRef{ID: e.ID}); got.Name != name {
			t.Fatalf("read %q after %q was written", got.Name, name)
		}
	}
	m, err := w.nats.Conn.RequestMsg(&nats.Msg{Subject: api.GetEvent.Subject(), Header: nats.Header{
		rpc.HeaderParams: {"id=" + e.ID.String()}, rpc.HeaderHTTP + rpc.IfNoneMatch: {`"m"`}}}, 5*time.Second)
	if err != nil || m.Header[rpc.HeaderStatus] == nil || m.Header[rpc.HeaderStatus][0] != "304" || len(m.Data) != 0 {
		t.Errorf("revision 22 is %q in base 36: %v %v", "m", m, err)
	}
}

// TestOtherInstancesHear changes an event through one instance and reads it from another, whose clock stands still:
// what it has in memory never gets too old.
func TestOtherInstancesHear(t *testing.T) {
	w := start(t)
	other := w.instance()
	e := w.published("Quartet")
	read := func() (string, error) {
		v, err := other.get(t.Context(), &api.EventRef{ID: e.ID})
		if err != nil {
			return "", err
		}
		var got api.Event
		err = json.Unmarshal(v.JSON, &got)
		return got.Name, err
	}
	if name, err := read(); name != "Quartet" || err != nil {
		t.Fatal(name, err)
	}
	if _, err := w.service.update(w.as(anna), &api.PatchEvent{ID: e.ID, Name: at("Quintet")}); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, 5*time.Second, func() error {
		if name, err := read(); name != "Quintet" || err != nil {
			return fmt.Errorf("the other instance still says %q, %v", name, err)
		}
		return nil
	})
}

// source is what a cache reads from.
type source struct {
	reads atomic.Int64
	gate  chan struct{} // if set, a read takes one
	mu    sync.Mutex
	event api.Event
	err   error
}

func (s *source) load(ctx context.Context, id ids.Event) (storedEvent, error) {
	s.reads.Add(1)
	s.mu.Lock()
	e, err := s.event, s.err
	s.mu.Unlock()
	if s.gate != nil {
		select {
		case <-s.gate:
		case <-ctx.Done():
			return storedEvent{}, ctx.Err()
		}
	}
	e.ID = id
	return storedEvent{record: &record{Offer: api.Offer{Event: e}}}, err
}

func TestCache(t *testing.T) {
	clock := testkit.NewClock(time.Time{})
	id := ids.New[ids.EventKind](clock.Now())
	fresh := func(s *source) *cache {
		return newCache(s.load, clock.Now, func() bool { return true }, observe.NewRegistry())
	}
	revision := func(c *cache) int64 {
		v, err := c.get(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		return v.record.Event.Revision
	}
	t.Run("keeps for a second", func(t *testing.T) {
		s := &source{event: api.Event{Status: api.EventPublished, Revision: 1}}
		c := fresh(s)
		revision(c)
		s.event.Revision = 2
		clock.Advance(cacheTTL - 1)
		if got := revision(c); got != 1 || s.reads.Load() != 1 {
			t.Errorf("revision %d after %d reads", got, s.reads.Load())
		}
		clock.Advance(1)
		if got := revision(c); got != 2 {
			t.Errorf("revision %d after a second", got)
		}
	})
	t.Run("keeps no drafts and no faults", func(t *testing.T) {
		s := &source{event: api.Event{Status: api.EventDraft, Revision: 1}}
		c := fresh(s)
		revision(c)
		s.event.Revision = 2
		if got := revision(c); got != 2 {
			t.Errorf("revision %d of a draft", got)
		}
		s.err = errNoEvent()
		if _, err := c.get(t.Context(), id); !fault.Is(err, fault.NotFound) {
			t.Error(err)
		}
		s.err = nil
		revision(c)
	})
	t.Run("one read for many", func(t *testing.T) {
		s := &source{event: api.Event{Status: api.EventPublished}, gate: make(chan struct{})}
		c := fresh(s)
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				if _, err := c.get(context.Background(), id); err != nil {
					t.Error(err)
				}
			})
		}
		left, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := c.get(left, id); !errors.Is(err, context.Canceled) {
			t.Errorf("a caller who left got %v", err)
		}
		close(s.gate)
		all.Wait()
		if s.reads.Load() != 1 {
			t.Errorf("%d reads", s.reads.Load())
		}
	})
	t.Run("a read from before a change is not kept", func(t *testing.T) {
		s := &source{event: api.Event{Status: api.EventPublished, Revision: 1}, gate: make(chan struct{})}
		c := fresh(s)
		done := make(chan int64)
		go func() { done <- revision(c) }()
		testkit.Eventually(t, 5*time.Second, func() error {
			if s.reads.Load() == 0 {
				return errors.New("not reading yet")
			}
			return nil
		})
		s.mu.Lock()
		s.event.Revision = 2
		s.mu.Unlock()
		c.drop(id)
		s.gate <- struct{}{}
		<-done
		close(s.gate)
		if got := revision(c); got != 2 {
			t.Errorf("revision %d after the change", got)
		}
	})
	t.Run("is bounded", func(t *testing.T) {
		s := &source{event: api.Event{Status: api.EventPublished}}
		c := fresh(s)
		for range cacheSize + 10 {
			if _, err := c.get(t.Context(), ids.New[ids.EventKind](clock.Now())); err != nil {
				t.Fatal(err)
			}
		}
		if len(c.views) > cacheSize || len(c.flights) != 0 {
			t.Errorf("%d events and %d reads", len(c.views), len(c.flights))
		}
	})
}

func TestCalendar(t *testing.T) {
	w := start(t)
	req := draftOf("Jazz, Blues; \\ & «Soul»: a night")
	req.Description = "Doors: 19:00\r\nBEGIN:VEVENT\nBring; your, own \\n chairs. " +
		strings.Repeat("Ein Abend voller Töne, наконец. ", 20)
	// the hour that comes twice in Berlin
	req.StartsAt = time.Date(2030, 10, 27, 2, 30, 0, 0, time.FixedZone("", 2*3600))
	req.EndsAt = req.StartsAt.Add(time.Hour)
	req.Location.Latitude, req.Location.Longitude = at(52.51), at(13.37)
	e := must(w, anna, api.CreateEvent, req)
	must(w, anna, api.PublishEvent, api.EventToPublish{ID: e.ID})

	read := func() (*ics.VEvent, string) {
		t.Helper()
		blob := must(w, nob, api.GetCalendar, api.EventRef{ID: e.ID})
		if !strings.HasPrefix(blob.ContentType, "text/calendar") {
			t.Errorf("content type %q", blob.ContentType)
		}
		text := string(blob.Data)
		if strings.Count(text, "\n") != strings.Count(text, "\r\n") {
			t.Error("lines do not end with CRLF")
		}
		for line := range strings.SplitSeq(text, "\r\n") {
			if len(line) > 75 {
				t.Errorf("a line has %d bytes: %q", len(line), line)
			}
		}
		cal, err := ics.ParseCalendar(strings.NewReader(text))
		if err != nil || len(cal.Events()) != 1 {
			t.Fatalf("%v in\n%s", err, text)
		}
		return cal.Events()[0], text
	}
	v, text := read()
	for property, want := range map[ics.ComponentProperty]string{
		ics.ComponentPropertyUniqueId:    e.ID.String() + "@starlightsymphony",
		ics.ComponentPropertySummary:     req.Name,
		ics.ComponentPropertyDescription: strings.ReplaceAll(req.Description, "\r\n", "\n"),
		ics.ComponentPropertyLocation:    "Philharmonie, Berlin, DE",
		ics.ComponentPropertyStatus:      "CONFIRMED",
		ics.ComponentPropertySequence:    "2",
		ics.ComponentPropertyGeo:         "52.510000;13.370000",
		ics.ComponentPropertyDtStart:     "20301027T003000Z",
	} {
		p := v.GetProperty(property)
		if p == nil || p.Value != want {
			t.Errorf("%s is %+v, want %q", property, p, want)
		}
	}
	if end, err := v.GetEndAt(); err != nil || !end.Equal(req.EndsAt) {
		t.Errorf("end %v %v", end, err)
	}
	if strings.Count(text, "BEGIN:VEVENT\r\n") != 1 {
		t.Errorf("a description became an event:\n%s", text)
	}
	organizer := v.GetProperty(ics.ComponentPropertyOrganizer)
	if !strings.Contains(text, "\r\nMETHOD:PUBLISH\r\n") || organizer == nil {
		t.Errorf("no method or organizer in\n%s", text)
	}
	must(w, anna, api.CancelEvent, api.CancelEventRequest{ID: e.ID, Reason: "rain, again"})
	v, text = read()
	if by := v.GetProperty(ics.ComponentPropertyOrganizer); by == nil || by.Value != organizer.Value ||
		!strings.Contains(text, "\r\nMETHOD:CANCEL\r\n") ||
		v.GetProperty(ics.ComponentPropertyUniqueId).Value != e.ID.String()+"@starlightsymphony" ||
		v.GetProperty(ics.ComponentPropertySequence).Value != "3" {
		t.Errorf("the entry is not taken back by\n%s", text)
	}
	if got := v.GetProperty(ics.ComponentPropertyStatus).Value; got != "CANCELLED" {
		t.Errorf("status %q", got)
	}
	if got := v.GetProperty(ics.ComponentPropertySequence).Value; got != "3" {
		t.Errorf("sequence %q", got)
	}
}

func FuzzCursor(f *testing.F) {
	f.Add(encodeCursor(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC), "evt_00000000000000000000000000"))
	f.Add("")
	f.Add("AAAA")
	f.Fuzz(func(t *testing.T, cursor string) {
		start, id, err := decodeCursor(cursor)
		if err != nil {
			wantCode(t, err, fault.Invalid)
			return
		}
		if cursor != "" && encodeCursor(start, id) != cursor {
			t.Errorf("%q reads as %v %s, which is %q", cursor, start, id, encodeCursor(start, id))
		}
	})
}

func FuzzSearch(f *testing.F) {
	db := testkit.Open(f, testkit.SQLite(f), "event", Migrations())
	b := eventStore{db: db, now: time.Now, organizers: organizer.New(organizer.Deps{DB: db, Now: time.Now})}
	keep(f, b, func(*record) {})
	for _, q := range []string{"quartet", `"`, "a OR b*", "NEAR(a b)", "search_text:x", "\x00", "ǘ", "' \\ :*",
		"ﬁ ½ ²", "ʼn", "AKB48劇場 大阪 交響楽団", "กรุงเทพ", "\u3099か"} {
		f.Add(q)
	}
	f.Fuzz(func(t *testing.T, q string) {
		asked := terms(q)
		for _, term := range asked {
			if term.word == "" || strings.ContainsAny(term.word, "\"'\\*:&|!()<> \t\n\x00") {
				t.Fatalf("%q has the word %q", q, term.word)
			}
		}
		if len(asked) == 0 {
			return
		}
		if _, err := b.list(t.Context(), filter{terms: asked, status: api.EventPublished, limit: 1}); err != nil {
			t.Errorf("%q: %v", q, err)
		}
		// A text finds itself.
		index := strings.Fields(searchText(&api.Event{Name: q}))
		for _, term := range asked {
			found := slices.ContainsFunc(index,
				func(w string) bool { return w == term.word || term.prefix && strings.HasPrefix(w, term.word) })
			if !found {
				t.Errorf("%q is indexed by %q and searched by %+v", q, index, asked)
			}
		}
	})
}
