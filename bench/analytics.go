package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
)

const (
	fewFacts      = 100 // times fewer facts, for the cost of a question
	askers        = 2   // at the same time
	analyticsWait = 10 * time.Minute
)

// rolesOfAnalytics are what it takes to count facts and to answer questions. No others: they would work on the facts,
// too.
func rolesOfAnalytics() []string { return []string{"gateway", "config", "user", "analytics"} }

// analytics measures how fast numbers are put together out of what the system told of many purchases, against a bare
// consumer that reads the same stream and does nothing; and what a question costs when there are few facts, and many.
func (b *bench) analytics(ctx context.Context) (err error) {
	if !b.wants("system") {
		return nil
	}
	sys, err := b.system(ctx)
	if err != nil {
		return err
	}
	tale, err := recordStory(ctx, sys)
	if err != nil {
		return err
	}
	if err := b.stopAll(); err != nil { // it shall not take part in what follows
		return err
	}
	c, err := b.startCounting(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.process.stop(syscall.SIGTERM, 20*time.Second)) }()
	defer c.js.Conn().Close()

	purchases := max(b.Facts/len(tale.told), fewFacts)
	few := purchases / fewFacts
	for _, m := range tale.setup {
		if _, err := c.js.PublishMsg(ctx, m); err != nil {
			return err
		}
	}
	for _, amount := range []struct {
		name     string
		from, to int // purchases
	}{{"few", 0, few}, {"many", few, purchases}} {
		if err := tale.tell(ctx, c.js, amount.from, amount.to); err != nil {
			return err
		}
		if err := c.await(ctx, tale.event, amount.to); err != nil {
			return err
		}
		question := target{"system", c.ask(tale.event), c.cpu}
		load := Load{Conns: askers, Duration: b.Duration}
		Run(ctx, Load{Conns: askers, Duration: min(warmUp, b.Duration)}, question.newOp)
		var asked series
		for round := range b.Rounds {
			asked = append(asked, measure(ctx, question, load))
			fmt.Fprintf(b.progress, "%-8s round %d  numbers of %d facts, p99 %.2f ms\n", "summary", round+1,
				amount.to*len(tale.told), float64(asked[round].Latency.ValueAtQuantile(99))/1e3)
		}
		b.rows = append(b.rows, asked.row("summary", amount.name, "capacity", askers, b.cores))
	}
	before, err := c.numbers(tale.event)
	if err != nil {
		return err
	}
	var folds, drains, acked series
	for round := range b.Rounds {
		fold, err := c.foldAgain(ctx, round+1)
		if err != nil {
			return err
		}
		drain, err := c.drain(ctx, jetstream.AckNonePolicy)
		if err != nil {
			return err
		}
		ack, err := c.drain(ctx, jetstream.AckExplicitPolicy)
		if err != nil {
			return err
		}
		folds, drains, acked = append(folds, fold), append(drains, drain), append(acked, ack)
		fmt.Fprintf(b.progress, "%-8s round %d  fold %.0f/s  drain %.0f/s  with acknowledgements %.0f/s\n", "analytics",
			round+1, fold.Goodput(), drain.Goodput(), ack.Goodput())
	}
	after, err := c.numbers(tale.event)
	if err != nil {
		return err
	}
	b.check("analytics", "system", "folded again, the numbers are the same", after == before,
		"%+v, before %+v", after, before)
	b.rows = append(b.rows, folds.row("analytics", "system", "capacity", 1, b.cores),
		drains.row("analytics", "drain", "capacity", 1, b.cores), acked.row("analytics", "acked",
			"capacity", 1, b.cores))
	return nil
}

// counting is an analytics service on a broker of its own. Its processor time is without the broker's, which does the
// same for a bare consumer.
type counting struct {
	*process
	client *Client
	ops    *Client
	admin  string // access token
	js     jetstream.JetStream
}

func (b *bench) startCounting(ctx context.Context) (*counting, error) {
	dir := filepath.Join(b.workDir, "analytics")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	binary, err := build(ctx, b.workDir, b.binary)
	if err != nil {
		return nil, err
	}
	_, at, err := b.start(ctx, "broker", []string{"-dir", dir}, nil)
	if err != nil {
		return nil, err
	}
	var addrs [2]string
	for i := range addrs {
		if addrs[i], err = freeAddr(); err != nil {
			return nil, err
		}
	}
	const email = "bench@example.org"
	password := rand.Text()
	cmd := exec.Command(binary, append([]string{"run", "--data", filepath.Join(dir, "data"), "--http", addrs[0],
		"--ops", addrs[1], "--nats-url", at.Addr, "--replicas", "1"}, rolesOfAnalytics()...)...)
	cmd.Env = append(os.Environ(), "STARLIGHT_ADMIN_EMAIL="+email, "STARLIGHT_ADMIN_PASSWORD="+password,
		"STARLIGHT_DATABASE_URL=sqlite:"+filepath.Join(dir, "sql"))
	p, err := startProcess("analytics", dir, cmd)
	if err != nil {
		return nil, err
	}
	c := &counting{process: p, client: newClient(addrs[0]), ops: newClient(addrs[1])}
	if err := c.prepare(ctx, at.Addr, email, password); err != nil {
		return nil, errors.Join(fmt.Errorf("analytics: %w\n%s", err, p.tail()), p.stop(syscall.SIGTERM, 20*time.Second))
	}
	return c, nil
}

