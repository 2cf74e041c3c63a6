package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
)

// Report is all that a run found.
type Report struct {
	At       time.Time `json:"at"`
	Machine  Machine   `json:"machine"`
	Postgres string    `json:"postgres_version,omitempty"`
	Options  struct {
		DurationSeconds float64 `json:"duration_seconds"`
		Rounds          int     `json:"rounds"`
		Poisson         bool    `json:"poisson"`
	} `json:"options"`
	Ratios  []Ratio   `json:"ratios"`
	Rows    []Row     `json:"rows"`
	Sizes   []Size    `json:"sizes,omitempty"`
	Syncs   []Syncs   `json:"syncs,omitempty"`
	Roles   []RoleCPU `json:"roles,omitempty"`
	Checks  []Check   `json:"checks"`
	Correct bool      `json:"correct"`
	// Oversold is the number of seats sold beyond what there were, over all targets.
	Oversold int64 `json:"oversold"`
}

// Ratio compares the capacities of two targets of a scenario.
type Ratio struct {
	Scenario string  `json:"scenario"`
	Of       string  `json:"of"`
	To       string  `json:"to"`
	Value    float64 `json:"value"`  // of the medians
	Lowest   float64 `json:"lowest"` // of a single round
	Highest  float64 `json:"highest"`
	Mark     float64 `json:"mark,omitempty"` // what it should be at least; 0: no mark
	// ByCPU is the same comparison by the servers' processor time per operation. It does not feel what else the machine
	// does, but knows nothing of waiting. 0: not known.
	ByCPU float64 `json:"by_cpu,omitempty"`
}

// marks are the ratios that the project wants to reach. 0 is a ratio worth knowing without a mark.
func marks() []Ratio {
	return []Ratio{
		{Scenario: "browse", Of: "system", To: "echo", Mark: 0.7},
		{Scenario: "browse", Of: "system", To: "fiber", Mark: 0.8},
		{Scenario: "browse", Of: "echo", To: "fiber"},
		{Scenario: "page", Of: "page", To: "system", Mark: 0.5},
		{Scenario: "onsale", Of: "system", To: "pgrow", Mark: 5},
		{Scenario: "onsale", Of: "system", To: "pgone"},
		{Scenario: "onsale", Of: "codes", To: "system", Mark: 0.9},
		{Scenario: "purchase", Of: "system", To: "pgpurchase", Mark: 3},
		{Scenario: "purchase crowd", Of: "system", To: "pgpurchase", Mark: 3},
		{Scenario: "purchase idle", Of: "system", To: "pgpurchase"},
		{Scenario: "growth order", Of: "many", To: "few", Mark: 1 / 1.2},
		{Scenario: "growth purchase", Of: "many", To: "few", Mark: 1 / 1.2},
		{Scenario: "growth start", Of: "many", To: "few"},
		{Scenario: "growth door", Of: "many", To: "few", Mark: 1 / 1.2},
		{Scenario: "door", Of: "mails", To: "system", Mark: 0.85},
		{Scenario: "overload", Of: "crowd", To: "usual", Mark: 0.9},
		{Scenario: "notify", Of: "system", To: "smtp", Mark: 0.7},
		{Scenario: "analytics", Of: "system", To: "drain", Mark: 0.5},
		{Scenario: "analytics", Of: "system", To: "acked"},
		{Scenario: "summary", Of: "many", To: "few", Mark: 0.8},
	}
}

// ratios returns those of the marks whose both sides were measured.
func ratios(rows []Row) []Ratio {
	find := func(scenario, target string) (Row, bool) {
		i := slices.IndexFunc(rows, func(r Row) bool {
			return r.Scenario == scenario &&
				r.Target == target && r.Mode == "capacity"
		})
		if i < 0 || rows[i].Goodput == 0 {
			return Row{}, false
		}
		return rows[i], true
	}
	found := []Ratio{}
	for _, r := range marks() {
		of, ok1 := find(r.Scenario, r.Of)
		to, ok2 := find(r.Scenario, r.To)
		if !ok1 || !ok2 {
			continue
		}
		r.Value = of.Goodput / to.Goodput
		r.Lowest, r.Highest = r.Value, r.Value
		if of.TargetMicros > 0 {
			r.ByCPU = to.TargetMicros / of.TargetMicros
		}
		for i := range min(len(of.Rounds), len(to.Rounds)) {
			if to.Rounds[i] > 0 {
				single := of.Rounds[i] / to.Rounds[i]
				r.Lowest, r.Highest = min(r.Lowest, single), max(r.Highest, single)
			}
		}
		found = append(found, r)
	}
	return found
}

// checkRow adds the check that what was measured is what was wanted: refusals are quick, and no goodput.
func (b *bench) checkRow(r Row) {
	if r.Target == "crowd" { // refusals are right
		return
	}
	b.check(r.Scenario, r.Target, r.Mode+": nearly all answers are good",
		r.Goodput > 0 && mostly(r.Sent-r.Bad-r.Failed, r.Bad+r.Failed), "%d of %d, %d others, %d failed",
		r.Sent-r.Bad-r.Failed, r.Sent, r.Bad, r.Failed)
}

func (b *bench) report(machine Machine) Report {
	for _, row := range b.rows {
		b.checkRow(row)
	}
	r := Report{At: time.Now().UTC().Truncate(time.Second), Machine: machine, Postgres: b.pgVersion,
		Ratios: ratios(b.rows), Rows: b.rows, Sizes: b.sizes, Syncs: b.syncs, Roles: b.roleCPU,
		Checks: b.checks, Oversold: b.oversold,
		Correct: b.oversold == 0 && !slices.ContainsFunc(b.checks, func(c Check) bool { return !c.OK })}
	r.Options.DurationSeconds, r.Options.Rounds, r.Options.Poisson = b.Duration.Seconds(), b.Rounds, b.Poisson
	return r
}

