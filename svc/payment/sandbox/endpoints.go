package sandbox

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/svc/payment/provider"
)

// Register implements provider.Resident.
func (s *Provider) Register(srv *rpc.Server, _ provider.Payments) {
	rpc.Handle(srv, api.DecideSandboxPayment, s.decidePayment)
	rpc.Handle(srv, api.GetSandboxCheckout, s.getCheckout)
	rpc.Handle(srv, api.GetSandboxReport, s.getReport)
}

// decidePayment lets the payer of a payment pay or decline. A caller who knows the payment's id is the payer,
// as with the secret address of any hosted checkout.
func (s *Provider) decidePayment(ctx context.Context, req *api.SandboxOutcome) (*rpc.None, error) {
	if err := s.isOn(); err != nil {
		return nil, err
	}
	var check fault.Check
	check.Field(req.Outcome == outcomeSucceeded || req.Outcome == outcomeDeclined ||
		req.Outcome == outcomeAuthenticated, "outcome", "must be %s, %s or %s", outcomeSucceeded,
		outcomeDeclined, outcomeAuthenticated)
	check.Field(req.Reason == "" || req.Outcome == outcomeDeclined, "reason", "is for a decline only")
	check.Field(req.Reason == "" || slices.Contains(declineReasons(), req.Reason), "reason", "must be of %s",
		strings.Join(declineReasons(), ", "))
	if err := check.Err(); err != nil {
		return nil, err
	}
	return &rpc.None{}, s.decide(ctx, req.ID, req.Outcome, cmp.Or(req.Reason, api.FailureDeclined))
}

// declineReasons returns why the sandbox may decline.
func declineReasons() []string {
	return []string{api.FailureFunds, api.FailureExpiredCard, api.FailureDetails,
		api.FailureAuthenticated, api.FailureUnsupported}
}

// getCheckout shows the checkout page of a payment.
func (s *Provider) getCheckout(ctx context.Context, req *api.PaymentRef) (*rpc.Blob, error) {
	if err := s.isOn(); err != nil {
		return nil, err
	}
	row, err := s.tables.byReference(ctx, req.ID)
	if err != nil {
		return nil, err
	}
	return render(s.page, row, row.open(s.now()))
}

// getReport returns what the sandbox would send its merchant at the end of the day.
func (s *Provider) getReport(ctx context.Context, _ *rpc.None) (*rpc.Blob, error) {
	var out bytes.Buffer
	if err := Report(ctx, s.tables.db, &out); err != nil {
		return nil, err
	}
	return &rpc.Blob{ContentType: "text/csv; charset=utf-8", Data: out.Bytes()}, nil
}

func (s *Provider) isOn() error {
	if !api.SandboxEnabled.Get(s.live) {
		return fault.New(fault.NotFound, "the sandbox provider is switched off")
	}
	return nil
}
