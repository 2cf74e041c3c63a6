package rpc

import (
	"testing"
	"time"
)

// queueTest is a queue whose handlers wait for something that serves one after another, such as a disk: each takes an even
// share of a second. Time is virtual.
type queueTest struct {
	queue
	t     *testing.T
	now   time.Time
	each  time.Duration // 0: nothing is served
	least time.Duration // what a handler takes when it is alone

	free     time.Time // when the disk is
	handlers []running // by their end

	served, late, refused, expired int
	slowest                        time.Duration // of the served
}

type running struct {
	job
	started, ends time.Time
}

func newQueueTest(t *testing.T, each time.Duration) *queueTest {
	now := time.Unix(1e9, 0)
	return &queueTest{queue: queue{workers: 512, room: 8192, timeout: DefaultTimeout}, t: t, now: now, each: each, free: now}
}

func (l *queueTest) start(j job) {
	if !l.now.Before(j.deadline) { // as serve does it
		l.expired++
		l.finish(running{j, l.now, l.now})
		return
	}
	ends := j.deadline // the context of the handler ends
	if l.each > 0 {
		if l.free.Before(l.now) {
			l.free = l.now
		}
		l.free = l.free.Add(l.each)
		ends = l.free.Add(l.least)
	}
	l.handlers = append(l.handlers, running{j, l.now, ends})
}

func (l *queueTest) arrive(n int) {
	for range n {
		j := job{received: l.now, deadline: l.now.Add(l.timeout)}
		run, refused := l.join(j)
		switch {
		case run > 0:
			l.start(j)
		case refused > 0:
			l.refused++
		}
	}
}

func (l *queueTest) finish(r running) {
	next, ok, late := l.leave(r.job, r.started, l.now)
	for _, j := range late {
		if l.now.Before(j.deadline) {
			l.refused++
		} else {
			l.expired++
		}
	}
	if ok {
		l.start(next)
	}
}

// pass lets time go by in which n requests a second arrive.
func (l *queueTest) pass(d time.Duration, rate int) {
	const step = 10 * time.Millisecond
	for end := l.now.Add(d); l.now.Before(end); l.now = l.now.Add(step) {
		l.arrive(rate * int(step) / int(time.Second))
		for len(l.handlers) > 0 && !l.handlers[0].ends.After(l.now) {
			r := l.handlers[0]
			l.handlers = l.handlers[1:]
			took := l.now.Sub(r.received)
			if l.now.Before(r.deadline) {
				l.served++
				l.slowest = max(l.slowest, took)
			} else {
				l.late++
			}
			l.finish(r)
		}
	}
}

func (l *queueTest) forget() { l.served, l.late, l.refused, l.expired, l.slowest = 0, 0, 0, 0, 0 }

// Ten times what can be served comes all the time: as much is served as ever, in time, and all others are refused.
func TestOverloadKeepsGoodput(t *testing.T) {
	const rate = 400
	l := newQueueTest(t, time.Second/rate)
	l.arrive(5000) // at once, when there was nothing to do
	l.pass(5*time.Second, 10*rate)
	if l.late > 0 || l.expired > 0 || l.served < 4*rate {
		t.Errorf("at first: %d served, %d late, %d expired, %d refused", l.served, l.late, l.expired, l.refused)
	}
	l.forget()
	l.pass(20*time.Second, 10*rate)
	if l.served < 19*rate || l.late > 0 || l.expired > 0 || l.refused < 8*20*rate || l.slowest > 7*DefaultTimeout/10 {
		t.Errorf("then: %d served, the slowest after %v, %d late, %d expired, %d refused", l.served, l.slowest, l.late, l.expired, l.refused)
	}
	l.pass(10*time.Second, rate/2)
	l.forget()
	l.pass(10*time.Second, rate/2)
	if l.refused > 0 || l.served < 9*rate/2 {
		t.Errorf("afterwards: %d served, %d refused", l.served, l.refused)
	}
}

// What can be served in time is not refused, however much of it comes at once after a time with little to do.
func TestBurstIsServed(t *testing.T) {
	l := newQueueTest(t, time.Second/2000)
	l.pass(10*time.Second, 100)
	l.arrive(4000)
	l.pass(5*time.Second, 100)
	if l.refused > 0 || l.late > 0 || l.expired > 0 {
		t.Errorf("%d served, %d refused, %d late, %d expired", l.served, l.refused, l.late, l.expired)
	}
}

// Handlers that wait for a distant system are slow however few there are. That is no reason to refuse more of them.
func TestSlowIsNotOverload(t *testing.T) {
	l := newQueueTest(t, time.Microsecond)
	l.timeout, l.least = 15*time.Second, 4*time.Second
	l.arrive(1)
	l.pass(5*time.Second, 0)
	for n := 2; n <= 128; n *= 2 {
		l.arrive(n)
		l.pass(5*time.Second, 0)
	}
	if l.refused > 0 || l.late > 0 {
		t.Errorf("%d served, %d refused, %d late", l.served, l.refused, l.late)
	}
}

// When what handlers wait for hangs, few wait with it; when it is back, requests are served as before.
func TestHungThenBack(t *testing.T) {
	const rate = 400
	l := newQueueTest(t, time.Second/rate)
	l.pass(5*time.Second, rate/2)
	l.each = 0
	l.pass(10*time.Second, rate/2)
	l.forget()
	l.pass(10*time.Second, rate/2)
	if l.late > 4*queueFloor || l.refused < 9*rate/2 {
		t.Errorf("hung: %d late, %d refused", l.late, l.refused)
	}
	l.each, l.free = time.Second/rate, l.now
	l.pass(10*time.Second, rate/2)
	l.forget()
	l.pass(5*time.Second, rate/2)
	if l.refused > 0 || l.late > 0 || l.served < 4*rate/2 {
		t.Errorf("back: %d served, %d refused, %d late", l.served, l.refused, l.late)
	}
}
