package inventory

import (
	"testing"
	"time"
)

// A hold is undone by the call that took it, unless another call relies on it by now.
func TestUndo(t *testing.T) {
	n := newStream(t)
	a, b := open(t, n), open(t, n)
	event, typ := newEvent()
	if err := a.OpenPool(t.Context(), event, 1, one(typ, 10)); err != nil {
		t.Fatal(err)
	}
	end := time.Now().Add(time.Minute)
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	held := func(ref Ref, want bool) {
		t.Helper()
		if _, e := leader(t, a, ref); (e.State == Held) != want {
			t.Errorf("entry is %+v; want held %v", e, want)
		}
	}
	mine := newRef(event)
	do(a.HoldAs(t.Context(), mine, anybody, one(typ, 2), end, "a", nil))
	do(b.Undo(t.Context(), mine, "b"))
	held(mine, true)
	do(a.Undo(t.Context(), mine, "a"))
	held(mine, false)

	ours := newRef(event)
	do(a.HoldAs(t.Context(), ours, anybody, one(typ, 2), end, "a", nil))
	do(b.HoldAs(t.Context(), ours, anybody, one(typ, 2), end.Add(time.Minute), "b", nil))
	do(a.Undo(t.Context(), ours, "a"))
	do(b.Undo(t.Context(), ours, "b"))
	held(ours, true)
	if _, e := leader(t, a, ours); e.Expires != end.Add(time.Minute).UnixMilli() {
		t.Errorf("the shared hold ends %v; want the later of both", time.UnixMilli(e.Expires))
	}
	do(a.Confirm(t.Context(), ours))
	do(b.HoldAs(t.Context(), ours, anybody, one(typ, 2), end, "c", nil))
	do(b.Undo(t.Context(), ours, "c"))
	if _, e := leader(t, a, ours); e.State != Sold {
		t.Errorf("a sold entry is %+v", e)
	}
}
