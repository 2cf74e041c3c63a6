// Command bench measures a running starlight against what its parts cost without it, in one run on one machine, so that
// the ratios mean something wherever it is run. See README.md beside this file.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		if err := serve(ctx, os.Args[2:], os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "bench serve:", err)
			os.Exit(1)
		}
		return
	}
	switch err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); {
	case errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

var (
	errUsage   = errors.New("usage")
	errIsWrong = errors.New("a correctness check failed")
)

// bench is one run of the harness: what it was asked for, what it has started, and what it has found.
type bench struct {
	Options
	targets    []string // empty: all
	binary     string
	settings   []string
	pgSettings []string // of PostgreSQL, beside its own
	workDir    string
	cores      int
	pool       int // database connections of the order baselines

	sys     *system
	pg      *postgres
	started []*process // baselines of the present scenario

	rows     []Row
	sizes    []Size
	syncs    []Syncs
	roleCPU  []RoleCPU
	checks   []Check
	oversold int64

	pgVersion string
}

// run parses the arguments, measures, and writes the report to out. Progress goes to progress.
func run(ctx context.Context, args []string, out, progress io.Writer) (err error) {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(progress)
	var (
		b        = bench{Options: Options{progress: progress}, cores: runtime.NumCPU()}
		scenario = flags.String("scenario", "all",
			"browse, onsale, overload, purchase, roles, door, edge, notify, analytics, several with commas, or all; "+
				"growth is only run by its name")
		targets = flags.String("targets", "", "only these, with commas: "+strings.Join(targetNames(),
			", ")+" (default: all)")
		jsonFile   = flags.String("json", "", "also write the report as JSON to this file")
		reportFile = flags.String("markdown", "", "also write the report as Markdown to this file")
		dir        = flags.String("dir", "",
			"folder on the disk to measure; everything in it is removed again (default: a new one in the system's "+
				"temporary folder)")
		keep = flags.Bool("keep", false, "keep the folder with logs and data")
	)
	flags.DurationVar(&b.Duration, "duration", 5*time.Second, "of each single measurement")
	flags.Float64Var(&b.Rate, "rate", 0,
		"arrivals per second of the open loop (default: half of what the slowest target can do)")
	flags.BoolVar(&b.Poisson, "poisson", false, "random gaps between arrivals instead of equal ones")
	flags.IntVar(&b.Conns, "conns", 0, "connections (default: browse 64, onsale 256, purchase 32, door 64)")
	flags.IntVar(&b.Rounds, "rounds", 3, "how often each target is measured, in turns")
	flags.IntVar(&b.Tickets, "tickets", 12_000, "tickets at the door in each round")
	flags.IntVar(&b.Crowd, "crowd", 5000, "buyers at the same time in the scenario overload")
	flags.IntVar(&b.Orders, "orders", 100_000, "orders that were made before, in the scenario growth")
	flags.IntVar(&b.Facts, "facts", 1_000_000, "facts that analytics counts")
	flags.IntVar(&b.pool, "pool", 16, "database connections of the PostgreSQL baselines")
	flags.StringVar(&b.binary, "binary", "", "starlight to measure (default: built from this module)")
	flags.Func("set", "key=value: a live setting of the system, may be repeated", func(s string) error {
		b.settings = append(b.settings, s)
		return nil
	})
	flags.Func("pg", "key=value: a setting of PostgreSQL, may be repeated", func(s string) error {
		b.pgSettings = append(b.pgSettings, s)
		return nil
	})
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	if b.Rounds < 1 || b.Duration <= 0 || b.Rate < 0 || b.Conns < 0 || b.Tickets < 3 || b.Facts < 1 || b.Orders < 1 ||
		b.Crowd < 1 || b.Crowd > mostConns || flags.NArg() > 0 {
		return fmt.Errorf("%w: rounds, duration, tickets, facts, orders and crowd must be positive, rate and conns "+
			"not negative, and nothing may follow the flags", errUsage)
	}
	if *targets != "" {
		b.targets = strings.Split(*targets, ",")
	}
	for _, name := range b.targets {
		if !slices.Contains(targetNames(), name) {
			return fmt.Errorf("%w: no target %q", errUsage, name)
		}
	}
	todo, err := b.scenarios(*scenario)
	if err != nil {
		return err
	}

	if b.workDir, err = os.MkdirTemp(*dir, "starlight-bench-"); err != nil {
		return err
	}
	defer func() {
		stopErr := b.stopAll()
		if *keep {
			fmt.Fprintln(progress, "kept:", b.workDir)
		} else {
			stopErr = errors.Join(stopErr, os.RemoveAll(b.workDir))
		}
		err = errors.Join(err, stopErr)
	}()
	machine, err := describeMachine(b.workDir)
	if err != nil {
		return err
	}
	for _, s := range todo {
		if err := s.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		if err := b.stopBaselines(); err != nil {
			return err
		}
	}
	machine.LoadAfter = loadAverage()
	report := b.report(machine)
	if err := report.writeFiles(*jsonFile, *reportFile); err != nil {
		return err
	}
	if err := report.markdown(out); err != nil {
		return err
	}
	if !report.Correct {
		return errIsWrong
	}
	return nil
}

// scenario is a named measurement.
type scenario struct {
	name string
	run  func(context.Context) error
}

// scenarios returns those of a list with commas.
func (b *bench) scenarios(list string) ([]scenario, error) {
	all := []scenario{{"browse", b.browse}, {"page", b.page}, {"onsale", b.onsale}, {"overload", b.overload},
		{"purchase", b.purchase},
		{"roles", b.roles}, {"door", b.door}, {"edge", b.edge}, {"notify", b.notify},
		{"analytics", b.analytics}}
	if list == "all" {
		return all, nil
	}
	all = append(all, scenario{"growth", b.growth})
	var chosen []scenario
	for name := range strings.SplitSeq(list, ",") {
		i := slices.IndexFunc(all, func(s scenario) bool { return s.name == name })
		if i < 0 {
			return nil, fmt.Errorf("%w: no scenario %q", errUsage, name)
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

// targetNames returns what there is to measure.
func targetNames() []string {
	return []string{"system", "echo", "fiber", "pgrow", "pgone", "pgpurchase", "edge", "bolt", "codes"}
}

// wants says whether a target shall be measured.
func (b *bench) wants(name string) bool {
	return len(b.targets) == 0 || slices.Contains(b.targets, name)
}

// compare measures the targets of a scenario; see the function of that name.
func (b *bench) compare(ctx context.Context, scenario string, targets []target, conns int) error {
	if len(targets) == 0 {
		return nil
	}
	rows, err := compare(ctx, scenario, targets, conns, b.cores, b.Options)
	b.rows = append(b.rows, rows...)
	return err
}

func (b *bench) check(scenario, target, name string, ok bool, format string, args ...any) {
	b.checks = append(b.checks, Check{Scenario: scenario, Target: target, Name: name, OK: ok,
		Detail: fmt.Sprintf(format, args...)})
}

// system returns the product, started when it is first needed.
func (b *bench) system(ctx context.Context) (*system, error) {
	if b.sys != nil {
		return b.sys, nil
	}
	sys, err := startSystem(ctx, b.workDir, b.binary, b.settings)
	if err != nil {
		return nil, err
	}
	b.sys = sys
	return sys, nil
}

// baseline starts one that answers the payload.
func (b *bench) baseline(ctx context.Context, kind string, payload []byte) (*process, hello, error) {
	file := filepath.Join(b.workDir, kind+".json")
	if err := os.WriteFile(file, payload, 0o600); err != nil {
		return nil, hello{}, err
	}
	return b.start(ctx, kind, []string{"-payload", file, "-dir", filepath.Join(b.workDir, kind)}, nil)
}

// shop starts an order baseline, and the database when it is first needed.
func (b *bench) shop(ctx context.Context, kind string, offers []offer) (*process, hello, error) {
	if b.pg == nil {
		pg, err := startPostgres(ctx, filepath.Dir(b.workDir), b.workDir, b.pgSettings)
		if err != nil {
			return nil, hello{}, err
		}
		b.pg, b.pgVersion = pg, pg.version
	}
	text, err := json.Marshal(offers)
	if err != nil {
		return nil, hello{}, err
	}
	args := []string{"-offers", string(text), "-pool", strconv.Itoa(b.pool), "-dir", filepath.Join(b.workDir, kind)}
	return b.start(ctx, kind, args, []string{databaseEnv + "=" + b.pg.url})
}

func (b *bench) start(ctx context.Context, kind string, args, env []string) (*process, hello, error) {
	p, h, err := startBaseline(ctx, b.workDir, kind, args, env)
	if err != nil {
		return nil, hello{}, err
	}
	b.started = append(b.started, p)
	return p, h, nil
}

// stopBaselines ends the servers of a scenario, so that they do not take part in the next.
func (b *bench) stopBaselines() error {
	var errs []error
	for _, p := range b.started {
		errs = append(errs, p.stop(syscall.SIGTERM, 5*time.Second))
	}
	b.started = nil
	if b.pg != nil {
		errs = append(errs, b.pg.stop())
		b.pg = nil
	}
	return errors.Join(errs...)
}

// stopAll ends whatever is left.
func (b *bench) stopAll() error {
	err := b.stopBaselines()
	if b.sys != nil {
		err = errors.Join(err, b.sys.stop())
		b.sys = nil
	}
	return err
}
