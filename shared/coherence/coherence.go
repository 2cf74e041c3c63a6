// Package coherence keeps copies of what a service answers as good as the service's own answers: a change is
// acknowledged only when no copy from before it can be served any more.
//
// Who keeps copies is a Holder. It registers with the service, in the service's database, and renews its lease several
// times in a lease's Duration; copies are served only while the lease is valid. The service is the Owner. When a change
// is committed, and before it is acknowledged, the owner reads which holders there are, sends all of them an
// invalidation and waits until each has confirmed it. A holder that does not confirm is marked as gone, which ends its
// renewals, and the owner waits until the last lease that it may have renewed has run out.
//
// So no clocks are compared: a holder counts its lease from before it asked for it, an owner from after the mark. A
// holder that registers later than the owner has read the list copies what is read later than the commit. Holders are
// in tiers, since one copies from another: the instances of the service drop theirs first, then the gateways do.
package coherence

import (
	"time"
)

// How long leases and owners wait.
const (
	Duration  = time.Second            // of a lease, counted from when it was asked for
	renewal   = Duration / 4           // between two renewals
	confirmed = 400 * time.Millisecond // within which holders confirm
	runOut    = Duration + Duration/10 // after which a lease is over by any process's measure
	asking    = 800 * time.Millisecond // the longest that a holder waits for a renewal
	sweeping  = 10 * time.Second       // of an owner that starts, for holders that are gone
	prefix    = "cache."
)

// Tier is a group of holders. An invalidation reaches one after the other.
type Tier int

// The tiers.
const (
	Instances Tier = iota // of the service itself
	Gateways
	tiers
)

func (t Tier) subject(service string) string {
	return prefix + service + [...]string{".instances", ".gateways"}[t]
}

// ackSubject is where holders confirm: "<number of the invalidation> <holder>".
func ackSubject(service string) string { return prefix + service + ".confirmed" }

// SubjectsOf returns the subjects of a service's invalidations and confirmations, for its own permissions.
func SubjectsOf(service string) string { return prefix + service + ".>" }

// GatewaySubjects are those of invalidations for gateways, and GatewayConfirms those on which gateways confirm.
const (
	Subjects        = prefix + ">" // all
	GatewaySubjects = prefix + "*.gateways"
	GatewayConfirms = prefix + "*.confirmed"
)
