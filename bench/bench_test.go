package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/starlightsymphony/starlight/shared/ids"
)

// TestMain lets the test binary be a baseline server, as the harness is when it runs itself again.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		if err := serve(context.Background(), os.Args[2:], os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// listen serves app on the loopback for the length of the test.
func listen(t *testing.T, app *fiber.App) *Client {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- app.Listener(l) }()
	t.Cleanup(func() {
		if err := errors.Join(app.ShutdownWithTimeout(5*time.Second), <-served); err != nil {
			t.Error(err)
		}
	})
	return newClient(l.Addr().String())
}

// quietly is the usual set-up of an app in these tests.
func quietly() *fiber.App {
	return fiber.New(fiber.Config{DisableStartupMessage: true, Immutable: true})
}

// What the virtual clock shows in load_test.go holds for a real server, too.
func TestRealServerThatStalls(t *testing.T) {
	app := quietly()
	var stall sync.Mutex
	app.Get("/v1/events/:id", func(c *fiber.Ctx) error {
		stall.Lock()
		defer stall.Unlock()
		return c.SendString("{}")
	})
	client := listen(t, app)
	newOp := getOp(client, "/v1/events/evt_x", []byte("{}"))
	r := Run(t.Context(), Load{Rate: 500, Conns: 4, Duration: time.Second, Grace: 5 * time.Second}, func(conn int) Op {
		op := newOp(conn)
		return func(ctx context.Context, n int64) Outcome {
			if n == 100 { // the server stalls for the next 400 ms
				stall.Lock()
				time.AfterFunc(400*time.Millisecond, stall.Unlock)
			}
			return op(ctx, n)
		}
	})
	if r.Good != 500 || r.Failed != 0 || r.Status[200] != 500 {
		t.Fatalf("good %d, failed %d, status %v; want 500 good ones", r.Good, r.Failed, r.Status)
	}
	// 200 of the 500 were planned into the stall, half of them with more than 200 ms of it to go.
	if p90 := r.Latency.ValueAtQuantile(90); p90 < 200_000 {
		t.Errorf("p90 = %d µs: the stall does not show", p90)
	}
}

// brokenShop takes every order, whatever is left: the mutant that the checks are there for.
func brokenShop(t *testing.T, quantity int64) seller {
	var taken atomic.Int64
	o := offer{EventID: ids.New[ids.EventKind](time.Now()), TicketTypeID: ids.New[ids.TicketTypeKind](time.Now()), Quantity: quantity}
	app := quietly()
	app.Post("/v1/orders", func(c *fiber.Ctx) error {
		taken.Add(1)
		return c.SendStatus(fiber.StatusCreated)
	})
	app.Get("/v1/events/:id/availability", func(c *fiber.Ctx) error {
		held := taken.Load()
		return c.JSON(availability{EventID: o.EventID, TicketTypes: []typeAvailability{{o.TicketTypeID, quantity, quantity - held, held, 0}}})
	})
	return seller{name: "broken", client: listen(t, app), tokens: []string{"nobody"}, hot: o, cpu: func() time.Duration { return 0 }}
}

func TestOversellIsSeen(t *testing.T) {
	for name, test := range map[string]struct {
		quantity, orders int64
		oversold         int64
		correct          bool
	}{
		"enough for all": {100, 80, 0, true},
		"oversold":       {100, 120, 20, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := brokenShop(t, test.quantity)
			var (
				b bench
				l ledger
			)
			Run(t.Context(), Load{Conns: 4, Count: test.orders}, orderOp(s, s.hot, &l))
			if err := b.checkBooks("onsale", s, s.hot, &l); err != nil {
				t.Fatal(err)
			}
			r := b.report(Machine{})
			if r.Oversold != test.oversold || r.Correct != test.correct {
				t.Errorf("oversold %d, correct %v; want %d and %v: %+v", r.Oversold, r.Correct, test.oversold, test.correct, r.Checks)
			}
		})
	}
}

