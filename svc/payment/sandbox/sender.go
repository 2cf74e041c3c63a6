package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/starlightsymphony/starlight/shared/batch"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/svc/payment/provider"
)

const (
	// deliveryTimeout bounds one attempt to send a callback.
	deliveryTimeout = 10 * time.Second
	// deliveryLease is how long a callback belongs to the instance that took it up; longer than an attempt can last.
	deliveryLease = 15 * time.Second
	// deliveryWorkers bounds the callbacks that are being sent at the same time.
	deliveryWorkers = 64
	// deliveryQueue bounds the callbacks that wait for a worker; those beyond it wait in the table.
	deliveryQueue = 4096
	// sweepInterval is how often callbacks are looked for that no instance has.
	sweepInterval = time.Second
)

// sender delivers the callbacks of the sandbox over HTTP, like any outside provider, until they are acknowledged by a
// status of 2xx. What is to be sent stands in a table first, so it outlives the process.
type sender struct {
	tables   *tables
	url      string
	secret   []byte
	now      func() time.Time
	log      *slog.Logger
	client   *http.Client
	queue    chan *callbackRow
	attempts *batch.Group[attempt, struct{}]
	faults   func() faults // of the callbacks that it makes itself

	delivered, failed *observe.Counter
}

func newSender(t *tables, base string, secret []byte, cfg Config, faults func() faults) *sender {
	const name, help = "starlight_payment_sandbox_deliveries_total", "Attempts of the sandbox provider to deliver a callback, by result."
	return &sender{
		tables: t, url: base + "/v1/payments/callbacks/" + Name, secret: secret, now: cfg.Now, log: cfg.Log, faults: faults,
		client: &http.Client{
			Timeout: deliveryTimeout,
			Transport: &http.Transport{
				DialContext:         (&net.Dialer{Timeout: 3 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
				TLSHandshakeTimeout: 3 * time.Second,
				MaxIdleConns:        deliveryWorkers,
				MaxIdleConnsPerHost: deliveryWorkers,
				MaxConnsPerHost:     deliveryWorkers,
				IdleConnTimeout:     time.Minute,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		queue:     make(chan *callbackRow, deliveryQueue),
		attempts:  batch.New(256, 2*deliveryWorkers, t.recordAttempts),
		delivered: cfg.Metrics.Counter(name, help, "result", "delivered"),
		failed:    cfg.Metrics.Counter(name, help, "result", "failed"),
	}
}

func (s *sender) close() {
	s.attempts.Close()
	s.client.CloseIdleConnections()
}

// enqueue sends a callback soon, if there is room; the sweep finds it otherwise.
func (s *sender) enqueue(c *callbackRow) {
	select {
	case s.queue <- c:
	default:
	}
}

// run sends callbacks until ctx ends, and returns when the attempts under way are over.
func (s *sender) run(ctx context.Context) {
	var workers sync.WaitGroup
	for range deliveryWorkers {
		workers.Go(func() {
			for {
				select {
				case c := <-s.queue:
					s.deliver(ctx, c)
				case <-ctx.Done():
					return
				}
			}
		})
	}
	outage := observe.NewOutage(s.log, "the sandbox cannot read or write its payments and callbacks", "the sandbox works again", nil)
	provider.Every(ctx, sweepInterval, nil, func() {
		captured := s.tables.capture(ctx, s.faults)
		rows, err := s.tables.due(ctx, deliveryQueue/4)
		if ctx.Err() == nil {
			outage.Report(ctx, errors.Join(captured, err))
		}
		for _, c := range rows {
			s.enqueue(c)
		}
	})
	workers.Wait()
}

// deliver makes one attempt and records its outcome. If that fails, the lease runs out and the callback is sent
// again: a receiver has to expect that.
func (s *sender) deliver(ctx context.Context, c *callbackRow) {
	// An attempt that has begun is finished, also while stopping: the receiver may have it already.
	ctx = context.WithoutCancel(ctx)
	err := s.post(ctx, c)
	for range c.Copies - 1 {
		err = errors.Join(err, s.post(ctx, c))
	}
	result := attempt{id: c.ID, delivered: err == nil}
	if err != nil {
		s.failed.Inc()
		wait := provider.Backoff(c.Attempts)
		result.next = s.now().Add(wait)
		s.log.Debug("a callback was not taken", "callback", c.ID, "attempt", c.Attempts+1, "again_in", wait, "error", err)
	} else {
		s.delivered.Inc()
	}
	ctx, cancel := context.WithTimeout(ctx, deliveryTimeout)
	defer cancel()
	if _, err := s.attempts.Do(ctx, result); err != nil {
		s.log.Warn("what became of a callback cannot be stored", "callback", c.ID, "error", err)
	}
}

func (s *sender) post(ctx context.Context, c *callbackRow) error {
	body := c.body()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "Starlight-Sandbox/1")
	req.Header.Set(signatureHeader, provider.Sign(s.secret, body, s.now()))
	resp, err := s.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	const enough = 64 << 10
	io.Copy(io.Discard, io.LimitReader(resp.Body, enough)) // read to its end, a connection can be used again
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return fmt.Errorf("the receiver answered %s", resp.Status)
	}
	return nil
}
