package payment

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/starlightsymphony/starlight/shared/api"
)

func TestJudge(t *testing.T) {
	amount := api.Money{Amount: 2500, Currency: "EUR"}
	state := func(s RemoteStatus, m api.Money) RemoteState { return RemoteState{Status: s, Amount: m} }
	tests := []struct {
		status string
		remote RemoteState
		next   string
		v      verdict
	}{
		{api.PaymentRequiresAction, state(RemotePending, amount), api.PaymentRequiresAction, verdictNone},
		{api.PaymentRequiresAction, state(RemoteProcessing, amount), api.PaymentProcessing, verdictMove},
		{api.PaymentRequiresAction, state(RemoteSucceeded, amount), api.PaymentSucceeded, verdictMove},
		{api.PaymentRequiresAction, state(RemoteFailed, amount), api.PaymentFailed, verdictMove},
		{api.PaymentProcessing, state(RemotePending, amount), api.PaymentProcessing, verdictNone},
		{api.PaymentProcessing, state(RemoteSucceeded, amount), api.PaymentSucceeded, verdictMove},
		{api.PaymentProcessing, state(RemoteFailed, amount), api.PaymentFailed, verdictMove},
		{api.PaymentSucceeded, state(RemoteSucceeded, amount), api.PaymentSucceeded, verdictNone},
		{api.PaymentSucceeded, state(RemoteFailed, amount), api.PaymentSucceeded, verdictNone},
		{api.PaymentSucceeded, state(RemotePending, amount), api.PaymentSucceeded, verdictNone},
		{api.PaymentFailed, state(RemoteFailed, amount), api.PaymentFailed, verdictNone},
		{api.PaymentFailed, state(RemoteSucceeded, amount), api.PaymentSucceeded, verdictLate},
		{api.PaymentRefunded, state(RemoteSucceeded, amount), api.PaymentRefunded, verdictNone},
		{api.PaymentRefunded, state(RemoteProcessing, amount), api.PaymentRefunded, verdictNone},

		{api.PaymentRequiresAction, state(RemoteSucceeded, api.Money{Amount: 2499, Currency: "EUR"}), api.PaymentFailed, verdictMismatch},
		{api.PaymentRequiresAction, state(RemoteSucceeded, api.Money{Amount: 2501, Currency: "EUR"}), api.PaymentFailed, verdictMismatch},
		{api.PaymentProcessing, state(RemoteSucceeded, api.Money{Amount: 2500, Currency: "HUF"}), api.PaymentFailed, verdictMismatch},
		{api.PaymentRequiresAction, state("something new", amount), api.PaymentRequiresAction, verdictNone},
	}
	for _, tt := range tests {
		next, v := judge(tt.status, amount, false, tt.remote)
		if next != tt.next || v != tt.v {
			t.Errorf("%s, seen %s %v: got %s, %s; want %s, %s", tt.status, tt.remote.Status, tt.remote.Amount, next, v, tt.next, tt.v)
		}
	}
}

// TestJudgeAnyOrder takes a history of a payment at its provider and looks at it in any order, any number of times: in
// the end the state is that of the furthest look, it never went back, and it succeeded at most once.
func TestJudgeAnyOrder(t *testing.T) {
	amount := api.Money{Amount: 2500, Currency: "EUR"}
	want := map[RemoteStatus]string{
		RemotePending: api.PaymentRequiresAction, RemoteProcessing: api.PaymentProcessing,
		RemoteSucceeded: api.PaymentSucceeded, RemoteFailed: api.PaymentFailed,
	}
	rapid.Check(t, func(t *rapid.T) {
		history := []RemoteStatus{RemotePending}
		if rapid.Bool().Draw(t, "processing") {
			history = append(history, RemoteProcessing)
		}
		if end := rapid.SampledFrom([]RemoteStatus{"", RemoteSucceeded, RemoteFailed}).Draw(t, "end"); end != "" {
			history = append(history, end)
		}
		if history[len(history)-1] == RemoteFailed && rapid.Bool().Draw(t, "after all") {
			history = append(history, RemoteSucceeded)
		}
		looks := rapid.SliceOfN(rapid.SampledFrom(history), 0, 20).Draw(t, "looks")
		looks = append(looks, history[len(history)-1]) // the last is seen by somebody: callback or poller
		looks = rapid.Permutation(looks).Draw(t, "order")

		status, moves := api.PaymentRequiresAction, map[string]int{}
		for _, look := range looks {
			next, v := judge(status, amount, moves[api.PaymentSucceeded] > 0, RemoteState{Status: look, Amount: amount})
			if (v == verdictMove || v == verdictLate) != (next != status) {
				t.Fatalf("%s → %s with verdict %s", status, next, v)
			}
			if rank(next) < rank(status) {
				t.Fatalf("went back from %s to %s", status, next)
			}
			if v != verdictNone {
				moves[next]++
			}
			status = next
		}
		if status != want[history[len(history)-1]] {
			t.Fatalf("history %v, looks %v: ended as %s", history, looks, status)
		}
		if moves[api.PaymentSucceeded] > 1 || moves[api.PaymentFailed] > 1 {
			t.Fatalf("ended more than once: %v", moves)
		}
	})
}
