package sandbox

import (
	"bytes"
	"context"
	"encoding/csv"
	"io"
	"strconv"
	"time"

	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/svc/payment/ledger"
)

// Report writes what the sandbox has collected and given back, as a provider's report does: CSV with the columns
// type (charge or refund), id, reference, amount in minor units (a refund's is negative), currency and created.
func Report(ctx context.Context, db *store.DB, w io.Writer) error {
	var rows []struct {
		Type      string
		ID        string
		Reference string
		Amount    int64
		Currency  string
		At        time.Time
	}
	err := db.Read().NewRaw(`SELECT 'charge' AS type, id, reference, captured AS amount, currency, created_at AS at FROM sandbox_payments WHERE status = 'succeeded'
		UNION ALL
		SELECT 'refund', r.id, p.reference, -r.amount, p.currency, r.created_at FROM sandbox_refunds r JOIN sandbox_payments p ON p.id = r.payment_id
		ORDER BY 6, 2`).Scan(ctx, &rows)
	if err != nil {
		return err
	}
	out := csv.NewWriter(w)
	out.Write([]string{"type", "id", "reference", "amount", "currency", "created"})
	for _, r := range rows {
		out.Write([]string{r.Type, r.ID, r.Reference, strconv.FormatInt(r.Amount, 10), r.Currency,
			r.At.UTC().Format(time.RFC3339)})
	}
	out.Flush()
	return out.Error()
}

// Audit reconciles the ledger with the sandbox's own records.
func Audit(ctx context.Context, db *store.DB) (compared int, broken []string, err error) {
	var report bytes.Buffer
	if err := Report(ctx, db, &report); err != nil {
		return 0, nil, err
	}
	return ledger.Reconcile(ctx, db, Name, &report)
}
