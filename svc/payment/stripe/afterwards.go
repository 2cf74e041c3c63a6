package stripe

import (
	"cmp"
	"context"
	"strings"
	"time"

	stripesdk "github.com/stripe/stripe-go/v85"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/svc/payment/provider"
)

// Concerns implements provider.Watcher: events of charges, among which are disputes, and of refunds.
func (s *Provider) Concerns(eventType string) bool {
	return strings.HasPrefix(eventType, "charge.") || strings.HasPrefix(eventType, "refund.")
}

// Afterwards implements provider.Watcher. A refund may fail days after it succeeded,
// https://docs.stripe.com/refunds#failed-refunds.
func (s *Provider) Afterwards(ctx context.Context, remoteID string) (provider.Afterwards, error) {
	seen := provider.Afterwards{FailedRefunds: map[string]string{}}
	session, err := s.session(ctx, remoteID)
	if err != nil || session.PaymentIntent == nil {
		return seen, err
	}
	intent := session.PaymentIntent.ID
	refunds := &stripesdk.RefundListParams{PaymentIntent: &intent}
	refunds.Limit = stripesdk.Int64(100)
	for r, err := range s.client.V1Refunds.List(ctx, refunds).All(ctx) {
		if err != nil {
			return seen, s.fault(ctx, err)
		}
		if r.Status == stripesdk.RefundStatusFailed || r.Status == stripesdk.RefundStatusCanceled {
			seen.FailedRefunds[r.ID] = cmp.Or(string(r.FailureReason), string(r.Status))
		}
	}
	disputes := &stripesdk.DisputeListParams{PaymentIntent: &intent}
	disputes.Limit = stripesdk.Int64(100)
	for d, err := range s.client.V1Disputes.List(ctx, disputes).All(ctx) {
		if err != nil {
			return seen, s.fault(ctx, err)
		}
		amount, err := fromStripe(d.Amount, string(d.Currency))
		if err != nil {
			return seen, err
		}
		one := provider.Dispute{ID: d.ID, Amount: amount, Reason: string(d.Reason), Status: disputeStatus(d.Status)}
		if d.EvidenceDetails != nil && d.EvidenceDetails.DueBy > 0 {
			one.AnswerBy = time.Unix(d.EvidenceDetails.DueBy, 0)
		}
		seen.Disputes = append(seen.Disputes, one)
	}
	return seen, nil
}

// disputeStatus maps https://docs.stripe.com/api/disputes/object. Warnings are questions of a bank that take no money.
func disputeStatus(status stripesdk.DisputeStatus) string {
	switch status {
	case stripesdk.DisputeStatusWarningNeedsResponse, stripesdk.DisputeStatusWarningUnderReview,
		stripesdk.DisputeStatusWarningClosed, stripesdk.DisputeStatusPrevented:
		return api.DisputeInquiry
	case stripesdk.DisputeStatusWon:
		return api.DisputeWon
	case stripesdk.DisputeStatusLost:
		return api.DisputeLost
	}
	return api.DisputeOpen
}
