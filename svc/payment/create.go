package payment

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/svc/payment/provider"
	"github.com/starlightsymphony/starlight/svc/payment/record"
)

// createPayment creates the payment of an order of the caller, or returns the one that is open.
//
// The payment and the key of its creation at the provider are on disk before the provider is asked. Whatever breaks
// after that, the next request for the order, or the poller, finds the open payment and asks the provider again under
// the same key, which gives the same checkout.
func (s *Service) createPayment(ctx context.Context, req *api.NewPayment) (*api.Payment, error) {
	chosen, err := s.choose(req.Provider)
	if err != nil {
		return nil, err
	}
	row, err := s.openPayment(ctx, chosen, req)
	if err != nil {
		return nil, err
	}
	p := s.providers[row.Provider]
	in := remoteCreated{id: row.ID, remote: provider.Remote{ID: row.RemoteID, CheckoutURL: row.CheckoutURL}}
	if row.RemoteID == "" {
		if in, err = s.createRemote(ctx, p, row); err != nil {
			return nil, err
		}
	}
	in.scope, in.key, in.hash, in.keyed = rpc.Answer(ctx)
	if row.RemoteID != "" && !in.keyed {
		out := row.Payment()
		return &out, nil
	}
	row, err = s.remotes.Do(ctx, in)
	if err != nil {
		return nil, err
	}
	out := row.Payment()
	return &out, nil
}

// choose returns the provider of that name, or the default one. The event may yet have another.
func (s *Service) choose(name string) (*provider.Guard, error) {
	asked := name != ""
	if !asked {
		name = api.PaymentProvider.Get(s.live)
	}
	p, ok := s.providers[name]
	off := ""
	if ok {
		off = p.OffReason()
	}
	switch {
	case ok && off == "":
		return p, nil
	case !asked:
		return nil, fault.New(fault.Unavailable, "the default payment provider, %s, is not switched on", name)
	}
	var check fault.Check
	check.Field(ok, "provider", "there is no such payment provider")
	check.Field(off == "", "provider", "%s", off)
	return nil, check.Err()
}

// methods returns the names of the providers that are switched on.
func (s *Service) methods(context.Context, *rpc.None) (*api.PaymentMethods, error) {
	on := &api.PaymentMethods{Providers: []string{}}
	for _, name := range api.PaymentProviders() {
		if p := s.providers[name]; p != nil && p.OffReason() == "" {
			on.Providers = append(on.Providers, name)
		}
	}
	return on, nil
}

// accept returns the provider if the event's buyers may choose it, and otherwise, if the caller named none, the
// first that they may choose.
func (s *Service) accept(p *provider.Guard, asked bool, accepted []string) (*provider.Guard, error) {
	if len(accepted) == 0 || slices.Contains(accepted, p.Name()) {
		return p, nil
	}
	var check fault.Check
	check.Field(!asked, "provider", "the event takes %s only", strings.Join(accepted, ", "))
	if err := check.Err(); err != nil {
		return nil, err
	}
	for _, name := range accepted {
		if other, err := s.choose(name); err == nil {
			return other, nil
		}
	}
	return nil, fault.New(fault.Unavailable, "no payment provider of this event is switched on")
}

// openPayment returns the open payment of an order, and creates it if there is none. Ticketing decides whether the
// order can be paid by the caller, and knows which providers the event takes.
func (s *Service) openPayment(ctx context.Context, p *provider.Guard, req *api.NewPayment) (*record.Payment, error) {
	id, err := s.candidate(ctx, p, req.OrderID)
	if err != nil {
		return nil, err
	}
	const tries = 4
	for range tries {
		payable, err := rpc.Call(ctx, s.client, api.BeginPayment, &api.BeginPaymentOf{OrderID: req.OrderID,
			PaymentID: id, HoldUntil: p.HoldUntil(id)})
		if err != nil {
			return nil, err
		}
		order := &payable.Order
		accepted, err := s.accept(p, req.Provider != "", payable.Providers)
		if err != nil {
			return nil, err
		}
		if accepted != p {
			p = accepted
			if id, err = s.candidate(ctx, p, req.OrderID); err != nil {
				return nil, err
			}
			continue
		}
		if order.ToPay().Amount <= 0 {
			return nil, fault.New(fault.Conflict, "there is nothing to pay")
		}
		now := store.Time(s.now())
		row, err := s.creations.Do(ctx, &record.Payment{
			ID: id, OrderID: order.ID, EventID: order.EventID, OrganizerID: payable.OrganizerID,
			UserID: order.UserID, Provider: p.Name(), Status: api.PaymentRequiresAction,
			Amount: order.ToPay().Amount, Currency: order.Total.Currency, Description: describe(order),
			RemoteKey: remoteKey(id), Revision: 1, PollAt: now.Add(api.PaymentPollAfter.Get(s.live)),
			CreatedAt: now, UpdatedAt: now,
		})
		if err != nil {
			return nil, err
		}
		if row.ID == id {
			return row, nil
		}
		id = row.ID // another request was first, and its payment is the one that the order has to know
	}
	return nil, fault.New(fault.Conflict, "the order is being paid")
}

