package payment

import (
	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/svc/payment/provider"
)

// verdict is what an observation of the provider means for a payment.
type verdict string

// The verdicts.
const (
	verdictNone     verdict = "unchanged"      // nothing new
	verdictMove     verdict = "moved"          // the payment moves to another state
	verdictLate     verdict = "late_success"   // moved: the money came after we had been told that it would not
	verdictMismatch verdict = "mismatch"       // amount or currency are not ours: failed, and what came goes back
	verdictUnknown  verdict = "unknown"        // no payment of ours
	verdictForeign  verdict = "foreign_object" // our payment, but another object of the provider
)

// rank orders the states; a payment only ever moves to a higher one.
func rank(status string) int {
	switch status {
	case api.PaymentRequiresAction:
		return 0
	case api.PaymentProcessing:
		return 1
	case api.PaymentFailed:
		return 2
	case api.PaymentSucceeded:
		return 3
	case api.PaymentRefunded:
		return 4
	}
	return -1
}

// judge says what seeing remote means for a payment of ours that is in status and over amount, and of which money has
// been captured or not. next is the state that it is in afterwards.
//
// Whatever the order and number of observations of one remote history, the state in the end is that of the furthest.
func judge(status string, amount api.Money, captured bool, remote provider.State) (next string, v verdict) {
	if remote.Status == provider.Succeeded {
		switch {
		case captured:
			return status, verdictNone
		case remote.Amount != amount:
			return api.PaymentFailed, verdictMismatch
		case status == api.PaymentFailed:
			return api.PaymentSucceeded, verdictLate
		}
	}
	switch remote.Status {
	case provider.Processing:
		next = api.PaymentProcessing
	case provider.Succeeded:
		next = api.PaymentSucceeded
	case provider.Failed:
		next = api.PaymentFailed
	default:
		return status, verdictNone
	}
	if rank(next) <= rank(status) {
		return status, verdictNone
	}
	return next, verdictMove
}
