package system_test

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

// passage is where a ticket is, and how many scans, exits and reversals without an answer have been placed.
type passage struct {
	where                  int
	scans, exits, reversed int
}

// doorModel is one ticket at one door: it is outside, inside or worth nothing. What the answer to something was that was
// lost is not known; at the end of time, where it stands then, it says nothing.
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
			placed := map[string]*int{"scan": &p.scans, "exit": &p.exits, "reversal": &p.reversed}[l.what]
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

// passes returns whether an answer can be given for a ticket that is at a place, and where it is then.
func passes(state int, what, answer any) (bool, int) {
	const out, in, worthless = 0, 1, 2
	if what == "scan" && answer != api.Admitted && answer != api.AlreadyAdmitted && answer != "lost" {
		return true, state
	}
	switch what {
	case "reversal":
		return state != in || answer == "lost", worthless
	case "exit":
		switch answer {
		case api.Exited, "lost":
			if state == in {
				return true, out
			}
			return answer == "lost", state
		case api.NotInside:
			return state != in, state
		}
		return true, state // the code is worth nothing, or not known
	}
	switch answer {
	case api.Admitted:
		return state == out, in
	case api.AlreadyAdmitted:
		return state == in, state
	}
	if state == out { // lost
		return true, in
	}
	return true, state
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
