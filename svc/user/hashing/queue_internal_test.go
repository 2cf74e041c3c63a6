package hashing

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// crowd is a queue whose slots are all taken.
func crowd(t *testing.T, slots int) *queue {
	t.Helper()
	q := newQueue(slots, observe.NewRegistry(), time.Now)
	for range slots {
		if _, err := q.join(Login, "", true); err != nil {
			t.Fatal(err)
		}
	}
	return q
}

// place says in how many turns a waiter has its own, by ending one hash after the other.
func place(t *testing.T, q *queue, w *waiter) int {
	t.Helper()
	for n := 1; n < 1000; n++ {
		q.leave()
		select {
		case err := <-w.turn:
			if err != nil {
				t.Fatal(err)
			}
			return n
		default:
		}
	}
	t.Fatal("it is never its turn")
	return 0
}

func attacker(i int) string { return fmt.Sprintf("10.0.%d.0/24", i) }

// Sixteen blocks that ask for all they can get, of both classes, are sixteen others to a stranger: one hash of each in
// the own class, and as many of the other one. This is the first moment of the attack, when all of them were quiet before.
func TestStrangerWaitsForOneHashOfEachBlock(t *testing.T) {
	const attackers = 16
	for _, proven := range []bool{false, true} { // they may also solve what they are asked to
		for _, l := range []Class{Login, Password} {
			q := crowd(t, 1)
			for range 100 {
				for i := range attackers {
					for _, to := range []Class{Login, Password} {
						_, _ = q.join(to, attacker(i), proven) // most are refused
					}
				}
			}
			w, err := q.join(l, "192.0.2.0/24", true)
			if err != nil {
				t.Fatalf("the stranger is refused: %v", err)
			}
			if n := place(t, q, w); n > 2*(attackers+1+attackers/freshInRow) {
				t.Errorf("class %d, proven %t: the stranger has turn %d", l, proven, n)
			}
		}
	}
}

