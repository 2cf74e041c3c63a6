package payment

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/svc/payment/provider"
)

// giro is a provider that the service does not know. It implements every optional interface but Watcher.
type giro struct {
	mu       sync.Mutex
	payments map[string]provider.State // by its id
	off      string
	until    time.Time
	running  chan struct{}
	ended    chan struct{}
	closed   bool
	service  provider.Payments

	fetched, refunded int
	hangs             bool  // Fetch
	fails             error // Fetch
	refuses           error // Refund
}

// set changes the provider by fn.
func (g *giro) set(fn func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	fn()
}

// newGiro adds the provider to all instances that h prepares from now on.
func newGiro(h *harness) *giro {
	g := &giro{payments: map[string]provider.State{}, until: h.clock.Now().Add(48 * time.Hour), running: make(chan struct{}), ended: make(chan struct{})}
	h.others = append(h.others, g)
	return g
}

// fetches returns how often the provider was asked for a payment.
func (g *giro) fetches() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.fetched
}

// refunds returns how often the provider was asked to give money back.
func (g *giro) refunds() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.refunded
}

func (g *giro) Name() string { return "giro" }

func (g *giro) OffReason() string { return g.off }

func (g *giro) HoldUntil(ids.Payment) time.Time { return g.until }

func (g *giro) Run(ctx context.Context) error {
	close(g.running)
	<-ctx.Done()
	close(g.ended)
	return nil
}

func (g *giro) Close() { g.closed = true }

func (g *giro) Register(_ *rpc.Server, payments provider.Payments) { g.service = payments }

func (g *giro) Create(_ context.Context, req provider.CreateRequest) (provider.Remote, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	id := "giro_" + req.PaymentID.String()
	g.payments[id] = provider.State{ID: id, PaymentID: req.PaymentID, Status: provider.Pending, Amount: req.Amount}
	return provider.Remote{ID: id, CheckoutURL: "https://giro.example/" + id}, nil
}

func (g *giro) Fetch(ctx context.Context, remoteID string) (provider.State, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.fetched++
	if g.hangs {
		<-ctx.Done()
		return provider.State{}, ctx.Err()
	}
	if g.fails != nil {
		return provider.State{}, g.fails
	}
	state, ok := g.payments[remoteID]
	if !ok {
		return state, fault.New(fault.NotFound, "giro does not know it")
	}
	return state, nil
}

func (g *giro) Refund(context.Context, provider.RefundRequest) (provider.Refund, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.refunded++
	if g.refuses != nil {
		return provider.Refund{}, g.refuses
	}
	return provider.Refund{ID: "giro_refund"}, nil
}

func (g *giro) Cancel(ctx context.Context, remoteID string) (provider.State, error) {
	return g.Fetch(ctx, remoteID)
}

func (g *giro) ParseCallback(cb *api.Callback) (provider.CallbackEvent, error) {
	if cb.Headers["X-Giro-Signature"] != "giro" {
		return provider.CallbackEvent{}, fault.New(fault.Unauthenticated, "giro has not sent this")
	}
	return provider.CallbackEvent{ID: "event of " + string(cb.Body), RemoteID: string(cb.Body), Type: "paid"}, nil
}

func (g *giro) succeed(remoteID string) {
	g.set(func() {
		state := g.payments[remoteID]
		state.Status = provider.Succeeded
		g.payments[remoteID] = state
	})
}

// A provider more is given to the service, and that is all: it is chosen by its name, holds seats as long as it says, works
// in the background, calls back with a header of its own, has endpoints, and gives money back.
func TestFourthProvider(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		g := newGiro(h)
		i := h.run()
		<-g.running
		ctx, order := h.order()
		p, err := rpc.Call(ctx, h.client, api.CreatePayment, &api.NewPayment{OrderID: order.ID, Provider: "giro"})
		if err != nil || p.CheckoutURL != "https://giro.example/giro_"+p.ID.String() {
			t.Fatalf("created %+v, %v", p, err)
		}
		h.mu.Lock()
		held := h.held[order.ID]
		h.mu.Unlock()
		if held == nil || !held.Equal(g.until) {
			t.Errorf("the seats are held until %v, want %v", held, g.until)
		}
		remote := "giro_" + p.ID.String()
		g.succeed(remote)
		callback := &api.Callback{Provider: "giro", Body: []byte(remote)}
		_, err = rpc.Call(t.Context(), h.client, api.ReceiveCallback, callback)
		wantFault(t, err, fault.Unauthenticated)
		callback.Headers = map[string]string{"X-Giro-Signature": "giro"}
		if _, err := rpc.Call(t.Context(), h.client, api.ReceiveCallback, callback); err != nil {
			t.Fatal(err)
		}
		h.awaitStatus(p.ID, api.PaymentSucceeded, 0)
		row, err := g.service.Visible(ctx, p.ID)
		if err == nil {
			row, err = g.service.Confirm(ctx, row) // as for an endpoint of its own
		}
		if err != nil || row.Status != api.PaymentSucceeded {
			t.Errorf("confirmed: %+v, %v", row, err)
		}
		_, err = g.service.Managed(ctx, p.ID, api.MayReadMoney)
		wantFault(t, err, fault.NotFound)
		h.refundAll(i, p.ID)
		i.RefundNow()
		h.awaitStatus(p.ID, api.PaymentRefunded, time.Second)

		g.off = "giro has a day off"
		ctx, order = h.order()
		_, err = rpc.Call(ctx, h.client, api.CreatePayment, &api.NewPayment{OrderID: order.ID, Provider: "giro"})
		wantFault(t, err, fault.Invalid)
		i.stop()
		<-g.ended
		if !g.closed {
			t.Error("the provider is not closed")
		}
	})
}

// The service knows no provider by name, and has no more files than a reader can keep in mind.
func TestCoreNamesNoProvider(t *testing.T) {
	names := regexp.MustCompile(`(?i)` + strings.Join(api.PaymentProviders(), "|"))
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	files = slices.DeleteFunc(files, func(f string) bool { return strings.HasSuffix(f, "_test.go") })
	if len(files) == 0 || len(files) > 15 {
		t.Errorf("%d files", len(files))
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if name := names.Find(text); name != nil {
			t.Errorf("%s names %s", f, name)
		}
	}
}