func (c *counting) prepare(ctx context.Context, url, email, password string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := c.ops.waitReady(ctx, "/readyz", c.ended); err != nil {
		return err
	}
	var in session
	if err := c.client.call("POST", "/v1/sessions", "", map[string]string{"email": email,
		"password": password}, &in, 201); err != nil {
		return err
	}
	c.admin = in.AccessToken
	for _, key := range []string{"gateway.rate_per_address", "gateway.rate_per_person"} {
		if err := c.set(key, "0"); err != nil {
			return err
		}
	}
	nc, err := nats.Connect(url)
	if err != nil {
		return err
	}
	c.js, err = jetstream.New(nc)
	return err
}

func (c *counting) set(key, value string) error {
	return c.client.call("PUT", "/v1/config/"+key, c.admin, map[string]string{"value": value}, nil, 200)
}

// numbers are those of an event by which the harness knows that all is counted.
type numbers struct {
	OrdersPaid  int64 `json:"orders_paid"`
	TicketsSold int64 `json:"tickets_sold"`
	Admitted    int64 `json:"admitted"`
	Revenue     money `json:"revenue"`
	buyers      int64 // counted; nobody knows their country
}

func (c *counting) numbers(event ids.Event) (n numbers, err error) {
	if err = c.client.call("GET", "/v1/events/"+string(event)+"/analytics", c.admin, nil, &n, 200); err != nil {
		return n, err
	}
	var people struct {
		Countries struct {
			Others int64 `json:"others"`
		} `json:"countries"`
	}
	err = c.client.call("GET", "/v1/events/"+string(event)+"/analytics/demographics", c.admin, nil, &people, 200)
	n.buyers = people.Countries.Others
	return n, err
}

// await waits until so many purchases of an event are counted.
func (c *counting) await(ctx context.Context, event ids.Event, purchases int) error {
	var n numbers
	var err error
	want := numbers{int64(purchases), int64(purchases), int64(purchases),
		money{2500 * int64(purchases), "EUR"}, int64(purchases)}
	if poll(ctx, 50*time.Millisecond, analyticsWait, func() bool {
		n, err = c.numbers(event)
		return err == nil && n == want
	}) {
		return nil
	}
	return errors.Join(fmt.Errorf("the numbers are %+v, want %+v", n, want), err, ctx.Err())
}

// ask is the question for the numbers of an event.
func (c *counting) ask(event ids.Event) func(int) Op {
	return func(int) Op {
		r := c.client.prepare("GET", "/v1/events/"+string(event)+"/analytics", c.admin, nil)
		return func(context.Context, int64) Outcome {
			status := r.send()
			return Outcome{Status: status, Good: status == 200}
		}
	}
}

// foldAgain has the numbers put together again, and returns when all of the stream is folded.
func (c *counting) foldAgain(ctx context.Context, generation int) (Result, error) {
	stream, err := c.js.Stream(ctx, api.EventsStream)
	if err != nil {
		return Result{}, err
	}
	total := int64(stream.CachedInfo().State.Msgs)
	before, err := c.folded()
	if err != nil {
		return Result{}, err
	}
	cpu, start := c.cpu(), time.Now()
	if err := c.set("analytics.generation", strconv.Itoa(generation)); err != nil {
		return Result{}, err
	}
	done := poll(ctx, 20*time.Millisecond, analyticsWait, func() bool {
		var now int64
		now, err = c.folded()
		return err == nil && now >= before+total
	})
	if !done {
		return Result{}, errors.Join(errors.New("the stream is not folded again"), err, ctx.Err())
	}
	return whole(total, time.Since(start), c.cpu()-cpu), nil
}

var foldedMetric = regexp.MustCompile(`(?m)^starlight_analytics_messages_total\{instance="[^"]*",of="` +
	api.EventsStream + `"\} (\d+)$`)

// folded asks how many messages the service has folded since it started.
func (c *counting) folded() (int64, error) {
	resp, err := http.Get("http://" + c.ops.addr + "/metrics")
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	m := foldedMetric.FindSubmatch(text)
	if m == nil {
		return 0, errors.New("no metric tells what is folded")
	}
	return strconv.ParseInt(string(m[1]), 10, 64)
}

// drain reads all of the stream with a bare consumer.
func (c *counting) drain(ctx context.Context, ack jetstream.AckPolicy) (Result, error) {
	consumer, err := c.js.CreateConsumer(ctx, api.EventsStream, jetstream.ConsumerConfig{AckPolicy: ack,
		MemoryStorage: true, InactiveThreshold: time.Minute, MaxAckPending: -1})
	if err != nil {
		return Result{}, err
	}
	total := int64(consumer.CachedInfo().NumPending)
	cpu, start := ownCPU(), time.Now()
	messages, err := consumer.Messages(jetstream.PullMaxMessages(4096))
	if err != nil {
		return Result{}, err
	}
	defer messages.Stop()
	defer context.AfterFunc(ctx, messages.Stop)()
	for range total {
		msg, err := messages.Next()
		if err != nil {
			return Result{}, errors.Join(err, ctx.Err())
		}
		if ack == jetstream.AckExplicitPolicy {
			if err := msg.Ack(); err != nil {
				return Result{}, err
			}
		}
	}
	return whole(total, time.Since(start), ownCPU()-cpu), nil
}
