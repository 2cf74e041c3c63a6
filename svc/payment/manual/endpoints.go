package manual

import (
	"context"
	"strings"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/svc/payment/provider"
	"github.com/starlightsymphony/starlight/svc/payment/record"
)

// endpoints serves payers and managers.
type endpoints struct {
	*Provider
	payments provider.Payments
}

// Register implements provider.Resident.
func (m *Provider) Register(srv *rpc.Server, payments provider.Payments) {
	e := &endpoints{m, payments}
	rpc.Handle(srv, api.GetManualCheckout, e.getCheckout)
	rpc.Handle(srv, api.GetManualPayment, e.getPayment)
	rpc.Handle(srv, api.MarkPaymentPaid, e.markPaid)
	rpc.Handle(srv, api.MarkRefundPaid, e.markRefundPaid)
}

// getCheckout shows a payer what to pay, where, until when, and under which reference. A caller who knows the payment's
// id is the payer, as with the secret address of any hosted checkout.
func (e *endpoints) getCheckout(ctx context.Context, req *api.PaymentRef) (*rpc.Blob, error) {
	row, err := e.tables.byPayment(ctx, req.ID)
	if err != nil {
		return nil, err
	}
	return render(e.page, row, row.open(e.now()), e.instructions(), e.publicURL+"/")
}

// instructions returns the lines of the setting: where to pay, in the operator's words.
func (m *Provider) instructions() []string {
	var lines []string
	for line := range strings.SplitSeq(api.ManualInstructions.Get(m.live), "|") {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

// getPayment finds a payment by the reference on a bank statement, or by its id.
func (e *endpoints) getPayment(ctx context.Context, req *api.ManualPaymentRef) (*api.ManualPayment, error) {
	m, err := e.find(ctx, req.Reference)
	if err != nil {
		return nil, err
	}
	row, err := e.payments.Visible(ctx, m.PaymentID)
	if err != nil {
		return nil, err
	}
	out := &api.ManualPayment{Payment: row.Payment(), Reference: m.Reference, DueAt: m.DueAt.UTC(), PaidBy: m.PaidBy,
		Instructions: e.instructions()}
	if m.PaidAt != nil {
		at := m.PaidAt.UTC()
		out.PaidAt = &at
	}
	return out, nil
}

func (m *Provider) find(ctx context.Context, name string) (*paymentRow, error) {
	if id, err := ids.Parse[ids.PaymentKind](name); err == nil {
		return m.tables.byPayment(ctx, id)
	}
	reference, err := parseReference(name)
	if err != nil {
		return nil, err
	}
	return m.tables.byReference(ctx, reference)
}

// markPaid takes the word of a manager that the money of a payment is there. It may be late: what that means is decided
// where the late money of any other provider is.
func (e *endpoints) markPaid(ctx context.Context, req *api.MarkPaid) (*api.Payment, error) {
	row, err := e.managed(ctx, req.ID)
	if err != nil {
		return nil, err
	}
	m, err := e.tables.byPayment(ctx, row.ID)
	if err != nil {
		return nil, err
	}
	var check fault.Check
	check.Field(req.Amount == m.money(), "amount",
		"must be what was to be paid, %s; pay any other amount back by hand", m.money())
	if err := check.Err(); err != nil {
		return nil, err
	}
	if err := e.tables.markPaid(ctx, m, rpc.Caller(ctx).User); err != nil {
		return nil, err
	}
	if row, err = e.payments.Confirm(ctx, row); err != nil {
		return nil, err
	}
	e.log.InfoContext(ctx, "a manual payment was marked as paid", "payment", row.ID, "reference", m.Reference,
		"by", rpc.Caller(ctx).User)
	p := row.Payment()
	return &p, nil
}

// markRefundPaid takes the word of a manager that a refund has been paid out.
func (e *endpoints) markRefundPaid(ctx context.Context, req *api.RefundRef) (*rpc.None, error) {
	row, err := e.managed(ctx, req.PaymentID)
	if err != nil {
		return nil, err
	}
	if err := e.tables.markRefunded(ctx, row.RemoteID, req.RefundID, rpc.Caller(ctx).User); err != nil {
		return nil, err
	}
	e.payments.RefundNow()
	e.log.InfoContext(ctx, "a manual refund was marked as paid", "payment", row.ID, "refund", req.RefundID,
		"by", rpc.Caller(ctx).User)
	return &rpc.None{}, nil
}

// managed returns a payment of this provider on which the caller may act.
func (e *endpoints) managed(ctx context.Context, id ids.Payment) (*record.Payment, error) {
	row, err := e.payments.Managed(ctx, id, api.MayRecordMoney)
	if err == nil && row.Provider != Name && row.Provider != api.BoxOffice {
		err = fault.New(fault.Conflict,
			"only a manual payment is marked by hand, and this one is made at %s", row.Provider)
	}
	return row, err
}
