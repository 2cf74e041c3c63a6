package payment

import (
	"bytes"
	"strings"
	"testing"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/svc/payment/ledger"
	"github.com/starlightsymphony/starlight/svc/payment/sandbox"
)

func TestReconcile(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		i := h.run()
		ctx, order := h.order()
		p := h.create(ctx, order.ID)
		h.mustDecide(p.ID, "succeeded")
		p = h.awaitStatus(p.ID, api.PaymentSucceeded, 0)
		h.due(p)
		h.awaitStatus(p.ID, api.PaymentRefunded, 0)
		i.audit(t)

		var own bytes.Buffer
		if err := sandbox.Report(t.Context(), i.db, &own); err != nil {
			t.Fatal(err)
		}
		stripe := "reporting_category,gross,currency,payment_metadata[payment_id]\n" +
			"charge,50.00,eur," + p.ID.String() + "\nfee,-1.20,eur,\npartial_refund,-20.00,eur," + p.ID.String() + "\nrefund,-30,eur," + p.ID.String() + "\n"
		for name, tt := range map[string]struct {
			report string
			want   int
		}{
			"ours":                {own.String(), 0},
			"stripe's":            {stripe, 0},
			"a charge is missing": {strings.ReplaceAll(stripe, "\ncharge", "\nother"), 1},
			"a refund is missing": {strings.ReplaceAll(stripe, "partial_refund", "other"), 1},
			"a cent more":         {strings.ReplaceAll(stripe, "50.00", "50.01"), 1},
			"another currency":    {strings.ReplaceAll(stripe, "eur", "usd"), 2}, // one that we have and they do not, and the reverse
			"a payment too many":  {stripe + "charge,1.00,eur,pay_unknown\n", 1},
		} {
			_, differences, err := ledger.Reconcile(t.Context(), i.db, "sandbox", strings.NewReader(tt.report))
			if err != nil || len(differences) != tt.want {
				t.Errorf("%s: %d differences, want %d: %q, %v", name, len(differences), tt.want, differences, err)
			}
		}
	})
}