// A seller that forgets an order it has acknowledged has sold nothing twice, and is wrong all the same.
func TestLostOrderIsSeen(t *testing.T) {
	s := brokenShop(t, 100)
	var (
		b bench
		l ledger
	)
	Run(t.Context(), Load{Conns: 1, Count: 10}, orderOp(s, s.hot, &l))
	l.created.Add(1)
	if err := b.checkBooks("onsale", s, s.hot, &l); err != nil {
		t.Fatal(err)
	}
	if r := b.report(Machine{}); r.Correct || r.Oversold != 0 {
		t.Errorf("correct %v, oversold %d", r.Correct, r.Oversold)
	}
}

// A server that refuses everything admits nobody twice, loses no order and sells no seat twice. It is wrong all the same.
func TestRefusingServerIsSeen(t *testing.T) {
	s := brokenShop(t, 1000)
	app := quietly()
	refuse := func(c *fiber.Ctx) error { return c.SendStatus(fiber.StatusServiceUnavailable) }
	app.Post("/v1/orders", refuse)
	app.Post("/v1/events/:id/admissions", refuse)
	refusing := seller{name: "refusing", client: listen(t, app), tokens: s.tokens, hot: s.hot}
	load := Load{Conns: 4, Count: 100}

	books := &purchases{tickets: map[string]bool{}, patience: time.Millisecond}
	Run(t.Context(), load, purchaseOp(refusing, books))
	var b bench
	if err := b.checkPurchases(s, books); err != nil {
		t.Fatal(err)
	}
	wantFailed(t, &b, "the buyers have what they came for")

	var l ledger
	Run(t.Context(), load, orderOp(refusing, s.hot, &l))
	b = bench{}
	if err := b.checkBooks("onsale", s, s.hot, &l); err != nil {
		t.Fatal(err)
	}
	wantFailed(t, &b, "orders are acknowledged")

	sys := &system{client: refusing.client}
	codes := make([]string, load.Count)
	var first, second doorCounts
	r := Run(t.Context(), load, admitOp(sys, s.hot, codes, "admitted", &first))
	Run(t.Context(), load, admitOp(sys, s.hot, codes, "already_admitted", &second))
	b = bench{}
	b.checkDoor(&first, &second)
	wantFailed(t, &b, "every ticket is admitted", "and no ticket twice")

	b = bench{rows: []Row{series{r}.row("door", "system", "capacity", 4, 1)}}
	wantFailed(t, &b, "capacity: nearly all answers are good")
}

// wantFailed checks that just these checks have failed, and that the report says so.
func wantFailed(t *testing.T, b *bench, want ...string) {
	t.Helper()
	r := b.report(Machine{})
	var failed []string
	for _, c := range r.Checks {
		if !c.OK {
			failed = append(failed, c.Name)
		}
	}
	if r.Correct || !slices.Equal(failed, want) {
		t.Errorf("correct %v, failed %q, want %q", r.Correct, failed, want)
	}
}

// A crowd is served badly when an order is left without an answer, when none is served, or late, and when what was refused
// has its seat all the same.
func TestCrowdIsJudged(t *testing.T) {
	const late, unknown, did = "what is served is served in time", "what is not is refused, and not left waiting", "what was refused did not happen"
	for name, test := range map[string]struct {
		created, refused, unknown, taken int64
		latency                          time.Duration
		wrong                            []string
	}{
		"well":               {100, 900, 10, 105, time.Second, nil},
		"none":               {0, 900, 0, 0, 0, []string{late}},
		"late":               {100, 900, 0, 100, 2 * mostWait, []string{late}},
		"left waiting":       {100, 900, 11, 100, time.Second, []string{unknown}},
		"done, but refused":  {100, 900, 1, 102, time.Second, []string{did}},
		"acknowledged, lost": {100, 900, 0, 99, time.Second, []string{did}},
	} {
		t.Run(name, func(t *testing.T) {
			crowded := newTurnout()
			crowded.created.Store(test.created)
			crowded.refused.Store(test.refused)
			crowded.unknown.Store(test.unknown)
			record(crowded.latency, test.latency)
			crowded.served()
			var b bench
			b.checkCrowd(newTurnout(), crowded, typeAvailability{Quantity: plenty, Held: test.taken})
			if test.wrong != nil {
				wantFailed(t, &b, test.wrong...)
			} else if r := b.report(Machine{}); !r.Correct {
				t.Errorf("%+v", r.Checks)
			}
		})
	}
}

