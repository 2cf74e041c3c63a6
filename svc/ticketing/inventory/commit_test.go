package inventory

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/ids"
)

// BenchmarkRound is what a commit of 50 orders costs but for the stream: to decide, to encode, to take over.
func BenchmarkRound(b *testing.B) {
	event, typ := newEvent()
	inv := &Inventory{states: map[ids.Event]*state{}, perUser: map[ids.User]int{}, now: time.Now}
	st := &state{Pool: Pool{Types: []Counts{{Type: typ, Capacity: 1 << 40}}}, exists: true, orders: map[ids.Order]Entry{}}
	inv.states[event] = st
	expires := time.Now().Add(time.Hour).UnixMilli()
	refs := make([]Ref, 50)
	for i := range refs {
		refs[i] = newRef(event)
	}
	b.ReportAllocs()
	for b.Loop() {
		for _, kind := range []opKind{hold, release} {
			r := newRound(st)
			for _, ref := range refs {
				r.apply(&op{kind: kind, Ref: ref, entry: Entry{State: Held, Lines: one(typ, 1), User: anybody, Expires: expires, Op: "a"}})
			}
			rec := r.record()
			data, err := json.Marshal(&rec)
			if err != nil {
				b.Fatal(err)
			}
			inv.applyRecord(event, st, stored{record: rec, exists: true, seq: st.seq + 1, at: time.Now(), size: len(data)})
		}
		inv.expiry = inv.expiry[:0]
	}
}
