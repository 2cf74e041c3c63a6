package inventory

import (
	"errors"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/ids"
)

// A pool that is being filled in again gives seats to none but those who had them, and an entry is mended only if it is
// still what was seen.
func TestClosedPoolIsMended(t *testing.T) {
	n := newStream(t)
	a, b := open(t, n), open(t, n)
	event, typ := newEvent()
	ctx, expires := t.Context(), time.Now().Add(time.Hour)
	ref, other := newRef(event), newRef(event)
	for range 2 { // the second changes nothing
		if err := a.OpenClosed(ctx, event, 1, one(typ, 2)); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Hold(ctx, other, anybody, one(typ, 1), expires); !errors.Is(err, ErrClosed) {
		t.Errorf("a hold meanwhile: %v", err)
	}
	if err := b.Sell(ctx, other, anybody, one(typ, 1), "late", nil); !errors.Is(err, ErrClosed) {
		t.Errorf("a sale meanwhile: %v", err)
	}
	if err := b.Return(ctx, other); !errors.Is(err, ErrClosed) {
		t.Errorf("given back meanwhile: %v", err)
	}
	sold := Entry{State: Sold, Lines: one(typ, 2), User: anybody, Op: ref.Order.String()}
	if err := a.Mend(ctx, ref, Entry{}, sold); err != nil {
		t.Fatal(err)
	}
	if err := b.Mend(ctx, ref, Entry{}, Entry{State: Held, Lines: one(typ, 1), Op: "x"}); !errors.Is(err, errChanged) {
		t.Errorf("an entry that has changed since: %v", err)
	}
	if err := a.Mend(ctx, other, Entry{}, Entry{State: Held, Lines: one(typ, 1), Op: "x"}); !errors.Is(err, ErrSoldOut) {
		t.Errorf("no room: %v", err)
	}
	if err := a.Reopen(ctx, event); err != nil {
		t.Fatal(err)
	}
	known, err := b.Entries(ctx, event)
	if err != nil || len(known) != 1 || known[ref.Order].State != Sold {
		t.Fatalf("%v %+v", err, known)
	}
	if err := b.Resize(ctx, ids.New[ids.EventKind](time.Now()), 1, one(typ, 2)); !errors.Is(err, ErrNoPool) {
		t.Errorf("quantities of an event that has no pool: %v", err)
	}
	if err := b.Mend(ctx, ref, known[ref.Order], Entry{}); err != nil {
		t.Fatal(err)
	}
	if err := b.Hold(ctx, other, anybody, one(typ, 2), expires); err != nil {
		t.Errorf("a hold afterwards: %v", err)
	}
	if c, _ := leader(t, a, other); c.Held != 2 || c.Sold != 0 {
		t.Errorf("the pool is %+v", c)
	}
}