// A mail that comes twice does not stand for one that never came.
func TestMailsAreCountedOnce(t *testing.T) {
	mail := func(n int, to string) sunkMail {
		return sunkMail{to: to, raw: fmt.Appendf(nil, "Subject: News\r\nMessage-ID: <announcement-%d@example.org>\r\n\r\n", n)}
	}
	for name, test := range map[string]struct {
		mails []sunkMail
		wrong []string
	}{
		"all":            {[]sunkMail{mail(1, "ada"), mail(2, "bob")}, nil},
		"one twice":      {[]sunkMail{mail(1, "ada"), mail(2, "bob"), mail(1, "ada")}, []string{"and none twice"}},
		"twice, for two": {[]sunkMail{mail(1, "ada"), mail(1, "ada")}, []string{"every announcement arrives", "and none twice"}},
		"none":           {nil, []string{"every announcement arrives"}},
	} {
		t.Run(name, func(t *testing.T) {
			var b bench
			b.checkMails(test.mails, 2)
			if test.wrong != nil {
				wantFailed(t, &b, test.wrong...)
			} else if r := b.report(Machine{}); !r.Correct {
				t.Errorf("%+v", r.Checks)
			}
		})
	}
}

// The whole harness on its baselines, short: the report has every row, ratio and check, and the processes are gone.
func TestBaselines(t *testing.T) {
	if _, err := findPostgres("initdb"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("PostgreSQL is missing: ", err)
		}
		t.Skip("PostgreSQL is not installed: its baselines are not tested")
	}
	// PostgreSQL runs as another user when this is root: its folder must not be below one that is closed to others.
	dir, err := os.MkdirTemp("", "bench-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "report.json")
	var out bytes.Buffer
	err = run(t.Context(), []string{"-scenario", "browse,onsale", "-targets", "fiber,echo,pgrow,pgone", "-duration", "150ms", "-rounds", "2",
		"-dir", dir, "-json", file, "-poisson"}, &out, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var r Report
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"browse echo capacity", "browse fiber capacity", "browse echo paced", "browse fiber paced",
		"onsale pgrow capacity", "onsale pgone capacity", "onsale pgrow paced", "onsale pgone paced"} {
		found := false
		for _, row := range r.Rows {
			if row.Scenario+" "+row.Target+" "+row.Mode == want {
				found = true
				if row.Goodput <= 0 || len(row.Rounds) != 2 || row.Failed != 0 || row.Bad != 0 || row.P50 <= 0 || row.P999 < row.P50 {
					t.Errorf("%s: %+v", want, row)
				}
			}
		}
		if !found {
			t.Errorf("no row %q", want)
		}
	}
	if !r.Correct || r.Oversold != 0 || len(r.Checks) != 26 {
		t.Errorf("correct %v, oversold %d, %d checks: %+v", r.Correct, r.Oversold, len(r.Checks), r.Checks)
	}
	if len(r.Ratios) != 1 || r.Ratios[0].Value <= 0 {
		t.Errorf("ratios %+v", r.Ratios)
	}
	if r.Machine.Cores < 1 || r.Machine.FsyncMs <= 0 || r.Postgres == "" {
		t.Errorf("machine %+v, PostgreSQL %q", r.Machine, r.Postgres)
	}
	if !strings.Contains(out.String(), "Oversold: **0**") {
		t.Errorf("the report does not tell of overselling:\n%s", &out)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

// Every scenario on the system itself, as short as can be: what the harness checks holds, and every row is there.
func TestScenarios(t *testing.T) {
	file := filepath.Join(t.TempDir(), "report.json")
	var progress bytes.Buffer
	err := run(t.Context(), []string{"-targets", "system", "-duration", "100ms", "-rounds", "1", "-tickets", "40", "-facts", "2000", "-crowd", "300", "-dir", t.TempDir(), "-json", file}, io.Discard, &progress)
	text, read := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, &progress, text)
	}
	err = read
	if err != nil {
		t.Fatal(err)
	}
	var r Report
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"browse system", "onsale system", "overload usual", "overload crowd", "purchase system", "door system", "door again system", "notify system", "notify smtp",
		"reset during a mailing system", "analytics system", "analytics drain", "summary few", "summary many"} {
		i := slices.IndexFunc(r.Rows, func(row Row) bool { return row.Scenario+" "+row.Target == want })
		if i < 0 || r.Rows[i].Goodput <= 0 || r.Rows[i].Bad != 0 || r.Rows[i].Failed != 0 {
			t.Errorf("no good row %q", want)
		}
	}
	if !r.Correct || len(r.Checks) < 10 {
		t.Errorf("correct %v: %+v", r.Correct, r.Checks)
	}
}