// candidate returns the id of the caller's open payment of an order, or a fresh one.
func (s *Service) candidate(ctx context.Context, p provider.Provider, orderID ids.Order) (ids.Payment, error) {
	rows, err := s.lookups.Do(ctx, orderID)
	if err != nil {
		return "", err
	}
	id := ids.New[ids.PaymentKind](s.now())
	for _, r := range rows {
		switch {
		case r.UserID != rpc.Caller(ctx).User: // ticketing will say that there is no such order
		case r.Status == api.PaymentProcessing:
			return "", fault.New(fault.Conflict, "the order is being paid")
		case r.Status == api.PaymentSucceeded:
			return "", fault.New(fault.Conflict, "the order is paid")
		case r.Status == api.PaymentRequiresAction && r.Provider == p.Name():
			id = r.ID
		}
	}
	return id, nil
}

// createRemote asks the provider for the checkout of a payment, which is then to be stored. Asking again gives the
// same.
func (s *Service) createRemote(ctx context.Context, p *provider.Guard, row *record.Payment) (remoteCreated, error) {
	out := remoteCreated{id: row.ID, provider: p, request: s.createRequest(row)}
	var err error
	out.remote, err = p.Prepare(ctx, out.request)
	if err != nil {
		s.log.WarnContext(ctx, "a provider did not create a payment", "provider", p.Name(),
			"payment", row.ID, "error", err)
		if provider.Permanent(err) {
			refused := observation{provider: p.Name(), remote: provider.State{PaymentID: row.ID,
				Status: provider.Failed, Reason: api.FailureRefused}}
			if _, err := s.observe(ctx, p, "create", refused); err != nil {
				return out, err
			}
			return out, fault.Wrap(err, fault.Conflict, "the payment provider refuses this payment")
		}
		return out, fault.Wrap(err, fault.Unavailable, "the payment provider does not answer; try again").
			After(provider.RetryAfter)
	}
	return out, nil
}

func (s *Service) createRequest(row *record.Payment) provider.CreateRequest {
	return provider.CreateRequest{Key: row.RemoteKey, PaymentID: row.ID, OrderID: row.OrderID, Amount: row.Money(),
		Description: row.Description, ReturnURL: s.publicURL + "/orders/" + row.OrderID.String()}
}

// remoteKey derives the idempotency key of a payment's creation at its provider.
func remoteKey(id ids.Payment) string { return "starlight-create-" + id.String() }

// describe returns a line about an order, for the payer.
func describe(order *api.Order) string {
	const most = 200 // runes
	var parts []string
	for _, item := range order.Items {
		parts = append(parts, fmt.Sprintf("%d × %s", item.Quantity, item.Title()))
	}
	text := strings.Join(parts, ", ")
	if utf8.RuneCountInString(text) <= most {
		return text
	}
	return string([]rune(text)[:most-1]) + "…"
}

// getPayment reads a payment.
func (s *Service) getPayment(ctx context.Context, req *api.PaymentRef) (*api.Payment, error) {
	row, err := s.Visible(ctx, req.ID)
	if err != nil {
		return nil, err
	}
	p := row.Payment()
	return &p, nil
}

// Visible implements provider.Payments.
func (s *Service) Visible(ctx context.Context, id ids.Payment) (*record.Payment, error) {
	row, err := s.store.payment(ctx, id)
	if err != nil {
		return nil, err
	}
	if rpc.Caller(ctx).Owns(row.UserID) {
		return row, nil
	}
	return row, s.require(ctx, row, api.MayReadMoney)
}

// Managed implements provider.Payments.
func (s *Service) Managed(ctx context.Context, id ids.Payment, need api.Permission) (*record.Payment, error) {
	row, err := s.store.payment(ctx, id)
	if err != nil {
		return nil, err
	}
	return row, s.require(ctx, row, need)
}

// require refuses all who lack a permission at the payment's event. To those who may not see it there is no such
// payment.
func (s *Service) require(ctx context.Context, row *record.Payment, need api.Permission) error {
	caller := rpc.Caller(ctx)
	if caller.Admin() {
		return nil
	}
	offer, err := rpc.Call(ctx, s.client, api.GetOffer, &api.OfferRequest{EventID: row.EventID})
	if err != nil && !fault.Is(err, fault.NotFound) {
		return err
	}
	if err != nil || !offer.Can(caller, need) && !offer.Can(caller, api.MayReadMoney) {
		return fault.New(fault.NotFound, "no such payment")
	}
	return offer.Require(caller, need)
}
