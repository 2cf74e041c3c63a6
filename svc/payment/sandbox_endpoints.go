package payment

import (
	"context"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// decideSandboxPayment lets the payer of a sandbox payment pay or decline. Whoever knows the payment's id is the payer,
// as with the secret address of any hosted checkout.
func (s *Service) decideSandboxPayment(ctx context.Context, req *api.SandboxOutcome) (*rpc.None, error) {
	if err := s.sandboxOn(); err != nil {
		return nil, err
	}
	var check fault.Check
	check.Field(req.Outcome == sandboxSucceeded || req.Outcome == sandboxDeclined, "outcome", "must be %s or %s",
		sandboxSucceeded, sandboxDeclined)
	if err := check.Err(); err != nil {
		return nil, err
	}
	return &rpc.None{}, s.sandbox.decide(ctx, req.ID, req.Outcome)
}

// getSandboxCheckout shows the checkout page of a sandbox payment.
func (s *Service) getSandboxCheckout(ctx context.Context, req *api.PaymentRef) (*rpc.Blob, error) {
	if err := s.sandboxOn(); err != nil {
		return nil, err
	}
	row, err := s.sandbox.books.byReference(ctx, req.ID)
	if err != nil {
		return nil, err
	}
	return s.page.render(row, row.open(s.now()))
}

func (s *Service) sandboxOn() error {
	if !api.SandboxEnabled.Get(s.live) {
		return fault.New(fault.NotFound, "the sandbox provider is switched off")
	}
	return nil
}
