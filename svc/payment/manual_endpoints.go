package payment

import (
	"context"
	"strings"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// getManualCheckout shows a payer what to pay, where, until when, and under which reference. A caller who knows the payment's
// id is the payer, as with the secret address of any hosted checkout.
func (s *Service) getManualCheckout(ctx context.Context, req *api.PaymentRef) (*rpc.Blob, error) {
	row, err := s.manual.store.byPayment(ctx, req.ID)
	if err != nil {
		return nil, err
	}
	return s.manualPage.render(row, row.open(s.now()), s.manualInstructions(), s.publicURL+"/")
}

// manualInstructions returns the lines of the setting: where to pay, in the operator's words.
func (s *Service) manualInstructions() []string {
	var lines []string
	for line := range strings.SplitSeq(api.ManualInstructions.Get(s.live), "|") {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

// getManualPayment finds a payment by the reference on a bank statement, or by its id.
func (s *Service) getManualPayment(ctx context.Context, req *api.ManualPaymentRef) (*api.ManualPayment, error) {
	m, err := s.findManual(ctx, req.Reference)
	if err != nil {
		return nil, err
	}
	row, err := s.visible(ctx, m.PaymentID)
	if err != nil {
		return nil, err
	}
	out := &api.ManualPayment{Payment: row.payment(), Reference: m.Reference, DueAt: m.DueAt.UTC(), PaidBy: m.PaidBy, Instructions: s.manualInstructions()}
	if m.PaidAt != nil {
		at := m.PaidAt.UTC()
		out.PaidAt = &at
	}
	return out, nil
}

func (s *Service) findManual(ctx context.Context, name string) (*manualPayment, error) {
	if id, err := ids.Parse[ids.PaymentKind](name); err == nil {
		return s.manual.store.byPayment(ctx, id)
	}
	reference, err := parseReference(name)
	if err != nil {
		return nil, err
	}
	return s.manual.store.byReference(ctx, reference)
}

// markPaymentPaid takes the word of a manager that the money of a manual payment is there. It may be late: what that means
// is decided where the late money of any other provider is.
func (s *Service) markPaymentPaid(ctx context.Context, req *api.MarkPaid) (*api.Payment, error) {
	row, err := s.manualRow(ctx, &api.PaymentRef{ID: req.ID})
	if err != nil {
		return nil, err
	}
	m, err := s.manual.store.byPayment(ctx, row.ID)
	if err != nil {
		return nil, err
	}
	var check fault.Check
	check.Field(req.Amount == m.money(), "amount", "must be what was to be paid, %s; pay any other amount back by hand", m.money())
	if err := check.Err(); err != nil {
		return nil, err
	}
	if err := s.manual.store.markPaid(ctx, m, rpc.Caller(ctx).User); err != nil {
		return nil, err
	}
	if err := s.confirm(ctx, s.manual, m.Reference, nil); err != nil {
		return nil, err
	}
	s.log.InfoContext(ctx, "a manual payment was marked as paid", "payment", row.ID, "reference", m.Reference, "by", rpc.Caller(ctx).User)
	if row, err = s.store.payment(ctx, row.ID); err != nil {
		return nil, err
	}
	p := row.payment()
	return &p, nil
}

// markRefundPaid takes the word of a manager that a refund of a manual payment has been paid out.
func (s *Service) markRefundPaid(ctx context.Context, req *api.RefundRef) (*rpc.None, error) {
	row, err := s.manualRow(ctx, &api.PaymentRef{ID: req.PaymentID})
	if err != nil {
		return nil, err
	}
	if err := s.manual.store.markRefunded(ctx, row.RemoteID, req.RefundID, rpc.Caller(ctx).User); err != nil {
		return nil, err
	}
	s.refundNow()
	s.log.InfoContext(ctx, "a manual refund was marked as paid", "payment", row.ID, "refund", req.RefundID, "by", rpc.Caller(ctx).User)
	return &rpc.None{}, nil
}

// manualRow reads a manual payment on which the caller may act.
func (s *Service) manualRow(ctx context.Context, req *api.PaymentRef) (*paymentRow, error) {
	row, err := s.store.payment(ctx, req.ID)
	if err != nil {
		return nil, err
	}
	if err := s.staffOnly(ctx, row); err != nil {
		return nil, err
	}
	if row.Provider != manualName {
		return nil, fault.New(fault.Conflict, "only a manual payment is marked by hand, and this one is made at %s", row.Provider)
	}
	return row, nil
}

// staffOnly refuses all but the managers of the payment's event and administrators: to others there is no such
// payment.
func (s *Service) staffOnly(ctx context.Context, row *paymentRow) error {
	caller := rpc.Caller(ctx)
	if caller.Admin() {
		return nil
	}
	offer, err := rpc.Call(ctx, s.client, api.GetOffer, &api.OfferRequest{EventID: row.EventID})
	if err != nil && !fault.Is(err, fault.NotFound) {
		return err
	}
	if err != nil || offer.RoleOf(caller) < api.RoleManager {
		return fault.New(fault.NotFound, "no such payment")
	}
	return nil
}
