package inventory

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"pgregory.net/rapid"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
)

func newCode() ids.PromoCode { return ids.New[ids.PromoCodeKind](time.Now()) }

func newQuota() ids.Quota { return ids.New[ids.QuotaKind](time.Now()) }

// holdWith holds tickets with a code.
func holdWith(t testing.TB, inv *Inventory, ref Ref, typ ids.TicketType, n int, terms *Terms) error {
	t.Helper()
	return inv.HoldAs(t.Context(), ref, anybody, one(typ, n), time.Now().Add(time.Hour), ref.Order.String(), terms)
}

func want(t testing.TB, err, wanted error) {
	t.Helper()
	if !errors.Is(err, wanted) {
		t.Fatalf("%v, want %v", err, wanted)
	}
}

// Of the buyers who come at once with a code, through several instances, exactly as many use it as may.
func TestCodeIsUsedAsOftenAsItMayBe(t *testing.T) {
	n := newStream(t)
	stop := watch(t, n)
	a, b := open(t, n), open(t, n)
	event, typ := newEvent()
	if err := a.OpenPool(t.Context(), event, 1, one(typ, 10_000)); err != nil {
		t.Fatal(err)
	}
	terms := &Terms{Code: newCode(), Limit: 100, Revision: 1}
	var used, refused atomic.Int64
	var wg sync.WaitGroup
	refs := make([]Ref, 1000)
	for i := range refs {
		refs[i] = newRef(event)
		wg.Go(func() {
			switch err := holdWith(t, []*Inventory{a, b}[i%2], refs[i], typ, 1, terms); {
			case err == nil:
				used.Add(1)
			case errors.Is(err, ErrUsedUp):
				refused.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if used.Load() != 100 || refused.Load() != 900 {
		t.Fatalf("used %d times, refused %d times", used.Load(), refused.Load())
	}
	// What ends gives its use back, however often it ends; what is sold keeps it until it is returned.
	var held []Ref
	for _, ref := range refs {
		if a.load(t.Context(), event) == nil && a.entry(ref).State == Held {
			held = append(held, ref)
		}
	}
	for _, end := range []func(Ref) error{
		func(r Ref) error { return a.Release(t.Context(), r) },
		func(r Ref) error { return b.Return(t.Context(), r) },
		func(r Ref) error { return a.Undo(t.Context(), r, r.Order.String()) },
		func(r Ref) error {
			return errors.Join(b.Confirm(t.Context(), r), b.Confirm(t.Context(), r), a.Reduce(t.Context(), r, nil))
		},
	} {
		ref := held[0]
		held = held[1:]
		for range 2 {
			if err := end(ref); err != nil && !errors.Is(err, ErrGone) {
				t.Fatal(err)
			}
		}
		want(t, holdWith(t, b, newRef(event), typ, 1, terms), nil)
		want(t, holdWith(t, a, newRef(event), typ, 1, terms), ErrUsedUp)
	}
	if err := a.Confirm(t.Context(), held[0]); err != nil {
		t.Fatal(err)
	}
	// A lower limit lets no further order in, and older terms do not count any more.
	if err := a.SetCode(t.Context(), event, Terms{Code: terms.Code, Limit: 99, Revision: 2}); err != nil {
		t.Fatal(err)
	}
	if err := a.Release(t.Context(), held[1]); err != nil {
		t.Fatal(err)
	}
	want(t, holdWith(t, b, newRef(event), typ, 1, terms), ErrUsedUp)
	if err := a.SetCode(t.Context(), event, Terms{Code: terms.Code, Limit: NoUses, Revision: 3}); err != nil {
		t.Fatal(err)
	}
	want(t, holdWith(t, b, newRef(event), typ, 1, &Terms{Code: terms.Code, Limit: 200, Revision: 2}), ErrUsedUp)
	l := stop()
	if c := l.Uses(event)[terms.Code]; c.Held != 98 || c.Sold != 1 || len(l.Broken) > 0 {
		t.Errorf("%+v, broken: %v", c, l.Broken)
	}
}

// useHistory lets clients take through the instances what counter specifies, and give most of it back.
func useHistory(t *testing.T, take func(inv *Inventory, ref Ref) error, instances ...*Inventory) []porcupine.Operation {
	t.Helper()
	start := time.Now()
	var (
		mu  sync.Mutex
		ops []porcupine.Operation
		wg  sync.WaitGroup
	)
	record := func(client int, op seat, call time.Duration, won bool) {
		mu.Lock()
		defer mu.Unlock()
		ops = append(ops, porcupine.Operation{ClientId: client, Input: op, Call: call.Nanoseconds(), Output: won,
			Return: time.Since(start).Nanoseconds()})
	}
	for client := range 9 {
		wg.Go(func() {
			inv := instances[client%len(instances)]
			rng := rand.New(rand.NewPCG(uint64(client), 7))
			for range 20 {
				ref := Ref{Order: ids.New[ids.OrderKind](time.Now())}
				call := time.Since(start)
				err := take(inv, ref)
				if err != nil && !errors.Is(err, ErrSoldOut) && !errors.Is(err, ErrUsedUp) {
					t.Error(err)
					return
				}
				if record(client, seat{n: 1}, call, err == nil); err != nil || rng.IntN(8) == 0 {
					continue
				}
				ref.Event = inv.anEvent()
				call = time.Since(start)
				if err := inv.Release(t.Context(), ref); err != nil {
					t.Error(err)
					return
				}
				record(client, seat{n: 1, back: true}, call, true)
			}
		})
	}
	wg.Wait()
	return ops
}

// anEvent returns the only event that there is.
func (inv *Inventory) anEvent() ids.Event { return inv.Events()[0] }

func TestCodesAndQuotasAreLinearizable(t *testing.T) {
	const limit = 4
	for _, mutant := range []bool{false, true} {
		for _, kind := range []string{"code", "quota"} {
			t.Run(fmt.Sprintf("%s, mutant %v", kind, mutant), func(t *testing.T) {
				n := newStream(t)
				a, b, c := open(t, n), open(t, n), open(t, n)
				event, typ := newEvent()
				_, other := newEvent()
				terms := &Terms{Code: newCode(), Limit: limit, Revision: 1}
				quota := api.QuotaShare{ID: newQuota(), Capacity: 1000, Types: []ids.TicketType{typ, other}}
				if kind == "quota" {
					quota.Capacity = limit
					terms = nil
				}
				if mutant && kind == "code" { // takes no part in the decision
					terms.Limit = 0
				}
				if mutant && kind == "quota" { // forgets a type
					quota.Types = quota.Types[:1]
				}
				err := a.OpenPool(t.Context(), event, 1, []Line{{Type: typ, N: 1000}, {Type: other, N: 1000}}, quota)
				if err != nil {
					t.Fatal(err)
				}
				var odd atomic.Int64
				ops := useHistory(t, func(inv *Inventory, ref Ref) error {
					ref.Event = event
					return holdWith(t, inv, ref, []ids.TicketType{typ, other}[odd.Add(1)%2], 1, terms)
				}, a, b, c)
				refused := 0
				for _, op := range ops {
					if !op.Output.(bool) {
						refused++
					}
				}
				got := porcupine.CheckOperationsTimeout(counter(limit), ops, 20*time.Second)
				if !mutant && (got != porcupine.Ok || refused == 0) || mutant && got != porcupine.Illegal {
					t.Errorf("%d operations, %d refused: %s", len(ops), refused, got)
				}
			})
		}
	}
}

func TestQuotaIsShared(t *testing.T) {
	n := newStream(t)
	stop := watch(t, n)
	inv := open(t, n)
	event, hall := newEvent()
	_, student := newEvent()
	quantities := []Line{{Type: hall, N: 10}, {Type: student, N: 10}}
	all := api.QuotaShare{ID: newQuota(), Capacity: 8, Types: []ids.TicketType{hall, student}}
	few := api.QuotaShare{ID: newQuota(), Capacity: 3, Types: []ids.TicketType{student}}
	if err := inv.OpenPool(t.Context(), event, 1, quantities, all, few); err != nil {
		t.Fatal(err)
	}
	free := func(wantHall, wantStudent int) {
		t.Helper()
		p, err := inv.Pool(t.Context(), event)
		if h, s := p.Free(hall, ""), p.Free(student, ""); err != nil || h != wantHall || s != wantStudent {
			t.Fatalf("free are %d and %d, want %d and %d: %v", h, s, wantHall, wantStudent, err)
		}
	}
	hold := func(typ ids.TicketType, k int, wanted error) Ref {
		t.Helper()
		ref := newRef(event)
		want(t, holdWith(t, inv, ref, typ, k, nil), wanted)
		return ref
	}
	free(8, 3)
	hold(student, 4, ErrSoldOut)
	first := hold(student, 3, nil)
	free(5, 0)
	// One order with both types takes both from the quota that they share, or nothing.
	ref := newRef(event)
	err := inv.Hold(t.Context(), ref, anybody, []Line{{Type: hall, N: 5}, {Type: student, N: 1}}, time.Now().Add(time.Hour))
	want(t, err, ErrSoldOut)
	free(5, 0)
	want(t, inv.Sell(t.Context(), ref, anybody, one(hall, 3), "paid", nil), nil)
	// A venue's lease draws on it, too.
	lease := ids.New[ids.LeaseKind](time.Now())
	want(t, inv.MoveLease(t.Context(), event, lease, hall, 1, 3, false), ErrSoldOut)
	want(t, inv.MoveLease(t.Context(), event, lease, hall, 2, 2, false), ErrSoldOut) // made closed by the refusal
	lease = ids.New[ids.LeaseKind](time.Now())
	want(t, inv.MoveLease(t.Context(), event, lease, hall, 1, 2, false), nil)
	free(0, 0)
	// No smaller than what is used.
	all.Capacity = 7
	want(t, inv.Resize(t.Context(), event, 2, quantities, all, few), ErrBelow)
	want(t, inv.Release(t.Context(), first), nil)
	want(t, inv.Resize(t.Context(), event, 2, quantities, all, few), nil)
	free(2, 2)
	want(t, inv.Resize(t.Context(), event, 3, quantities), nil)
	free(5, 10)
	few.Capacity = 4
	few.Types = []ids.TicketType{hall}
	want(t, inv.Resize(t.Context(), event, 4, quantities, few), ErrBelow) // five halls are sold and leased
	if l := stop(); len(l.Broken) > 0 {
		t.Error(l.Broken)
	}
}

func TestSeatsAreKeptForACode(t *testing.T) {
	n := newStream(t)
	stop := watch(t, n)
	inv := open(t, n)
	event, typ := newEvent()
	_, other := newEvent()
	quota := api.QuotaShare{ID: newQuota(), Capacity: 10, Types: []ids.TicketType{typ, other}}
	if err := inv.OpenPool(t.Context(), event, 1, []Line{{Type: typ, N: 10}, {Type: other, N: 10}}, quota); err != nil {
		t.Fatal(err)
	}
	ofType := Terms{Code: newCode(), Revision: 1, Keep: Reserve{Type: typ, N: 4}}
	ofQuota := Terms{Code: newCode(), Revision: 1, Keep: Reserve{Quota: quota.ID, N: 3}}
	want(t, inv.SetCode(t.Context(), event, ofType), nil)
	want(t, inv.SetCode(t.Context(), event, ofQuota), nil)
	free := func(code ids.PromoCode, wantTyp, wantOther int) {
		t.Helper()
		p, err := inv.Pool(t.Context(), event)
		if a, b := p.Free(typ, code), p.Free(other, code); err != nil || a != wantTyp || b != wantOther {
			t.Fatalf("free are %d and %d, want %d and %d: %v", a, b, wantTyp, wantOther, err)
		}
	}
	free("", 3, 3)
	free(ofType.Code, 7, 3) // of the other type nothing is kept for it
	free(ofQuota.Code, 6, 6)
	tooMany := Terms{Code: newCode(), Revision: 1, Keep: Reserve{Type: other, N: 4}}
	want(t, inv.SetCode(t.Context(), event, tooMany), ErrSoldOut)
	first := newRef(event)
	want(t, holdWith(t, inv, first, typ, 3, nil), nil)
	want(t, holdWith(t, inv, newRef(event), typ, 1, nil), ErrSoldOut)
	member := newRef(event)
	want(t, holdWith(t, inv, member, typ, 3, &ofType), nil)
	want(t, holdWith(t, inv, newRef(event), typ, 2, &ofType), ErrSoldOut)
	free("", 0, 0)
	want(t, inv.Release(t.Context(), member), nil) // back to the code, not to others
	free("", 0, 0)
	free(ofType.Code, 4, 0)
	if l := stop(); len(l.Broken) > 0 {
		t.Error(l.Broken)
	}
	// What is kept is no less than before after a checkpoint and a new instance.
	if err := inv.checkpoint(t.Context(), event); err != nil {
		t.Fatal(err)
	}
	again := open(t, n)
	want(t, holdWith(t, again, newRef(event), typ, 5, &ofType), ErrSoldOut)
	want(t, holdWith(t, again, newRef(event), typ, 4, &ofType), nil)
	ofQuota.Keep.N, ofQuota.Revision = 0, 2
	want(t, again.SetCode(t.Context(), event, ofQuota), nil)
	want(t, holdWith(t, again, newRef(event), other, 3, nil), nil)
	want(t, again.Resize(t.Context(), event, 2, []Line{{Type: typ, N: 10}, {Type: other, N: 10}}), nil)
	if l, err := Audit(t.Context(), n.JS); err != nil || len(l.Broken) > 0 {
		t.Error(l, err)
	}
}

// Any sequence of orders with codes and at stages, of changes of limits, reserves and quotas leaves a record that adds up.
// Mutants are found: one that does not count a code, one that counts a stage wrongly, and one that lets it be exceeded.
func TestRoundsWithCodesAndQuotas(t *testing.T) {
	broken := func(t *rapid.T, mutant string) []string {
		event, typ := newEvent()
		_, other := newEvent()
		codes := []ids.PromoCode{newCode(), newCode()}
		quota := newQuota()
		types := []ids.TicketType{typ, other}
		stages := []ids.Stage{"", "stg_a", "stg_b"}
		shares := func() []api.QuotaShare {
			return []api.QuotaShare{{ID: quota, Capacity: rapid.IntRange(0, 8).Draw(t, "shared"), Types: types}}
		}
		st := &state{orders: map[ids.Order]Entry{}}
		l := NewLedger()
		var orders []ids.Order
		for range 5 {
			orders = append(orders, newRef(event).Order)
		}
		revision := int64(1)
		for i := range rapid.IntRange(2, 40).Draw(t, "rounds") {
			r := newRound(st)
			if i == 0 {
				r.apply(&op{kind: openPool, entry: Entry{Lines: []Line{{Type: typ, N: 6}, {Type: other, N: 6}}}, quotas: shares()})
			}
			for range rapid.IntRange(1, 4).Draw(t, "operations") {
				ref := Ref{event, rapid.SampledFrom(orders).Draw(t, "order")}
				code := rapid.SampledFrom(codes).Draw(t, "code")
				terms := &Terms{Code: code, Limit: rapid.IntRange(-1, 2).Draw(t, "limit"), Revision: revision}
				lines := []Line{{Type: rapid.SampledFrom(types).Draw(t, "type"), N: rapid.IntRange(1, 3).Draw(t, "n"),
					Stage: rapid.SampledFrom(stages).Draw(t, "stage")}}
				o := op{kind: rapid.SampledFrom([]opKind{hold, hold, hold, confirm, release, undo, returnAll, reduce,
					mend, setCode, openPool}).Draw(t, "kind"), Ref: ref}
				switch o.kind {
				case hold:
					o.entry = Entry{State: rapid.SampledFrom([]string{Held, Sold}).Draw(t, "state"), Lines: lines, Op: "a"}
					if rapid.Bool().Draw(t, "with") {
						o.terms, o.entry.Code = terms, code
					} else if lines[0].Stage != "" {
						o.terms = &Terms{}
					}
					if o.terms != nil {
						o.terms.Stages = []Stage{{ID: lines[0].Stage, Limit: rapid.IntRange(0, 4).Draw(t, "places"),
							Revision: rapid.Int64Range(1, 3).Draw(t, "heard")}}
					}
				case undo:
					o.entry.Op = "a"
				case reduce:
					o.entry.Lines = lines
				case mend:
					o.seen = r.entry(ref.Order)
					o.entry = Entry{State: Sold, Lines: lines, Code: rapid.SampledFrom([]ids.PromoCode{"", code}).Draw(t, "mended")}
				case setCode:
					revision++
					terms.Revision = revision
					terms.Keep = rapid.SampledFrom([]Reserve{{}, {Type: typ, N: 2}, {Quota: quota, N: 3}}).Draw(t, "keep")
					o.terms = terms
				case openPool:
					o.revision = r.Revision + 1
					o.entry.Lines = []Line{{Type: typ, N: rapid.IntRange(0, 6).Draw(t, "quantity")}, {Type: other, N: 6}}
					o.quotas = shares()
				}
				r.apply(&o)
			}
			rec := r.record()
			if mutant == "code" {
				for i := range rec.Codes {
					rec.Codes[i].Held = 0
				}
			}
			if mutant == "stage" {
				for i := range rec.Stages {
					rec.Stages[i].Held++
				}
			}
			if mutant == "full" && len(rec.Stages) > 0 {
				rec.Stages = slices.Clone(rec.Stages)
				rec.Stages[0].Limit = 1
			}
			for _, c := range rec.Orders {
				st.set(c)
			}
			st.proceed(&stored{record: rec, seq: st.seq + 1})
			if l.apply(event, stored{record: rec, seq: st.seq}); len(l.Broken) > 0 {
				return l.Broken
			}
		}
		return nil
	}
	rapid.Check(t, func(t *rapid.T) {
		if wrong := broken(t, ""); wrong != nil {
			t.Fatal(wrong)
		}
	})
	for _, mutant := range []string{"code", "stage", "full"} {
		found := false
		rapid.Check(t, func(t *rapid.T) { found = broken(t, mutant) != nil || found })
		if !found {
			t.Errorf("the mutant of a %s was not found", mutant)
		}
	}
}
