// Package garbage sets the pace at which a process collects its garbage: little memory at rest, little processor time
// under load.
package garbage

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// How much may be allocated before a collection, in percent of what is in use, as GOGC is. The live heap is small:
// under load a collection costs more than it saves, and at rest there is one a minute.
const (
	atRest         = 50
	atWork         = 150
	collectionsMax = 1  // in a second at rest: with more there is work
	restAfter      = 30 // seconds without a collection
)

// Start sets the pace of a process that has much to do until it is ready. If GOGC is set, the pace is the operator's,
// here and in Tend.
func Start() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(atWork)
	}
}

// Tend gives back what the start has used, and sets the pace by what there is to do until ctx ends.
func Tend(ctx context.Context) {
	debug.FreeOSMemory()
	if os.Getenv("GOGC") != "" {
		return
	}
	debug.SetGCPercent(atRest)
	pace := pace{percent: atRest}
	last := collections()
	for tick := time.NewTicker(time.Second); ; {
		select {
		case <-ctx.Done():
			tick.Stop()
			return
		case <-tick.C:
		}
		now := collections()
		if percent, changed := pace.next(now - last); changed {
			debug.SetGCPercent(percent)
			if percent == atRest {
				debug.FreeOSMemory() // what the crowd has left
			}
		}
		last = now
	}
}

// pace is how much garbage there may be.
type pace struct {
	percent int
	quiet   int // seconds without a collection
}

// next takes the collections of one more second, and returns the percentage and whether it is another one now.
func (p *pace) next(collections uint64) (percent int, changed bool) {
	before := p.percent
	p.quiet++
	if collections > 0 {
		p.quiet = 0
	}
	switch {
	case collections > collectionsMax:
		p.percent = atWork
	case p.quiet >= restAfter:
		p.percent = atRest
	}
	return p.percent, p.percent != before
}

// collections returns how many collections of garbage there were.
func collections() uint64 {
	sample := []metrics.Sample{{Name: "/gc/cycles/total:gc-cycles"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