// A stranger from a network that was quiet goes before sixteen that ask all the time, and once: then it takes turns.
func TestQuietBlocksGoFirst(t *testing.T) {
	clock := testkit.NewClock(time.Time{})
	q := newQueue(1, observe.NewRegistry(), clock.Now)
	join := func(to Class, block string) *waiter {
		t.Helper()
		w, err := q.join(to, block, true)
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	const attackers = 16
	for range 3 {
		for i := range attackers {
			join(Login, attacker(i))
		}
	}
	for range 2 * attackers { // each has had a turn
		q.leave()
	}
	const stranger = "192.0.2.0/24"
	if n := place(t, q, join(Login, stranger)); n > 1 {
		t.Errorf("a stranger has turn %d", n)
	}
	first, second := join(Login, stranger), join(Login, "198.51.100.0/24")
	if n := place(t, q, second); n > 1 {
		t.Errorf("another stranger has turn %d", n)
	}
	if n := place(t, q, first); n < attackers/2 {
		t.Errorf("a second try has turn %d: whoever repeats takes turns with the others", n)
	}
	clock.Advance(quietFor)
	if n := place(t, q, join(Login, stranger)); n > 2 {
		t.Errorf("after a quiet time a stranger has turn %d", n)
	}
	for i := range 3 * blocksMemory {
		q.serve(fmt.Sprint(i), &waiter{turn: make(chan error, 1)})
	}
	if n := len(q.served); n > blocksMemory {
		t.Errorf("%d blocks are remembered", n)
	}
}

// Those who register do not keep others from logging in, nor the other way round.
func TestLanesTakeTurns(t *testing.T) {
	q := crowd(t, 1)
	for i := range 60 {
		if _, err := q.join(Password, attacker(i), true); err != nil {
			t.Fatal(err)
		}
	}
	w, err := q.join(Login, "192.0.2.0/24", true)
	if err != nil {
		t.Fatal(err)
	}
	if n := place(t, q, w); n > 2 {
		t.Errorf("a login beside registrations has turn %d", n)
	}
}

func TestBounds(t *testing.T) {
	q := crowd(t, 1)
	join := func(block string, proven bool) (*waiter, error) { return q.join(Login, block, proven) }
	var free []*waiter
	for i := range q.free {
		w, err := join("a", false)
		if err != nil {
			t.Fatalf("request %d without a challenge: %v", i, err)
		}
		free = append(free, w)
	}
	if _, err := join("a", false); !errors.Is(err, ErrBusy) {
		t.Errorf("beyond the free places: %v, want ErrBusy", err)
	}
	// Free places are shared: a block gets its part, whatever another one has taken.
	for i := range q.free / 2 {
		if _, err := join("b", false); err != nil {
			t.Fatalf("free place %d of another block: %v", i, err)
		}
		if err := <-free[q.free-1-i].turn; !errors.Is(err, ErrBusy) {
			t.Errorf("the last one of the block that has most: %v, want ErrBusy", err)
		}
	}
	if _, err := join("b", false); !errors.Is(err, ErrBusy) {
		t.Errorf("beyond its part: %v, want ErrBusy", err)
	}
	if _, err := q.join(Password, "b", false); err != nil {
		t.Errorf("the other class: %v", err)
	}

	q = crowd(t, 2)
	var last *waiter
	for i := range blockMost {
		w, err := join("a", true)
		if err != nil {
			t.Fatalf("request %d with a challenge: %v", i, err)
		}
		last = w
	}
	if _, err := join("a", true); !fault.Is(err, fault.RateLimited) || fault.From(err).RetryAfter <= 0 {
		t.Errorf("beyond the places of a block: %v, want rate_limited with a time to wait", err)
	}
	for i := range q.most - blockMost {
		if _, err := join(attacker(i), true); err != nil {
			t.Fatal(err)
		}
	}
	// All places are taken: a block with few gets one of the block with most.
	if _, err := join("b", true); err != nil {
		t.Errorf("in the place of the most crowded block: %v", err)
	}
	if err := <-last.turn; !fault.Is(err, fault.Unavailable) || fault.From(err).RetryAfter <= 0 {
		t.Errorf("its last request: %v, want unavailable with a time to wait", err)
	}
	for i := range blockMost {
		_, err := join(fmt.Sprint("c", i), true)
		if fault.Is(err, fault.Unavailable) && i >= blockMost-3 { // each has one by now
			break
		}
		if err != nil || i == blockMost-1 {
			t.Fatalf("block %d: %v", i, err)
		}
	}
	if n := q.waiting[Login].waiting; n != q.most {
		t.Errorf("%d wait, want %d", n, q.most)
	}
	for range q.most + q.slots {
		q.leave()
	}
	if n := q.busy(); n != 0 || q.waiting[Login].free != 0 {
		t.Errorf("%d are within, want none", n)
	}
}

// What waits leaves when its caller does, also if its turn comes at that moment.
func TestCallersThatLeave(t *testing.T) {
	h := New(1, observe.NewRegistry(), time.Now)
	leave, err := h.Enter(t.Context(), Login, "192.0.2.1", false)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.Enter(ctx, Login, "192.0.2.1", false); !errors.Is(err, context.Canceled) {
		t.Errorf("a caller that has gone: %v", err)
	}
	w, err := h.queue.join(Login, Block("192.0.2.1"), false)
	if err != nil {
		t.Fatal(err)
	}
	leave()
	h.queue.abandon(Login, Block("192.0.2.1"), w)
	if n := h.queue.busy(); n != 0 || len(h.queue.waiting[Login].turns) != 0 {
		t.Errorf("%d are within, want none", n)
	}
}

func TestBlock(t *testing.T) {
	for in, want := range map[string]string{"192.0.2.1": "192.0.2.0/24", "::ffff:192.0.2.1": "192.0.2.0/24",
		"2001:db8:1:2::1": "2001:db8:1::/48", "fe80::1%eth0": "fe80::/48", "": "", "localhost": ""} {
		if got := Block(in); got != want {
			t.Errorf("Block(%q) = %q, want %q", in, got, want)
		}
	}
}
