package venues_test

import (
	"cmp"
	"slices"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/starlightsymphony/starlight/shared/api"
)

// lost is an answer that did not come, to the n-th of what got none of the same kind.
type lost struct {
	what string
	n    int
}

// inOrder says of each operation whose answer was lost which one it is of its kind. They can be told apart by nothing but
// when they began, and any may happen at any time since: the earlier one can always stand where a later one would. That
// leaves a few orders to look at, where they would be two to the power of their number.
func inOrder(ops []porcupine.Operation) []porcupine.Operation {
	ops = slices.Clone(ops)
	slices.SortStableFunc(ops, func(a, b porcupine.Operation) int { return cmp.Compare(a.Call, b.Call) })
	seen := map[string]int{}
	for i, op := range ops {
		if what := op.Input.(string); op.Output == "lost" {
			ops[i].Input = lost{what, seen[what]}
			seen[what]++
		}
	}
	return ops
}

// passage is where a ticket is, and how many scans, exits, reversals and undone admissions without an answer have been
// placed.
type passage struct {
	where                          int
	scans, exits, reversed, undone int
}

// Where a ticket is.
const (
	fresh     = iota // its holder was not let in, or that was taken back
	within           // let in
	gone             // let in, and out again
	worthless        // its sale was taken back
)

// doorModel is one ticket at one door. What the answer to something was that was lost is not known; at the end of time,
// where it stands then, it says nothing.
func doorModel() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return passage{} },
		Step: func(state, what, answer any) (bool, any) {
			p := state.(passage)
			l, unanswered := what.(lost)
			if !unanswered {
				ok, where := passes(p.where, what, answer)
				p.where = where
				return ok, p
			}
			placed := map[string]*int{"scan": &p.scans, "exit": &p.exits, "reversal": &p.reversed, "undo": &p.undone}[l.what]
			if *placed != l.n {
				return false, state
			}
			*placed++
			ok, where := passes(p.where, l.what, "lost")
			p.where = where
			return ok, p
		},
	}
}

// passes returns whether an answer can be given for a ticket that is at a place, and where it is then. An answer that was
// lost can always be given, and then something has happened if it could.
func passes(where int, what, answer any) (bool, int) {
	unanswered := answer == "lost"
	// move is what happens to a ticket that is at one of some places, and to no other.
	move := func(to int, from ...int) (bool, int) {
		if slices.Contains(from, where) {
			return true, to
		}
		return unanswered, where
	}
	switch what {
	case "reversal": // refused for a sale with a ticket that was admitted
		return move(worthless, fresh)
	case "undo":
		return move(fresh, within, gone)
	case "exit":
		switch answer {
		case api.Exited, "lost":
			return move(gone, within)
		case api.NotInside:
			return where != within, where
		}
	default:
		switch answer {
		case api.Admitted, "lost":
			return move(within, fresh, gone)
		case api.AlreadyAdmitted:
			return where == within, where
		case api.NoReentry:
			return where == gone, where
		}
	}
	return true, where // the code is worth nothing, or not known
}

// The model tells doors that are like one from others, however many answers were lost.
func TestDoorModel(t *testing.T) {
	history := func(answers ...string) []porcupine.Operation {
		var ops []porcupine.Operation
		add := func(what, answer string, call, end int64) {
			ops = append(ops, porcupine.Operation{ClientId: len(ops), Input: what, Output: answer, Call: call, Return: end})
		}
		for range 30 {
			add("scan", "lost", 0, forever)
			add("exit", "lost", 0, forever)
		}
		for i := range int64(70) {
			add("scan", answers[int(i)%len(answers)], 10*i+10, 10*i+15)
		}
		return inOrder(ops)
	}
	for want, ops := range map[porcupine.CheckResult][]porcupine.Operation{
		porcupine.Ok:      history(api.Admitted, api.AlreadyAdmitted, api.AlreadyAdmitted),
		porcupine.Illegal: history(api.Admitted), // forty times more often than somebody can have gone out
	} {
		if got := porcupine.CheckOperationsTimeout(doorModel(), ops, 20*time.Second); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// done is something that was done with a ticket, and what was answered.
type done struct{ what, answer string }

// The model knows what exits, re-entries, undone admissions and reversals change. It finds out if one of them is missing,
// or if a door has answered something else.
func TestDoorModelFindsEachFault(t *testing.T) {
	history := func(acts []done) []porcupine.Operation {
		ops := make([]porcupine.Operation, len(acts))
		for i, a := range acts {
			at := int64(10 * i)
			ops[i] = porcupine.Operation{ClientId: i, Input: a.what, Output: a.answer, Call: at, Return: at + 5}
		}
		return inOrder(ops)
	}
	in, again := done{"scan", api.Admitted}, done{"scan", api.AlreadyAdmitted}
	out, not, none := done{"exit", api.Exited}, done{"exit", api.NotInside}, done{"scan", api.NoReentry}
	undo, back := done{"undo", "undone"}, done{"reversal", "reversed"}
	good := []done{not, in, again, out, not, in, again, out, none, in, again, undo, not, in, again, out, none, undo, back}
	if porcupine.CheckOperationsTimeout(doorModel(), history(good), time.Minute) != porcupine.Ok {
		t.Fatal("the model refuses what doors may do")
	}
	for i, act := range good {
		changed := map[string][]done{}
		if act != again && act != not && act != none && act != back { // whose absence changes nothing after it
			changed["without it"] = slices.Delete(slices.Clone(good), i, i+1)
		}
		for _, other := range []done{in, again, out, not, none, undo, back} {
			if other.what != act.what || other == act {
				continue
			}
			if act == not || act == out { // the answer to a scan or exit says where the ticket is
				changed["answered "+other.answer] = slices.Replace(slices.Clone(good), i, i+1, other)
			}
		}
		if act == in {
			changed["twice"] = slices.Insert(slices.Clone(good), i, in)
		}
		if act == back {
			changed["let in after it"] = append(slices.Clone(good), in)
		}
		for what, acts := range changed {
			if porcupine.CheckOperationsTimeout(doorModel(), history(acts), time.Minute) == porcupine.Ok {
				t.Errorf("act %d, %v, %s: nothing was found", i, act, what)
			}
		}
	}
}
