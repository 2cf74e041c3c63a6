package payment

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/svc/payment/provider"
)

func TestJudge(t *testing.T) {
	amount := api.Money{Amount: 2500, Currency: "EUR"}
	state := func(s provider.Status, m api.Money) provider.State { return provider.State{Status: s, Amount: m} }
	tests := []struct {
		status string
		remote provider.State
		next   string
		v      verdict
	}{
		{api.PaymentRequiresAction, state(provider.Pending, amount), api.PaymentRequiresAction, verdictNone},
		{api.PaymentRequiresAction, state(provider.Processing, amount), api.PaymentProcessing, verdictMove},
		{api.PaymentRequiresAction, state(provider.Succeeded, amount), api.PaymentSucceeded, verdictMove},
		{api.PaymentRequiresAction, state(provider.Failed, amount), api.PaymentFailed, verdictMove},
		{api.PaymentProcessing, state(provider.Pending, amount), api.PaymentProcessing, verdictNone},
		{api.PaymentProcessing, state(provider.Succeeded, amount), api.PaymentSucceeded, verdictMove},
		{api.PaymentProcessing, state(provider.Failed, amount), api.PaymentFailed, verdictMove},
		{api.PaymentSucceeded, state(provider.Succeeded, amount), api.PaymentSucceeded, verdictNone},
		{api.PaymentSucceeded, state(provider.Failed, amount), api.PaymentSucceeded, verdictNone},
		{api.PaymentSucceeded, state(provider.Pending, amount), api.PaymentSucceeded, verdictNone},
		{api.PaymentFailed, state(provider.Failed, amount), api.PaymentFailed, verdictNone},
		{api.PaymentFailed, state(provider.Succeeded, amount), api.PaymentSucceeded, verdictLate},
		{api.PaymentRefunded, state(provider.Succeeded, amount), api.PaymentRefunded, verdictNone},
		{api.PaymentRefunded, state(provider.Processing, amount), api.PaymentRefunded, verdictNone},

		{api.PaymentRequiresAction, state(provider.Succeeded, api.Money{Amount: 2499, Currency: "EUR"}), api.PaymentFailed, verdictMismatch},
		{api.PaymentRequiresAction, state(provider.Succeeded, api.Money{Amount: 2501, Currency: "EUR"}), api.PaymentFailed, verdictMismatch},
		{api.PaymentProcessing, state(provider.Succeeded, api.Money{Amount: 2500, Currency: "HUF"}), api.PaymentFailed, verdictMismatch},
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
	want := map[provider.Status]string{
		provider.Pending: api.PaymentRequiresAction, provider.Processing: api.PaymentProcessing,
		provider.Succeeded: api.PaymentSucceeded, provider.Failed: api.PaymentFailed,
	}
	rapid.Check(t, func(t *rapid.T) {
		history := []provider.Status{provider.Pending}
		if rapid.Bool().Draw(t, "processing") {
			history = append(history, provider.Processing)
		}
		if end := rapid.SampledFrom([]provider.Status{"", provider.Succeeded, provider.Failed}).Draw(t, "end"); end != "" {
			history = append(history, end)
		}
		if history[len(history)-1] == provider.Failed && rapid.Bool().Draw(t, "after all") {
			history = append(history, provider.Succeeded)
		}
		looks := rapid.SliceOfN(rapid.SampledFrom(history), 0, 20).Draw(t, "looks")
		looks = append(looks, history[len(history)-1]) // the last is seen by a callback or the poller
		looks = rapid.Permutation(looks).Draw(t, "order")

		status, moves := api.PaymentRequiresAction, map[string]int{}
		for _, look := range looks {
			next, v := judge(status, amount, moves[api.PaymentSucceeded] > 0, provider.State{Status: look, Amount: amount})
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
