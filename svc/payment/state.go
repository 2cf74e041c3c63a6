package payment

import "github.com/starlightsymphony/starlight/shared/api"

// verdict is what an observation of the provider means for a payment.
type verdict string

// The verdicts.
const (
	verdictNone     verdict = "unchanged"      // nothing new
	verdictMove     verdict = "moved"          // the payment moves to another state
	verdictMismatch verdict = "mismatch"       // amount or currency are not ours: never a success
	verdictLate     verdict = "late_success"   // the money came after we had been told that it would not
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
	case api.PaymentSucceeded, api.PaymentFailed:
		return 2
	case api.PaymentRefunded:
		return 3
	}
	return -1
}

// judge says what seeing remote means for a payment of ours that is in status and over amount. With verdictMove, next
// is the state to move to; with any other it is status.
//
// Whatever the order and number of observations of one remote history, the state in the end is that of the furthest.
func judge(status string, amount api.Money, remote RemoteState) (next string, v verdict) {
	if remote.Status == RemoteSucceeded && remote.Amount != amount {
		return status, verdictMismatch
	}
	switch remote.Status {
	case RemoteProcessing:
		next = api.PaymentProcessing
	case RemoteSucceeded:
		next = api.PaymentSucceeded
	case RemoteFailed:
		next = api.PaymentFailed
	default:
		return status, verdictNone
	}
	switch {
	case next == api.PaymentSucceeded && status == api.PaymentFailed:
		return status, verdictLate
	case rank(next) <= rank(status):
		return status, verdictNone
	}
	return next, verdictMove
}
