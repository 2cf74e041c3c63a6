package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

// perOrder is how many free tickets the door's preparation takes with each order.
const perOrder = 20

// door is POST of admissions: every ticket of a round once, which must admit it, and then every one again, which must
// not. A third of them is scanned while the mails that bring tickets are being written, another when all mails are.
func (b *bench) door(ctx context.Context) error {
	if !b.wants("system") {
		return nil
	}
	sys, err := b.system(ctx)
	if err != nil {
		return err
	}
	conns := 64
	if b.Conns > 0 {
		conns = b.Conns
	}
	var mails, quiet, paced, again series
	var first, second doorCounts
	for round := range b.Rounds {
		o, err := sys.sell(fmt.Sprintf("Door %d", round+1), 0, int64(b.Tickets+perOrder))
		if err != nil {
			return err
		}
		codes, err := freeTickets(ctx, sys, o, b.Tickets)
		if err != nil {
			return err
		}
		third := len(codes) / 3
		fmt.Fprintf(b.progress, "%-8s round %d  %d tickets\n", "door", round+1, len(codes))
		at := func(codes []string, want string, counts *doorCounts) target {
			return target{"system", admitOp(sys, o, codes, want, counts), sys.cpu}
		}
		closed := func(codes []string) Load { return Load{Conns: conns, Count: int64(len(codes))} }
		mails = append(mails, measure(ctx, at(codes[:third], "admitted", &first), closed(codes[:third])))
		wrote := sys.settle(ctx)
		fmt.Fprintf(b.progress, "%-8s round %d  with mails %.0f/s, which took %v more\n", "door", round+1,
			mails[round].Goodput(), wrote.Round(time.Second/10))
		rest := codes[third:]
		quiet = append(quiet, measure(ctx, at(rest[:third], "admitted", &first), closed(rest[:third])))
		rate := b.Rate
		if rate == 0 {
			rate = max(1, quiet[0].Goodput()/2) // the first round's, so that all rounds have the same
		}
		rest = rest[third:]
		paced = append(paced, measure(ctx, at(rest, "admitted", &first),
			Load{Rate: rate, Poisson: b.Poisson, Seed: uint64(round), Conns: conns,
				Count: int64(len(rest)), Duration: time.Hour})) // as long as there are tickets
		again = append(again, measure(ctx, at(codes, "already_admitted", &second), closed(codes)))
		fmt.Fprintf(b.progress, "%-8s round %d  first %.0f/s  again %.0f/s\n", "door", round+1,
			quiet[round].Goodput(), again[round].Goodput())
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	b.rows = append(b.rows, quiet.row("door", "system", "capacity", conns, b.cores),
		mails.row("door", "mails", "capacity", conns, b.cores), paced.row("door", "system", "paced", conns, b.cores),
		again.row("door again", "system", "capacity", conns, b.cores))
	b.checkDoor(&first, &second)
	return nil
}

// settle waits until the system has nothing left to do, such as mails to write, and returns how long that took.
func (s *system) settle(ctx context.Context) time.Duration { return settle(ctx, s.cpu) }

// settle waits until hardly any processor time is used.
func settle(ctx context.Context, cpu func() time.Duration) time.Duration {
	const (
		look     = 250 * time.Millisecond
		patience = 2 * time.Minute
		idle     = look / 20 // of processor time
	)
	start, before := time.Now(), cpu()
	quiet := 0
	poll(ctx, look, patience, func() bool {
		now := cpu()
		if quiet++; now-before > idle {
			quiet = 0
		}
		before = now
		return quiet >= 3
	})
	return time.Since(start)
}

// checkDoor judges the scans: of tickets that were not admitted before, and of the same tickets again.
func (b *bench) checkDoor(first, second *doorCounts) {
	right, wrong, unknown := first.right.Load(), first.wrong.Load(), first.unknown.Load()
	b.check("door", "system", "every ticket is admitted", wrong == 0 && mostly(right, unknown),
		"%d admitted, %d otherwise, %d with unknown outcome", right, wrong, unknown)
	againRight, againWrong, againUnknown := second.right.Load(), second.wrong.Load(), second.unknown.Load()
	b.check("door", "system", "and no ticket twice", againWrong <= unknown && mostly(againRight, againUnknown),
		"%d already admitted, %d otherwise, %d with unknown outcome", againRight, againWrong, againUnknown)
}

// doorCounts is how the scans of one kind ended.
type doorCounts struct{ right, wrong, unknown atomic.Int64 }

// admitOp scans the n-th code and wants this result.
func admitOp(sys *system, o offer, codes []string, want string, counts *doorCounts) func(int) Op {
	needle := []byte(`"result":"` + want + `"`)
	return func(int) Op {
		path := "/v1/events/" + string(o.EventID) + "/admissions"
		r := sys.client.prepare("POST", path, sys.organizer, nil)
		return func(_ context.Context, n int64) Outcome {
			body, err := json.Marshal(map[string]string{"code": codes[n], "gate": "north"})
			if err != nil {
				panic(err) // two strings
			}
			r.set("POST", path, sys.organizer, body)
			status := r.send()
			good := status == 200 && bytes.Contains(r.resp.Body(), needle)
			switch {
			case good:
				counts.right.Add(1)
			case status == 0 || status >= 500:
				counts.unknown.Add(1)
			default:
				counts.wrong.Add(1)
			}
			return Outcome{Status: status, Good: good}
		}
	}
}

// freeTickets orders at least count tickets of a free event and returns the codes of as many.
func freeTickets(ctx context.Context, sys *system, o offer, count int) ([]string, error) {
	var (
		mu    sync.Mutex
		codes []string
		errs  []error
	)
	order := orderBody(o, perOrder)
	Run(ctx, Load{Conns: 32, Count: int64((count + perOrder - 1) / perOrder)}, func(conn int) Op {
		return func(context.Context, int64) Outcome {
			got, err := orderFree(sys, sys.buyers[conn%len(sys.buyers)], order)
			mu.Lock()
			defer mu.Unlock()
			codes, errs = append(codes, got...), append(errs, err)
			return Outcome{}
		}
	})
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if len(codes) < count {
		return nil, fmt.Errorf("%d free tickets, want %d", len(codes), count)
	}
	return codes[:count], nil
}

// orderFree places a free order and returns its tickets' codes.
func orderFree(sys *system, token string, order json.RawMessage) ([]string, error) {
	var placed struct {
		ID     string `json:"id"`
		Status string `json:"status"`
	}
	// Who is refused for want of room comes again.
	for deadline := time.Now().Add(payPatience); ; time.Sleep(comeAgain) {
		err := sys.client.call("POST", "/v1/orders", token, order, &placed, 201)
		if err == nil {
			break
		}
		var refused *statusError
		if !errors.As(err, &refused) || refused.status != fasthttp.StatusServiceUnavailable ||
			time.Now().After(deadline) {
			return nil, err
		}
	}
	if placed.Status != "paid" {
		return nil, fmt.Errorf("the free order %s is %s", placed.ID, placed.Status)
	}
	var list struct {
		Items []struct {
			Code string `json:"code"`
		} `json:"items"`
	}
	if err := sys.client.call("GET", "/v1/orders/"+placed.ID+"/tickets", token, nil, &list, 200); err != nil {
		return nil, err
	}
	if len(list.Items) != perOrder {
		return nil, fmt.Errorf("the order %s has %d tickets, want %d", placed.ID, len(list.Items), perOrder)
	}
	codes := make([]string, len(list.Items))
	for i, t := range list.Items {
		codes[i] = t.Code
	}
	return codes, nil
}
