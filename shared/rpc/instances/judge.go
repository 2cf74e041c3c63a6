package instances

import (
	"time"
)

// How instances are judged.
const (
	interval = time.Second // between two beats, and two looks
	memory   = 0.9         // what a look keeps of what was seen before: about ten seconds count
	fewest   = 5           // calls that tell something
	sick     = 0.5         // of the calls fail, or are slow; of all others' calls at most half of that share
	quiet    = 3 * interval
	gone     = 10 * time.Minute // longer than NATS takes to find that a client hangs

	shortest  = 10 * time.Second // an ejection; the next one in a row is twice as long
	doublings = 4
	calm      = time.Minute // after an ejection: the next one is a first one again
)

// The reasons to leave an instance alone.
const (
	failing = "errors"
	slow    = "slow"
	silent  = "silent"
)

// Look judges the instances by what was seen of them since the last look. Call it every interval.
func (s *Set) Look() {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.cfg.Now()
	// Who was stopped has heard nobody: that is no sign of the others.
	deaf := s.looked.IsZero() || now.Sub(s.looked) > quiet-interval
	s.looked = now
	for id, i := range s.known {
		if now.Sub(i.heard) > gone && !deaf {
			delete(s.known, id)
		}
	}
	for _, all := range s.services() {
		for _, i := range all {
			i.remember()
		}
		if !deaf {
			s.listen(all, now)
		}
		if s.rules.Eject {
			s.judge(all, now)
		}
	}
	s.plan(now)
}

// remember adds what was seen lately.
func (i *Instance) remember() {
	for o := range i.sums {
		i.sums[o] = i.sums[o]*memory + float64(i.lately[o].Swap(0))
	}
}

// listen finds who has become silent.
func (s *Set) listen(all []*Instance, now time.Time) {
	for _, i := range all {
		if i.silent || now.Sub(i.heard) < quiet {
			continue
		}
		i.silent = true
		if s.rules.Eject {
			s.ejections[silent].Inc()
			s.cfg.Log.Warn("an instance is silent, and is left alone until it is heard of", "of", i.Service, "id", i.ID,
				"version", i.Version, "zone", i.Zone, "dry_run", s.rules.DryRun)
		}
	}
}

// judge ejects what is sick beyond the others, and takes back what was ejected for long enough. At most half of the
// instances of a service that are heard of are ejected.
func (s *Set) judge(all []*Instance, now time.Time) {
	var heard []*Instance
	out := 0
	for _, i := range all {
		if !i.until.IsZero() && !now.Before(i.until) {
			i.until, i.sums = time.Time{}, [outcomes]float64{}
			s.cfg.Log.Info("an instance is called again", "of", i.Service, "id", i.ID, "version", i.Version)
		}
		if i.silent {
			continue
		}
		heard = append(heard, i)
		if !i.until.IsZero() {
			out++
		}
	}
	for _, i := range heard {
		if !i.until.IsZero() || out >= len(heard)/2 {
			continue
		}
		if reason := i.sickBeside(heard); reason != "" {
			out++
			s.eject(i, reason, now)
		}
	}
}

// sickBeside returns why an instance is sick while the others are not, or "".
func (i *Instance) sickBeside(all []*Instance) string {
	var others [outcomes]float64
	for _, o := range all {
		if o == i || !o.until.IsZero() {
			continue
		}
		for n := range others {
			others[n] += o.sums[n]
		}
	}
	for o, reason := range map[Outcome]string{Failed: failing, Slow: slow} {
		mine, theirs := share(i.sums, o), share(others, o)
		if count(i.sums) >= fewest && count(others) >= fewest && mine >= sick && theirs <= mine/2 {
			return reason
		}
	}
	return ""
}

func (s *Set) eject(i *Instance, reason string, now time.Time) {
	if now.Sub(i.back) > calm {
		i.ejected = 0
	}
	pause := shortest << min(i.ejected, doublings)
	i.ejected++
	i.until = now.Add(pause)
	i.back = i.until
	s.ejections[reason].Inc()
	s.cfg.Log.Warn("an instance is sick and is left alone", "of", i.Service, "id", i.ID, "version", i.Version,
		"zone", i.Zone, "reason", reason, "for", pause.String(), "dry_run", s.rules.DryRun)
}

func count(sums [outcomes]float64) (all float64) {
	for _, n := range sums {
		all += n
	}
	return all
}

func share(sums [outcomes]float64, o Outcome) float64 {
	return sums[o] / max(count(sums), 1)
}
