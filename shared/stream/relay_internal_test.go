package stream

import (
	"context"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// What a relay remembers of a row goes with the row, whichever instance has published it.
func TestRelayForgetsRowsThatAreGone(t *testing.T) {
	testkit.DB(t, "ticketing", nil, func(t *testing.T, db *store.DB) {
		err := db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error { return Add(ctx, tx, "ev.a", "x") })
		if err != nil {
			t.Fatal(err)
		}
		var here int64
		if err := db.Read().NewRaw("SELECT seq FROM outbox").Scan(t.Context(), &here); err != nil {
			t.Fatal(err)
		}
		n := testkit.NATS(t)
		r := NewRelay(db, n.JS, nil, nil)
		for seq := here; seq < here+1500; seq++ {
			r.tries[seq], r.held[seq] = 3, time.Now()
		}
		r.measure(t.Context())
		if got := slices.Collect(maps.Keys(r.tries)); !slices.Equal(got, []int64{here}) || len(r.held) != 1 {
			t.Errorf("%d tries and %d held rows are remembered, want those of one", len(r.tries), len(r.held))
		}
	})
}
