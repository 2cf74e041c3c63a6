package main

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

const (
	usual    = 256             // buyers at the same time in the scenario onsale
	mostWait = 5 * time.Second // for an order, as the contract says

	scansSecond  = 50                     // at the door, while the crowd buys
	looksSecond  = 10                     // at /healthz and /readyz, as a load balancer does
	mostDoorWait = 100 * time.Millisecond // for 99 of 100 scans
)

// overload is POST /v1/orders by many more buyers than can be served. What cannot be served in time is to be refused at
// once, with nothing done, so that the others are served as if there were no crowd. Meanwhile a door scans at its own
// pace, and somebody asks whether the system is well.
func (b *bench) overload(ctx context.Context) error {
	if !b.wants("system") {
		return nil
	}
	sys, err := b.system(ctx)
	if err != nil {
		return err
	}
	s := seller{name: "system", client: sys.client, tokens: sys.buyers, cpu: sys.cpu}
	if s.hot, err = sys.sell("Overload", 0, plenty); err != nil {
		return err
	}
	alone, crowded := newTurnout(), newTurnout()
	few, many := target{"usual", alone.orderOp(s), s.cpu}, target{"crowd", crowded.orderOp(s), s.cpu}
	d, err := b.openDoor(ctx, sys)
	if err != nil {
		return err
	}
	Run(ctx, Load{Conns: usual, Duration: min(warmUp, b.Duration)}, few.newOp)
	var fewRuns, manyRuns series
	for round := range b.Rounds {
		fewRuns = append(fewRuns, measure(ctx, few, Load{Conns: usual, Duration: b.Duration}))
		crowded.end = time.Now().Add(b.Duration)
		scans := d.scan(ctx, round)
		r := measure(ctx, many, Load{Conns: b.Crowd, Duration: b.Duration})
		scans.Wait()
		r.Latency = crowded.served() // without the pauses of the refused
		manyRuns = append(manyRuns, r)
		fmt.Fprintf(b.progress, "%-8s round %d  usual %.0f/s  crowd %.0f/s %v\n", "overload", round+1,
			fewRuns[round].Goodput(), manyRuns[round].Goodput(), manyRuns[round].Status)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	b.rows = append(b.rows, fewRuns.row("overload", "usual", "capacity", usual, b.cores),
		manyRuns.row("overload", "crowd", "capacity", b.Crowd, b.cores),
		d.scans.row("overload", "door", "paced", 64, b.cores), d.looks.row("overload", "health", "paced", 8, b.cores))
	have, err := left(s.client, s.hot)
	if err != nil {
		return err
	}
	b.checkCrowd(alone, crowded, have)
	d.check(b)
	return nil
}

// busyDoor is a door at which people come in while a crowd buys.
type busyDoor struct {
	b            *bench
	sys          *system
	at           offer
	codes        []string
	counts       doorCounts
	scans, looks series
}

// openDoor makes tickets for the scans of all rounds.
func (b *bench) openDoor(ctx context.Context, sys *system) (*busyDoor, error) {
	d := &busyDoor{b: b, sys: sys}
	each := int(scansSecond*b.Duration.Seconds()) + 1
	var err error
	if d.at, err = sys.sell("Doors in a crowd", 0, int64(each*b.Rounds+perOrder)); err != nil {
		return nil, err
	}
	d.codes, err = freeTickets(ctx, sys, d.at, each*b.Rounds)
	sys.settle(ctx)
	return d, err
}

// scan scans the tickets of a round, and looks at the health of the system, for the duration of a measurement.
func (d *busyDoor) scan(ctx context.Context, round int) *sync.WaitGroup {
	each := len(d.codes) / d.b.Rounds
	var both sync.WaitGroup
	measured := func(runs *series, rate float64, conns int, t target) {
		both.Go(func() {
			*runs = append(*runs, measure(ctx, t, Load{Rate: rate, Conns: conns, Count: int64(each),
				Duration: d.b.Duration, Grace: answerTimeout}))
		})
	}
	measured(&d.scans, scansSecond, 64, target{"door", admitOp(d.sys, d.at,
		d.codes[round*each:(round+1)*each], "admitted", &d.counts), d.sys.cpu})
	measured(&d.looks, looksSecond, 8, target{"health", healthOp(d.sys), d.sys.cpu})
	return &both
}

// healthOp asks in turns whether the system lives, and whether it is ready.
func healthOp(sys *system) func(int) Op {
	return func(int) Op {
		paths := []string{"/healthz", "/readyz"}
		r := sys.client.prepare("GET", paths[0], "", nil)
		return func(_ context.Context, n int64) Outcome {
			r.set("GET", paths[n%2], "", nil)
			status := r.send()
			return Outcome{Status: status, Good: status == 200}
		}
	}
}

// check judges what the door and the load balancer have seen.
func (d *busyDoor) check(b *bench) {
	scans, looks := newHistogram(), newHistogram()
	var good, sent, well, asked int64
	for i := range d.scans {
		scans.Merge(d.scans[i].Latency)
		looks.Merge(d.looks[i].Latency)
		good, sent = good+d.scans[i].Good, sent+d.scans[i].Sent
		well, asked = well+d.looks[i].Good, asked+d.looks[i].Sent
	}
	p99 := func(h *hdrhistogram.Histogram) time.Duration {
		return time.Duration(h.ValueAtQuantile(99)) * time.Microsecond
	}
	mark := "reached"
	if p99(scans) > mostDoorWait {
		mark = "missed"
	}
	b.check("overload", "door", "everyone who comes is admitted", good == sent,
		"%d of %d admitted, p99 %v: the mark of %v is %s", good, sent, p99(scans), mostDoorWait, mark)
	b.check("overload", "health", "the system answers that it is well", well == asked, "%d of %d, p99 %v", well, asked,
		p99(looks))
}

// turnout is how the orders of a crowd ended.
type turnout struct {
	created, refused, unknown atomic.Int64
	end                       time.Time // of the round: nobody who was refused stays longer

	mu      sync.Mutex
	latency *hdrhistogram.Histogram // of the created ones in this round
	all     *hdrhistogram.Histogram // of those before
}

func newTurnout() *turnout { return &turnout{latency: newHistogram(), all: newHistogram()} }

// served returns the latencies of the orders created since it was last called.
func (t *turnout) served() *hdrhistogram.Histogram {
	t.mu.Lock()
	defer t.mu.Unlock()
	round := t.latency
	t.all.Merge(round)
	t.latency = newHistogram()
	return round
}

// orderOp orders one seat, and leaves the seller alone for a while when it has too much to do.
func (t *turnout) orderOp(s seller) func(int) Op {
	body := orderBody(s.hot, 1)
	return func(conn int) Op {
		r := s.client.prepare("POST", "/v1/orders", s.tokens[conn%len(s.tokens)], body)
		arrived := false
		return func(ctx context.Context, _ int64) Outcome {
			if !arrived { // a crowd does not come in the same instant
				arrived = true
				pause(ctx, time.Duration(conn)*time.Second/mostConns)
			}
			start := time.Now()
			status := r.send()
			switch status {
			case 201:
				t.created.Add(1)
				t.mu.Lock()
				record(t.latency, time.Since(start))
				t.mu.Unlock()
			case 503:
				t.refused.Add(1)
				seconds, _ := strconv.Atoi(string(r.resp.Header.Peek("Retry-After")))
				pause(ctx, min(time.Duration(max(seconds, 1))*time.Second, time.Until(t.end)))
			default:
				t.unknown.Add(1)
			}
			return Outcome{Status: status, Good: status == 201}
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// checkCrowd judges what became of the orders, by what the seller says afterwards.
func (b *bench) checkCrowd(alone, crowded *turnout, have typeAvailability) {
	created, refused, unknown := crowded.created.Load(), crowded.refused.Load(), crowded.unknown.Load()
	p99 := time.Duration(crowded.all.ValueAtQuantile(99)) * time.Microsecond
	b.check("overload", "system", "what is served is served in time", created > 0 && p99 < mostWait,
		"%d acknowledged, p99 %v", created, p99)
	b.check("overload", "system", "what is not is refused, and not left waiting", 100*unknown <= created+refused,
		"%d refused, %d with unknown outcome", refused, unknown)
	acknowledged := created + alone.created.Load()
	taken := have.Held + have.Sold
	b.check("overload", "system", "what was refused did not happen", acknowledged <= taken &&
		taken <= acknowledged+unknown+alone.unknown.Load(), "%d acknowledged, %d seats taken, %d refused",
		acknowledged, taken, refused)
	b.oversold += max(0, taken-have.Quantity)
}
