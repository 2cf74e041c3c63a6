package rpc

import (
	"math"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// How a line judges what can be served in time.
const (
	lineMemory  = 2 * time.Second // how far back the rate of service is measured
	lineFloor   = 16              // requests that are taken at any rate, so that there is one to measure
	lineShare   = 2               // the wait that is planned is at most this part of what the caller has: the rest is for the way
	lineSlow    = 4               // a request that took more than this part of the timeout shows that there are too many
	longestHint = 30 * time.Second
)

// line is the requests of a binding: those that run, on a bounded number of workers, and those that wait. It is bounded
// by time: by Little's law, a request that comes when n are there and r a second are served is served after n/r. One for
// which that is too late is refused at once, so that the work goes into those that can be in time. The rate is what
// comes out of the handlers, so whatever they wait for themselves, such as a group commit, is part of it.
//
// With little to do, few are served, whatever is possible. So the rate refuses nobody before requests have been slow.
type line struct {
	workers, room int // the most that run, and that wait
	timeout       time.Duration

	mu      sync.Mutex
	running int
	waiting []job // oldest first

	served  float64       // lately, the older the less: see lineMemory
	began   time.Time     // of the measurement
	counted time.Time     // when served was brought up to date
	took    time.Duration // by handlers, lately
	slow    time.Time     // when a slow request was last seen
	quick   time.Time     // when one was last served that was not slow
	hung    bool          // the last one ended when its caller had gone
}

// job is a request on its way to a worker.
type job struct {
	request            *nats.Msg
	received, deadline time.Time
}

// join takes a request up. It says how many run if this is one of them, 0 if it waits or is refused; and after how long
// a refused one is worth another try, 0 for the others.
func (l *line) join(j job) (running int, refused time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now, n := j.received, l.running+len(l.waiting)
	if n == 0 && !l.hung { // what was is over
		l.served, l.began, l.counted, l.slow = 0, now, now, time.Time{}
	}
	if n >= l.workers+l.room || n >= l.most(now, j.deadline.Sub(now)) {
		return 0, l.hint(n, now)
	}
	if l.running < l.workers {
		l.running++
		return l.running, 0
	}
	l.waiting = append(l.waiting, j)
	return 0, 0
}

// leave gives a worker's place to the next request that can be in time, if there is one. The others that it looked at, and
// those at the end of the line for which there is no time, are returned: refuse them.
func (l *line) leave(done job, started, now time.Time) (next job, ok bool, late []job) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.note(done, started, now)
	for most := l.most(now, l.timeout); len(l.waiting) > 0 && l.running+len(l.waiting) > most; {
		end := len(l.waiting) - 1
		late = append(late, l.waiting[end])
		l.waiting[end], l.waiting = job{}, l.waiting[:end]
	}
	for len(l.waiting) > 0 {
		next = l.waiting[0]
		l.waiting[0], l.waiting = job{}, l.waiting[1:]
		if now.Add(l.took).Before(next.deadline) {
			return next, true, late
		}
		late = append(late, next)
	}
	l.running--
	return job{}, false, late
}

// note measures a request that has ended. One whose caller had gone by then says nothing about what can be served.
func (l *line) note(done job, started, now time.Time) {
	if now.Sub(done.received) > l.timeout/lineSlow {
		l.slow = now
	} else {
		l.quick = now
	}
	l.served *= math.Exp(-now.Sub(l.counted).Seconds() / lineMemory.Seconds())
	l.counted = now
	if l.hung = !now.Before(done.deadline); !l.hung {
		l.served++
	}
	const part = 16
	l.took += (now.Sub(started) - l.took) / part
}

// most returns how many requests there may be for one that has so much time to be served with the others.
func (l *line) most(now time.Time, wait time.Duration) int {
	if len(l.waiting) > 0 && now.Sub(l.waiting[0].received) > l.timeout/lineSlow {
		l.slow = now
	}
	if now.Sub(l.slow) > lineMemory && !l.slow.After(l.quick) {
		return math.MaxInt
	}
	return max(lineFloor, int(l.rate(now)*wait.Seconds()/lineShare))
}

// rate returns how many requests a second are served.
func (l *line) rate(now time.Time) float64 {
	memory := lineMemory.Seconds()
	kept := 1 - math.Exp(-now.Sub(l.began).Seconds()/memory) // of a steady rate's sum, while the measurement is young
	if kept <= 0 {
		return 0
	}
	return l.served * math.Exp(-now.Sub(l.counted).Seconds()/memory) / memory / kept
}

// hint returns after how long the line will be short enough: at least a second.
func (l *line) hint(n int, now time.Time) time.Duration {
	rate := l.rate(now)
	if rate <= 0 {
		return time.Second
	}
	wait := time.Duration(float64(n)/rate*float64(time.Second)) - l.timeout/lineShare
	return min(max(wait, time.Second), longestHint)
}

// busy returns how many requests run and wait.
func (l *line) busy() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return int64(l.running + len(l.waiting))
}
