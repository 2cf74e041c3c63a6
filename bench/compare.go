package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"
)

// target is a server under one scenario's load.
type target struct {
	name  string
	newOp func(conn int) Op
	cpu   func() time.Duration // used so far by the server's processes
}

// Options say how to measure.
type Options struct {
	Duration time.Duration // of each single run
	Rate     float64       // of the open loop; 0: chosen from the capacities
	Poisson  bool
	Conns    int // 0: the scenario's own
	Rounds   int
	Tickets  int // for the door, in each round
	Facts    int // for analytics
	Orders   int // that were made before, for growth
	Crowd    int // buyers at the same time when there are too many
	progress io.Writer
}

// warmUp is how long each target works, at most, before anything counts: connections are made, caches filled, pools
// grown.
const warmUp = time.Second

// Row is one target at one kind of load: what a line of the report shows. Latencies and the rest are medians over
// rounds.
type Row struct {
	Scenario string    `json:"scenario"`
	Target   string    `json:"target"`
	Mode     string    `json:"mode"`           // capacity (closed loop) or paced (open loop)
	Rate     float64   `json:"rate,omitempty"` // planned arrivals per second, when paced
	Conns    int       `json:"conns"`          //
	Rounds   []float64 `json:"goodput_rounds"` // good answers per second in each round
	Goodput  float64   `json:"goodput"`        // their median
	P50      float64   `json:"p50_ms"`         //
	P99      float64   `json:"p99_ms"`         //
	P999     float64   `json:"p999_ms"`        //
	Max      float64   `json:"max_ms"`         //
	// how late operations were sent: for want of a free connection, or of a processor
	LagP99         float64       `json:"lag_p99_ms"`
	Sent           int64         `json:"sent"`            // over all rounds, as the rest below
	Failed         int64         `json:"failed"`          // no answer
	Unsent         int64         `json:"unsent"`          // planned, never sent
	Bad            int64         `json:"bad"`             // an answer that is not what the scenario wants
	Status         map[int]int64 `json:"status"`          //
	TargetMicros   float64       `json:"target_cpu_us"`   // processor time of the server per operation
	GeneratorShare float64       `json:"generator_share"` // of the machine's processor time
	TargetShare    float64       `json:"target_share"`    //
}

// series is all runs of one target at one kind of load.
type series []Result

func (s series) row(scenario, name, mode string, conns, cores int) Row {
	row := Row{Scenario: scenario, Target: name, Mode: mode, Conns: conns, Status: make(map[int]int64)}
	var p50, p99, p999, longestOnes, lag, micros, generator, share []float64
	for _, r := range s {
		row.Rate = r.Planned
		row.Rounds = append(row.Rounds, r.Goodput())
		at := func(q float64) float64 { return float64(r.Latency.ValueAtQuantile(q)) / 1e3 }
		p50, p99, p999 = append(p50, at(50)), append(p99, at(99)), append(p999, at(99.9))
		longestOnes = append(longestOnes, float64(r.Latency.Max())/1e3)
		lag = append(lag, float64(r.Lag.ValueAtQuantile(99))/1e3)
		available := r.Elapsed.Seconds() * float64(cores)
		generator = append(generator, r.GeneratorCPU.Seconds()/available)
		share = append(share, r.TargetCPU.Seconds()/available)
		micros = append(micros, float64(r.TargetCPU.Microseconds())/float64(max(r.Sent, 1)))
		row.Sent += r.Sent
		row.Failed += r.Failed
		row.Unsent += r.Unsent
		row.Bad += r.Sent - r.Good - r.Failed
		for status, n := range r.Status {
			row.Status[status] += n
		}
	}
	row.Goodput = median(row.Rounds)
	row.P50, row.P99, row.P999, row.Max, row.LagP99 = median(p50), median(p99), median(p999),
		slices.Max(longestOnes), median(lag)
	row.TargetMicros, row.GeneratorShare, row.TargetShare = median(micros), median(generator), median(share)
	return row
}

func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// compare measures the targets in turns, so that whatever else the machine does falls on all of them: first what each
// can do at most, then the latencies at a rate that all of them can bear, and, when the first target can bear much
// more, its latencies at half of its own capacity too.
func compare(ctx context.Context, scenario string, targets []target, conns, cores int, o Options) ([]Row, error) {
	if o.Conns > 0 {
		conns = o.Conns
	}
	for _, t := range targets {
		Run(ctx, Load{Conns: conns, Duration: min(warmUp, o.Duration)}, t.newOp)
	}
	closed := Load{Conns: conns, Duration: o.Duration}
	rows := alternate(ctx, scenario, "capacity", targets, closed, cores, o)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	open := Load{Rate: o.Rate, Poisson: o.Poisson, Conns: conns, Duration: o.Duration, Grace: o.Duration}
	if open.Rate == 0 {
		lowest := slices.MinFunc(rows, func(a, b Row) int { return int(a.Goodput) - int(b.Goodput) })
		open.Rate = max(1, lowest.Goodput/2)
	}
	paced := alternate(ctx, scenario, "paced", targets, open, cores, o)
	rows = append(rows, paced...)
	if own := rows[0].Goodput / 2; o.Rate == 0 && own > 1.5*open.Rate {
		open.Rate = own
		rows = append(rows, alternate(ctx, scenario, "paced", targets[:1], open, cores, o)...)
	}
	return rows, ctx.Err()
}

// alternate runs the load on each target, once in each round, and turns the order round from one round to the next.
func alternate(ctx context.Context, scenario, mode string, targets []target, load Load, cores int, o Options) []Row {
	all := make([]series, len(targets))
	for round := range o.Rounds {
		for i := range targets {
			if ctx.Err() != nil {
				return nil // half a comparison is none
			}
			if round%2 == 1 {
				i = len(targets) - 1 - i
			}
			load.Seed = uint64(round)
			r := measure(ctx, targets[i], load)
			all[i] = append(all[i], r)
			fmt.Fprintf(o.progress, "%-8s %-8s round %d  %-9s %8.0f/s  p50 %.2f ms  p99 %.2f ms  failed %d\n", scenario,
				mode, round+1, targets[i].name, r.Goodput(), float64(r.Latency.ValueAtQuantile(50))/1e3,
				float64(r.Latency.ValueAtQuantile(99))/1e3, r.Failed)
		}
	}
	rows := make([]Row, len(targets))
	for i, t := range targets {
		rows[i] = all[i].row(scenario, t.name, mode, load.Conns, cores)
	}
	return rows
}

// measure is one run on one target, its processor time included.
func measure(ctx context.Context, t target, load Load) Result {
	before := t.cpu()
	r := Run(ctx, load, t.newOp)
	r.TargetCPU = t.cpu() - before
	return r
}
