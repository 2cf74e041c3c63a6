package rpc

import (
	"math"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// How a queue judges what can be served in time.
const (
	queueMemory = 2 * time.Second // how far back the rate of service is measured
	queueFloor  = 16              // requests that are taken at any rate, so that there is one to measure
	// the wait that is planned is at most this part of what the caller has: the rest is for the way
	queueShare = 2
	// a request that took more than this part of the timeout shows that there are too many
	queueSlow   = 4
	longestHint = 30 * time.Second
)

// queue is the requests of a binding: those that run, on a bounded number of workers, and those that wait. It is
// bounded by time: by Little's law, a request that comes when n are there and r a second are served is served after
// n/r. One for which that is too late is refused at once, so that the work goes into those that can be in time. The
// rate is what comes out of the handlers, so whatever they wait for themselves, such as a group commit, is part of it.
//
// With little to do, few are served, whatever is possible. So no request is refused by the rate before requests have
// been slow.
type queue struct {
	workers, room int // the most that run, and that wait
	timeout       time.Duration
	patient       bool // slow requests are no reason to refuse others: see Spec.OwnQueue

	mu      sync.Mutex
	running int
	waiting []job // oldest first

	served  float64       // lately, the older the less: see queueMemory
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
func (q *queue) join(j job) (running int, refused time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now, n := j.received, q.running+len(q.waiting)
	if n == 0 && !q.hung { // what was is over
		q.served, q.began, q.counted, q.slow = 0, now, now, time.Time{}
	}
	if n >= q.workers+q.room || n >= q.most(now, j.deadline.Sub(now)) {
		return 0, q.hint(n, now)
	}
	if q.running < q.workers {
		q.running++
		return q.running, 0
	}
	q.waiting = append(q.waiting, j)
	return 0, 0
}

// leave gives a worker's place to the next request that can be in time, if there is one. The others that it considered,
// and those at the end of the queue for which there is no time, are returned: refuse them.
func (q *queue) leave(done job, started, now time.Time) (next job, ok bool, late []job) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.note(done, started, now)
	for most := q.most(now, q.timeout); len(q.waiting) > 0 && q.running+len(q.waiting) > most; {
		end := len(q.waiting) - 1
		late = append(late, q.waiting[end])
		q.waiting[end], q.waiting = job{}, q.waiting[:end]
	}
	for len(q.waiting) > 0 {
		next = q.waiting[0]
		q.waiting[0], q.waiting = job{}, q.waiting[1:]
		if now.Add(q.took).Before(next.deadline) {
			return next, true, late
		}
		late = append(late, next)
	}
	q.running--
	return job{}, false, late
}

// note measures a request that has ended. One whose caller had gone by then says nothing about what can be served.
func (q *queue) note(done job, started, now time.Time) {
	if now.Sub(done.received) > q.timeout/queueSlow {
		q.slow = now
	} else {
		q.quick = now
	}
	q.served *= math.Exp(-now.Sub(q.counted).Seconds() / queueMemory.Seconds())
	q.counted = now
	if q.hung = !now.Before(done.deadline); !q.hung {
		q.served++
	}
	const part = 16
	q.took += (now.Sub(started) - q.took) / part
}

// most returns how many requests there may be for one that has so much time to be served with the others.
func (q *queue) most(now time.Time, wait time.Duration) int {
	if len(q.waiting) > 0 && now.Sub(q.waiting[0].received) > q.timeout/queueSlow {
		q.slow = now
	}
	if q.patient || now.Sub(q.slow) > queueMemory && !q.slow.After(q.quick) {
		return math.MaxInt
	}
	return max(queueFloor, int(q.rate(now)*wait.Seconds()/queueShare))
}

// rate returns how many requests a second are served.
func (q *queue) rate(now time.Time) float64 {
	memory := queueMemory.Seconds()
	kept := 1 - math.Exp(-now.Sub(q.began).Seconds()/memory) // of a steady rate's sum, while the measurement is young
	if kept <= 0 {
		return 0
	}
	return q.served * math.Exp(-now.Sub(q.counted).Seconds()/memory) / memory / kept
}

// hint returns after how long the queue will be short enough: at least a second.
func (q *queue) hint(n int, now time.Time) time.Duration {
	rate := q.rate(now)
	if rate <= 0 {
		return time.Second
	}
	wait := time.Duration(float64(n)/rate*float64(time.Second)) - q.timeout/queueShare
	return min(max(wait, time.Second), longestHint)
}

// busy returns how many requests run and wait.
func (q *queue) busy() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return int64(q.running + len(q.waiting))
}
