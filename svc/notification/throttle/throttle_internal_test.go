package throttle

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// While the process is busy one mail is written at a time, never none; afterwards as many as before.
func TestMailsGiveWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most, mails = 8, 100
		ctx, stop := context.WithCancel(t.Context())
		var busy atomic.Bool
		busy.Store(true)
		th := New(most, nil)
		th.isBusy = busy.Load
		go th.Run(ctx)
		<-time.After(4 * adjustEvery) // of the clock of the test: 8, 4, 2, 1
		synctest.Wait()

		var working, highest, done atomic.Int64
		write := make(chan struct{})
		for range mails {
			go func() {
				leave, err := th.Enter(ctx)
				if err != nil {
					return
				}
				if n := working.Add(1); n > highest.Load() {
					highest.Store(n)
				}
				<-write
				working.Add(-1)
				done.Add(1)
				leave()
			}()
		}
		for n := range int64(5) {
			synctest.Wait()
			if working.Load() != 1 || done.Load() != n {
				t.Fatalf("busy: %d at work, %d done, want 1 and %d", working.Load(), done.Load(), n)
			}
			write <- struct{}{}
		}
		busy.Store(false)
		<-time.After(most * adjustEvery)
		synctest.Wait()
		if working.Load() != most {
			t.Errorf("not busy: %d at work, want %d", working.Load(), most)
		}
		for range mails - 5 {
			write <- struct{}{}
		}
		synctest.Wait()
		if done.Load() != mails || highest.Load() != most || th.used != 0 {
			t.Errorf("%d done, at most %d at a time, %d left; want %d, %d and 0", done.Load(), highest.Load(), th.used, mails, most)
		}
		stop()
	})
}

// While requests wait, mails have a share of one processor, and more again when there are none.
func TestMailsLeaveTimeToRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const takes, period = 10 * time.Millisecond, 6 * time.Second
		ctx, stop := context.WithCancel(t.Context())
		var requests, done atomic.Int64
		requests.Store(1000)
		th := New(8, requests.Load)
		th.isBusy = func() bool { return true }
		go th.Run(ctx)
		<-time.After(adjustEvery + time.Millisecond) // of the clock of the test: after the first look at the load
		for range 8 {
			go func() {
				for ctx.Err() == nil {
					leave, err := th.Enter(ctx)
					if err != nil {
						return
					}
					<-time.After(takes)
					done.Add(1)
					leave()
				}
			}()
		}
		written := func() int64 {
			before := done.Load()
			<-time.After(period)
			return done.Load() - before
		}
		all := int64(period / takes)
		if n := written(); n < all/(1+pauses)-2 || n > all/(1+pauses)+2 {
			t.Errorf("%d mails while requests wait, of %d", n, all)
		}
		requests.Store(0)
		<-time.After(adjustEvery + time.Millisecond)
		if n := written(); n < all-2 || n > all+2 { // one at a time: the process is busy
			t.Errorf("%d mails while no requests wait, of %d", n, all)
		}
		stop()
		<-time.After(takes)
	})
}

// A mail whose time ends while it waits gives its place up, and takes no turn from the next.
func TestCancelledWaitersGiveUpTheirPlace(t *testing.T) {
	th := New(1, nil)
	leave, err := th.Enter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := th.Enter(ctx); err == nil {
		t.Fatal("it entered beside another")
	}
	leave()
	next, err := th.Enter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	next()
	if th.used != 0 || len(th.waiting) != 0 {
		t.Errorf("%d at work, %d waiting", th.used, len(th.waiting))
	}
}
