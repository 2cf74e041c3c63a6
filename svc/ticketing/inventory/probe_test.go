package inventory

import (
	"testing"
	"time"
)

// A stream that can be read and not be written to is noticed, and noticing it is no seat.
func TestProbe(t *testing.T) {
	n := newStream(t)
	inv := open(t, n)
	event, typ := newEvent()
	if err := inv.OpenPool(t.Context(), event, 1, one(typ, 5)); err != nil {
		t.Fatal(err)
	}
	if err := inv.Probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := inv.Hold(t.Context(), newRef(event), anybody, one(typ, 1), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	ledger, err := Audit(t.Context(), n.JS)
	if err != nil || len(ledger.Broken) > 0 {
		t.Errorf("after a probe: %+v, %v", ledger, err)
	}
	limit := func(bytes int32) {
		t.Helper()
		s, err := n.JS.Stream(t.Context(), Stream)
		if err != nil {
			t.Fatal(err)
		}
		cfg := s.CachedInfo().Config
		cfg.MaxMsgSize = bytes
		if _, err := n.JS.UpdateStream(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
	}
	limit(1)
	if err := inv.Probe(t.Context()); err == nil {
		t.Error("a stream that refuses writes is not noticed")
	}
	limit(-1)
	if err := inv.Probe(t.Context()); err != nil {
		t.Error(err)
	}
}
