package observe_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// publishLines writes lines into the stream, of which every hundredth is a warning of payment for one request.
func publishLines(t *testing.T, nc *nats.Conn, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		subject, id := "logs.event.info", "other"
		if i%100 == 0 {
			subject, id = "logs.payment.warn", "req_1"
		}
		line := fmt.Sprintf(`{"time":"2026-01-31T18:00:00Z","msg":"%d","request_id":"%s"}`, i, id)
		if err := nc.Publish(subject, []byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
}

// pages reads the stream back to its beginning.
func pages(t *testing.T, ctx context.Context, srv *testkit.NATSServer, opts observe.TailOptions, limit int) (
	got []string, n int) {
	t.Helper()
	for before := uint64(0); ; n++ {
		lines, next, err := observe.Back(ctx, srv.JS, opts, before, limit)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range lines {
			got = append(got, l.Message)
		}
		if len(lines) > limit {
			t.Fatalf("%d lines of %d", len(lines), limit)
		}
		if next == 0 {
			return got, n + 1
		}
		if before > 0 && next >= before {
			t.Fatalf("it goes on at %d, after %d", next, before)
		}
		before = next
	}
}

// Reading back finds every line once, the newest first, however it is divided, and looks at no more than it may at once.
func TestBack(t *testing.T) {
	srv := testkit.NATS(t)
	stream := srv.Stream(observe.LogStream, "logs.>")
	if got, _ := pages(t, t.Context(), srv, observe.TailOptions{}, 10); len(got) > 0 {
		t.Errorf("an empty stream has %v", got)
	}
	const lines = 60_000
	publishLines(t, srv.Conn, 0, lines)
	testkit.Eventually(t, 20*time.Second, func() error {
		info, err := stream.Info(t.Context())
		if err == nil && info.State.Msgs != lines {
			err = fmt.Errorf("%d lines in the stream", info.State.Msgs)
		}
		return err
	})
	var marked []string
	for i := lines - 100; i >= 0; i -= 100 {
		marked = append(marked, fmt.Sprint(i))
	}
	for name, c := range map[string]struct {
		opts  observe.TailOptions
		want  []string
		limit int
		pages int
	}{
		"a request":         {observe.TailOptions{Request: "req_1"}, marked, 1000, 2}, // more than may be looked at at once
		"a level":           {observe.TailOptions{Level: "warn"}, marked, 1000, 1},
		"parts":             {observe.TailOptions{Level: "warn"}, marked, 70, 9},
		"what is not there": {observe.TailOptions{Request: "none"}, nil, 10, 2},
		"what is to come":   {observe.TailOptions{Since: time.Now().Add(time.Hour)}, nil, 10, 1},
	} {
		got, n := pages(t, t.Context(), srv, c.opts, c.limit)
		if !slices.Equal(got, c.want) || n != c.pages {
			t.Errorf("%s: %d lines on %d pages, want %d on %d: %.100s", name, len(got), n, len(c.want), c.pages,
				strings.Join(got, " "))
		}
	}
	if err := stream.Purge(t.Context()); err != nil { // what is aged out does not hold anybody up
		t.Fatal(err)
	}
	publishLines(t, srv.Conn, 200, 201)
	testkit.Eventually(t, 20*time.Second, func() error {
		if got, n := pages(t, t.Context(), srv, observe.TailOptions{}, 10); !slices.Equal(got, []string{"200"}) || n != 1 {
			return fmt.Errorf("%v on %d pages", got, n)
		}
		return nil
	})
	if _, _, err := observe.Back(t.Context(), srv.JS, observe.TailOptions{Level: "loud"}, 0, 10); err == nil {
		t.Error("a level that is none is accepted")
	}
}
