package system

import (
	"context"
	"fmt"
	"os"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/svc/analytics"
	"github.com/starlightsymphony/starlight/svc/payment/ledger"
	"github.com/starlightsymphony/starlight/svc/ticketing/audit"
)

// auditNumbers folds the stream of events as analytics does, and compares the sums of each event with the ledger. A
// stream that has lost its beginning to age compares nothing.
func auditNumbers(ctx context.Context, tickets, money *store.DB, js jetstream.JetStream) (f audit.Finding, err error) {
	f = audit.Finding{Check: "analytics: what the stream of events adds up to is what the ledger says"}
	dir, err := os.MkdirTemp("", "starlight-audit-")
	if err != nil {
		return f, err
	}
	defer os.RemoveAll(dir)
	// The ledger after the stream: what has happened between the two is put right by another look.
	counted, whole, err := analytics.Recount(ctx, js, dir)
	if err != nil || !whole {
		return f, err
	}
	ledger, err := audit.Sales(ctx, tickets)
	if err != nil {
		return f, err
	}
	refunds, err := refundsByEvent(ctx, tickets, money)
	if err != nil {
		return f, err
	}
	for _, want := range ledger {
		f.Compared++
		got := counted[want.EventID]
		delete(counted, want.EventID)
		says := analytics.Sums{Orders: want.Orders, Tickets: want.Tickets, Admitted: want.Admitted,
			Revenue: want.Revenue, Refunds: refunds[want.EventID]}
		if got != says {
			f.Broken = append(f.Broken, fmt.Sprintf("event %s: analytics say %+v, the ledger %+v",
				want.EventID, got, says))
		}
	}
	for event, got := range counted {
		if got.Orders != 0 || got.Tickets != 0 || got.Admitted != 0 || got.Refunds != 0 {
			f.Broken = append(f.Broken, fmt.Sprintf("event %s: analytics say %+v, the ledger nothing", ids.Event(event),
				got))
		}
	}
	return f, nil
}

// refundsByEvent returns what is back of the money that has paid the orders of each event, or pays other orders, in
// minor units.
func refundsByEvent(ctx context.Context, tickets, money *store.DB) (map[ids.Event]int64, error) {
	receipts, err := audit.Receipts(ctx, tickets)
	if err != nil {
		return nil, err
	}
	back, err := ledger.Back(ctx, money)
	if err != nil {
		return nil, err
	}
	out, err := audit.Credited(ctx, tickets)
	for _, r := range receipts {
		of := ledger.OfOrder{OrderID: r.OrderID, PaymentID: r.PaymentID}
		out[r.EventID] += back[of]
		delete(back, of) // a payment may have paid an order and, by way of others, a credit of it
	}
	return out, err
}
