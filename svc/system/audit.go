package system

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/starlightsymphony/starlight/natsconf"
	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/store"
	auditservice "github.com/starlightsymphony/starlight/svc/audit"
	"github.com/starlightsymphony/starlight/svc/payment"
	"github.com/starlightsymphony/starlight/svc/payment/ledger"
	"github.com/starlightsymphony/starlight/svc/payment/sandbox"
	"github.com/starlightsymphony/starlight/svc/ticketing"
	"github.com/starlightsymphony/starlight/svc/ticketing/audit"
)

// AuditConfig says what to audit.
type AuditConfig struct {
	Data        string
	DatabaseURL string // PostgreSQL; empty means the embedded SQLite in Data

	// Connect reaches the running system. If it fails and the data folder has an inventory, that is opened instead.
	Connect func(context.Context) (jetstream.JetStream, func(), error)

	// Reports are what payment providers say they have collected and given back, CSV of all time, by provider.
	Reports map[string][]byte
}

// What is found broken is looked at again, because on a running system something may be on its way.
const (
	auditLooks = 5
	auditPause = 500 * time.Millisecond
)

// Audit proves the invariants on a running or a stopped system.
func Audit(ctx context.Context, cfg AuditConfig) ([]audit.Finding, error) {
	js, done, err := cfg.Connect(ctx)
	if err != nil {
		if js, done, err = openStopped(ctx, cfg.Data, err); err != nil {
			return nil, err
		}
	}
	defer done()
	url := (&Config{Data: cfg.Data, DatabaseURL: cfg.DatabaseURL}).databaseURL()
	quiet := slog.New(slog.DiscardHandler)
	tickets, err := store.Open(ctx, url, "ticketing", ticketing.Migrations(), quiet)
	if err != nil {
		return nil, err
	}
	defer tickets.Close()
	money, err := store.Open(ctx, url, "payment", payment.Migrations(), quiet)
	if err != nil {
		return nil, err
	}
	defer money.Close()
	lines, err := store.Open(ctx, url, "audit", auditservice.Migrations(), quiet)
	if err != nil {
		return nil, err
	}
	defer lines.Close()
	for look := 1; ; look++ {
		findings, err := auditAll(ctx, tickets, money, js, cfg.Reports)
		if err == nil {
			chain := audit.Finding{Check: "audit log: no line was changed, added or taken out"}
			chain.Compared, chain.Broken, err = auditservice.Verify(ctx, lines, js)
			findings = append(findings, chain)
		}
		if err != nil || look == auditLooks || clean(findings) {
			return findings, err
		}
		select {
		case <-time.After(auditPause):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// openStopped starts the NATS server of a data folder for the time of an audit.
func openStopped(ctx context.Context, data string, cause error) (jetstream.JetStream, func(), error) {
	if _, err := os.Stat(filepath.Join(data, "jetstream")); err != nil {
		return nil, nil, cause
	}
	srv, err := natsconf.Start(ctx, natsconf.Config{Dir: data, Roles: Roles()})
	if err != nil {
		return nil, nil, fmt.Errorf("neither can a running system be reached (%w) nor the stopped one be opened: %w",
			cause, err)
	}
	nc, err := srv.Connect("ops")
	if err == nil {
		var js jetstream.JetStream
		if js, err = jetstream.New(nc); err == nil {
			return js, func() { nc.Close(); srv.Shutdown(context.WithoutCancel(ctx)) }, nil
		}
		nc.Close()
	}
	srv.Shutdown(ctx)
	return nil, nil, err
}

func clean(findings []audit.Finding) bool {
	for _, f := range findings {
		if len(f.Broken) > 0 {
			return false
		}
	}
	return true
}

func auditAll(ctx context.Context, tickets, money *store.DB, js jetstream.JetStream,
	reports map[string][]byte) ([]audit.Finding, error) {
	findings, err := audit.Run(ctx, tickets, js)
	if err != nil {
		return nil, err
	}
	paid, err := auditMoney(ctx, tickets, money)
	if err != nil {
		return nil, err
	}
	entries := audit.Finding{Check: "ledger: every payment and refund stands in it, and debits are credits"}
	if entries.Compared, entries.Broken, err = ledger.Audit(ctx, money); err != nil {
		return nil, err
	}
	theirs := audit.Finding{Check: "sandbox: the provider has collected and given back what we say"}
	if theirs.Compared, theirs.Broken, err = sandbox.Audit(ctx, money); err != nil {
		return nil, err
	}
	findings = append(findings, paid, entries, theirs)
	for provider, report := range reports {
		f := audit.Finding{Check: provider + ": the provider's report is what our ledger says"}
		if f.Compared, f.Broken, err = ledger.Reconcile(ctx, money, provider, bytes.NewReader(report)); err != nil {
			return nil, fmt.Errorf("the report of %s: %w", provider, err)
		}
		findings = append(findings, f)
	}
	numbers, err := auditNumbers(ctx, tickets, money, js)
	return append(findings, numbers), err
}

// auditMoney compares what was collected with the orders: what is kept of a payment is what is kept of the order that
// it paid and of those that have credits of it, nothing is kept of any other, and every paid order has its payment.
func auditMoney(ctx context.Context, tickets, money *store.DB) (audit.Finding, error) {
	f := audit.Finding{Check: "money: what was collected has paid an order or goes back, and every paid order is " +
		"paid for"}
	captured, err := ledger.Captures(ctx, money)
	if err != nil {
		return f, err
	}
	receipts, err := audit.Receipts(ctx, tickets)
	if err != nil {
		return f, err
	}
	owners, kept := map[ids.Payment]ids.Order{}, map[ids.Payment]api.Money{}
	for _, r := range receipts {
		sum := kept[r.PaymentID]
		kept[r.PaymentID] = api.Money{Amount: sum.Amount + r.Kept.Amount, Currency: r.Kept.Currency}
		if !r.Credit {
			owners[r.PaymentID] = r.OrderID
		}
	}
	for _, c := range captured {
		f.Compared++
		of, found := kept[c.ID]
		delete(kept, c.ID)
		switch {
		case !found && c.Kept.Amount != 0:
			f.Broken = append(f.Broken, fmt.Sprintf("payment %s of order %s has paid for nothing: %v",
				c.ID, c.OrderID, c.Kept))
		case found && (of != c.Kept || owners[c.ID] != c.OrderID):
			f.Broken = append(f.Broken, fmt.Sprintf("payment %s keeps %v of order %s, and orders keep %v of it, %s "+
				"first", c.ID, c.Kept, c.OrderID, of, owners[c.ID]))
		}
	}
	for id := range kept {
		f.Broken = append(f.Broken, fmt.Sprintf("order %s is paid by payment %q, which collected nothing",
			owners[id], id))
	}
	return f, nil
}