func TestRatios(t *testing.T) {
	row := func(scenario, target string, rounds ...float64) Row {
		return Row{Scenario: scenario, Target: target, Mode: "capacity", Rounds: rounds, Goodput: median(rounds)}
	}
	got := ratios([]Row{row("browse", "system", 30, 28, 32), row("browse", "echo", 40, 40, 40), row("onsale", "system", 4000, 6000), row("onsale", "pgrow", 1000, 1000)})
	want := []Ratio{
		{Scenario: "browse", Of: "system", To: "echo", Value: 0.75, Lowest: 0.7, Highest: 0.8, Mark: 0.7},
		{Scenario: "onsale", Of: "system", To: "pgrow", Value: 5, Lowest: 4, Highest: 6, Mark: 5},
	}
	if len(got) != len(want) {
		t.Fatalf("got %+v", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("got %+v, want %+v", got[i], want[i])
		}
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{{"-scenario", "dance"}, {"-rounds", "0"}, {"-nonsense"}, {"-rate", "-1"}, {"stray"}, {"-targets", "sytem"}} {
		if err := run(t.Context(), args, io.Discard, io.Discard); !errors.Is(err, errUsage) {
			t.Errorf("%v: %v, want a usage error", args, err)
		}
	}
}

// A call that strace writes in two lines is one sync; a file that syncs by itself is one; what only reads is none.
func TestCountSyncs(t *testing.T) {
	const trace = `101 fsync(7</d/sql/payment.db-wal>) = 0
102 fdatasync(9</d/analytics/analytics-1.bolt> <unfinished ...>
101 openat(AT_FDCWD</d>, "/d/jetstream/A/streams/EVENTS/obs/ticketing/o.dat.tmp", O_WRONLY|O_CREAT|O_SYNC|O_CLOEXEC, 0640) = 8</d/x>
102 <... fdatasync resumed>) = 0
101 fsync(8</d/jetstream/A/streams/EVENTS/obs/ticketing>) = 0
101 openat(AT_FDCWD</d>, "/d/outbox/.new-1", O_RDWR|O_CREAT|O_EXCL|O_CLOEXEC, 0600) = 8</d/outbox/.new-1>
103 fsync(8</d/jetstream/A/streams/EVENTS/msgs/3.blk>) = 0
103 --- SIGURG {si_signo=SIGURG} ---
`
	got, err := countSyncs(strings.NewReader(trace), "/d")
	want := map[string]int{"payment.db": 1, "analytics": 1, "consumer ticketing": 2, "stream EVENTS": 1}
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("%v, %v, want %v", got, err, want)
	}
}
