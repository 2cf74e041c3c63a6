package payment

import (
	"context"
	"errors"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/svc/payment/provider"
)

const (
	// lookTime bounds one look at a payment: a call or two of its provider and a transaction.
	lookTime = 2 * provider.CallTimeout
	// callbackLease is how long a callback belongs to the instance that took it up: longer than a look at it can last, with
	// looking at what came afterwards and putting it off.
	callbackLease = 2*lookTime + provider.CallTimeout
)

// receiveCallback verifies a callback, stores it and answers. The payment that it is about is fetched afterwards, by a
// callback worker of the provider.
//
// A callback about a payment that we do not have is accepted too, counted and logged: the provider can do nothing about it,
// and would send it again for days.
func (s *Service) receiveCallback(ctx context.Context, req *api.Callback) (*rpc.None, error) {
	worker, ok := s.workers[req.Provider]
	if !ok {
		return nil, fault.New(fault.NotFound, "no such payment provider")
	}
	event, err := worker.provider.ParseCallback(req)
	if err != nil {
		s.metrics.received(req.Provider, "refused")
		s.log.WarnContext(ctx, "a callback was refused", "provider", req.Provider, "address", rpc.From(ctx).Address, "error", err)
		return nil, err
	}
	if event.RemoteID == "" {
		s.metrics.received(req.Provider, "passed over")
		return &rpc.None{}, nil
	}
	now := store.Time(s.now())
	row := &callbackRow{
		Provider: req.Provider, EventID: event.ID, RemoteID: event.RemoteID, Type: event.Type, Body: req.Body,
		ReceivedAt: now, DueAt: now.Add(callbackLease),
	}
	fresh, err := s.receipts.Do(ctx, row)
	if err != nil {
		return nil, err
	}
	if !fresh {
		s.metrics.received(req.Provider, "duplicate")
		return &rpc.None{}, nil
	}
	s.metrics.received(req.Provider, "new")
	worker.enqueue(row)
	return &rpc.None{}, nil
}

// callbackWorker is where the callbacks of one provider are worked on: each provider has its own workers, so a slow one
// does not delay the others.
type callbackWorker struct {
	service  *Service
	provider *provider.Guard
	queue    chan *callbackRow
}

const (
	callbackWorkers = 128  // calls of one provider at the same time
	callbackQueue   = 8192 // callbacks that wait for a worker; those beyond it wait in the table
)

func newCallbackWorker(s *Service, p *provider.Guard) *callbackWorker {
	return &callbackWorker{service: s, provider: p, queue: make(chan *callbackRow, callbackQueue)}
}

// enqueue works on a callback soon, if there is room; the sweep finds it otherwise.
func (d *callbackWorker) enqueue(row *callbackRow) {
	select {
	case d.queue <- row:
	default:
	}
}

// work deals with callbacks until ctx ends. It runs callbackWorkers times.
func (d *callbackWorker) work(ctx context.Context) {
	for {
		select {
		case row := <-d.queue:
			d.look(context.WithoutCancel(ctx), row)
		case <-ctx.Done():
			return
		}
	}
}

// look fetches the object of a callback and moves the payment. If anything fails, the callback is taken up again later.
func (d *callbackWorker) look(ctx context.Context, row *callbackRow) {
	key := row.key()
	err := d.hold(ctx, row)
	if err == nil {
		err = d.service.lookAfterwards(ctx, d.provider, row)
	}
	if err == nil {
		err = d.service.confirm(ctx, d.provider, row.RemoteID, &key) // finishes the callback
	}
	if err == nil || errors.Is(err, errTaken) {
		return
	}
	wait := provider.Backoff(row.Attempts)
	d.service.log.WarnContext(ctx, "a callback waits", "provider", row.Provider, "callback", row.EventID, "again_in", wait, "error", err)
	ctx, cancel := context.WithTimeout(ctx, provider.CallTimeout)
	defer cancel()
	if err := d.service.store.postpone(ctx, key, d.service.now().Add(wait)); err != nil {
		d.service.log.WarnContext(ctx, "a callback cannot be put off", "callback", row.EventID, "error", err)
	}
}

// errTaken says that another instance has taken up the work meanwhile.
var errTaken = errors.New("another instance has taken it up")

// hold makes sure that a callback is this instance's for as long as a look may last: it may have waited for its worker.
func (d *callbackWorker) hold(ctx context.Context, row *callbackRow) error {
	if d.service.now().Add(2 * lookTime).Before(row.DueAt) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, provider.CallTimeout)
	defer cancel()
	return d.service.store.renew(ctx, row)
}

// sweepCallbacks claims callbacks whose worker is gone.
func (s *Service) sweepCallbacks(ctx context.Context) error {
	rows, err := s.store.waiting(ctx, sweepLimit)
	if err != nil {
		return err
	}
	for _, r := range rows {
		if worker, ok := s.workers[r.Provider]; ok {
			worker.enqueue(r)
		}
	}
	return nil
}

// deleteCallbacks deletes callbacks that have been dealt with for longer than the setting payment.callback_retention.
func (s *Service) deleteCallbacks(ctx context.Context) error {
	return s.store.deleteCallbacks(ctx, s.now().Add(-api.CallbackRetention.Get(s.live)))
}