// writeFiles writes the report to the files that have a name.
func (r Report) writeFiles(jsonFile, markdownFile string) error {
	if jsonFile != "" {
		text, err := json.MarshalIndent(r, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(jsonFile, append(text, '\n'), 0o644); err != nil {
			return err
		}
	}
	if markdownFile == "" {
		return nil
	}
	var text strings.Builder
	if err := r.markdown(&text); err != nil {
		return err
	}
	return os.WriteFile(markdownFile, []byte(text.String()), 0o644)
}

// markdown writes the report for people.
func (r Report) markdown(w io.Writer) error {
	var t strings.Builder
	m := r.Machine
	fmt.Fprintf(&t, "# Bench, %s\n\n", r.At.Format("2006-01-02 15:04 MST"))
	fmt.Fprintf(&t, "%d × %s, %.1f GiB, %s, %s; %s with fsync p50 %.2f ms; load average %.2f before, %.2f after.",
		m.Cores, m.CPU, float64(m.MemoryBytes)/(1<<30), m.Kernel, m.Go, m.FileSystem, m.FsyncMs,
		m.LoadBefore, m.LoadAfter)
	if r.Postgres != "" {
		fmt.Fprintf(&t, " PostgreSQL %s, fsync and synchronous_commit on.", r.Postgres)
	}
	gaps := "equal"
	if r.Options.Poisson {
		gaps = "exponential"
	}
	fmt.Fprintf(&t, " %d rounds of %gs, %s gaps.\n", r.Options.Rounds, r.Options.DurationSeconds, gaps)

	if len(r.Ratios) > 0 {
		t.WriteString("\n| ratio of capacities | median | rounds | mark | | by CPU/op " +
			"|\n|---|---:|---:|---:|---|---:|\n")
		for _, x := range r.Ratios {
			mark, verdict := "", ""
			if x.Mark > 0 {
				mark, verdict = fmt.Sprintf("≥ %.2g", x.Mark), "reached"
				if x.Value < x.Mark {
					verdict = "**missed**"
				}
			}
			fmt.Fprintf(&t, "| %s: %s ÷ %s | %.2f | %.2f–%.2f | %s | %s | %.2f |\n", x.Scenario, x.Of, x.To, x.Value,
				x.Lowest, x.Highest, mark, verdict, x.ByCPU)
		}
	}

	r.capacityTable(&t)
	r.pacedTable(&t)
	r.sizeTable(&t)
	r.syncTable(&t)
	r.roleTable(&t)

	if len(r.Checks) > 0 {
		fmt.Fprintf(&t, "\nOversold: **%d**\n\n| check | | |\n|---|---|---|\n", r.Oversold)
		for _, c := range r.Checks {
			verdict := "yes"
			if !c.OK {
				verdict = "**NO**"
			}
			fmt.Fprintf(&t, "| %s, %s: %s | %s | %s |\n", c.Scenario, c.Target, c.Name, verdict, c.Detail)
		}
	}
	_, err := io.WriteString(w, t.String())
	return err
}

func (r Report) sizeTable(t *strings.Builder) {
	if len(r.Sizes) == 0 {
		return
	}
	t.WriteString("\nMemory and disk:\n\n| scenario | | kB |\n|---|---|---:|\n")
	for _, x := range r.Sizes {
		fmt.Fprintf(t, "| %s | %s | %.1f |\n", x.Scenario, x.Name, x.Bytes/1000)
	}
}

func (r Report) capacityTable(t *strings.Builder) {
	t.WriteString("\nAt most (closed loop, every connection busy):\n\n" +
		"| scenario | target | conns | good/s | rounds | p50 ms | p99 ms | p99.9 ms | other | failed | target CPU " +
		"µs/op | CPU target · generator |\n" +
		"|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n")
	for _, x := range r.Rows {
		if x.Mode != "capacity" {
			continue
		}
		fmt.Fprintf(t, "| %s | %s | %d | %.0f | %.0f–%.0f | %.2f | %.2f | %.2f | %d | %d | %.0f | %.0f%% · %.0f%% |\n",
			x.Scenario, x.Target, x.Conns, x.Goodput, slices.Min(x.Rounds), slices.Max(x.Rounds), x.P50, x.P99, x.P999,
			x.Bad, x.Failed, x.TargetMicros, 100*x.TargetShare, 100*x.GeneratorShare)
	}
}

func (r Report) pacedTable(t *strings.Builder) {
	t.WriteString("\nAt a given rate (open loop, latency from the planned moment of sending):\n\n" +
		"| scenario | target | arrivals/s | good/s | p50 ms | p99 ms | p99.9 ms | max ms | other | failed | unsent | " +
		"sent late, p99 ms | CPU target · generator |\n" +
		"|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n")
	for _, x := range r.Rows {
		if x.Mode != "paced" {
			continue
		}
		fmt.Fprintf(t, "| %s | %s | %.0f | %.0f | %.2f | %.2f | %.2f | %.2f | %d | %d | %d | %.2f | "+
			"%.0f%% · %.0f%% |\n", x.Scenario, x.Target, x.Rate, x.Goodput,
			x.P50, x.P99, x.P999, x.Max, x.Bad, x.Failed, x.Unsent, x.LagP99, 100*x.TargetShare, 100*x.GeneratorShare)
	}
}
