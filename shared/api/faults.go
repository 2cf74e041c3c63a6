package api

import (
	"maps"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// What several endpoints say about the same fault.
const (
	noEvent    = "there is no such event, or it is a draft and the caller is not in its team"
	noOrder    = "there is no such order, or the caller is neither its buyer nor a manager of its event"
	noTicket   = "there is no such ticket, or the caller is neither its owner nor a manager of its event"
	notOwned   = "there is no such ticket, or the caller does not own it"
	noPayment  = "there is no such payment, or the caller is neither its payer nor a manager of its event"
	notManaged = "there is no such payment, or the caller is no manager of its event"

	noRoom     = "the event is on sale and would have no ticket left to sell"
	belowSold  = "more tickets are held, sold or leased than the new quantity"
	inFlight   = "a request with the same Idempotency-Key has not ended yet"
	cancelled  = "the event is cancelled"
	lastFactor = "it is the last second factor of an administrator, who must have one"
	busyEvent  = "others keep changing the event; try again"
)

// public is what an endpoint answers about an event that every caller may see once it is published.
func public() rpc.Faults { return rpc.Faults{fault.NotFound: noEvent, fault.Forbidden: ""} }

// forRole is what an endpoint answers that is for the team of an event, or some of it. Of more, the faults of the
// endpoint itself, each takes the place of a general one.
func forRole(who string, more rpc.Faults) rpc.Faults {
	all := rpc.Faults{fault.NotFound: noEvent, fault.Forbidden: "the caller may see the event, but is not " + who}
	maps.Copy(all, more)
	return all
}

// forManagers is forRole for those whose role has the permission.
func forManagers(more rpc.Faults) rpc.Faults { return forRole("allowed to do this", more) }

// hidden is what an endpoint answers that has no 403: what the caller may not see is not there.
func hidden(notFound, conflict string) rpc.Faults {
	return rpc.Faults{fault.NotFound: notFound, fault.Forbidden: "", fault.Conflict: conflict}
}

// FactorMissing is the fault of an administrator who has to enrol a second factor first.
func FactorMissing() *fault.Error {
	return fault.New(fault.Forbidden, "administrators must have a second factor: POST /v1/me/second-factors").About(
		"second_factor", "is missing")
}
