package payment

import (
	"bytes"
	"testing"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// The answers to the commits that begin a payment, open it, and keep its callback are lost: the payer is not told to wait, and
// the callback is not sent again.
func TestLostCommits(t *testing.T) {
	lose := testkit.LoseCommits(t, testkit.Postgres(t))
	w := newWorld(t, lose.URL)
	i := w.run()
	for _, statement := range []string{`INSERT INTO "payments"`, "UPDATE payments SET remote_id"} {
		ctx, order := w.order()
		lose.Next(func(query []byte) bool { return bytes.Contains(query, []byte(statement)) })
		if p := w.create(ctx, order.ID); p.CheckoutURL == "" || !lose.Lost() {
			t.Errorf("%s: %+v, lost %t", statement, p, lose.Lost())
		}
	}
	ctx, order := w.order()
	p := w.create(ctx, order.ID)
	lose.Next(func(query []byte) bool { return bytes.Contains(query, []byte(`INSERT INTO "payment_callbacks"`)) })
	w.mustDecide(p.ID, "succeeded")
	w.awaitStatus(p.ID, api.PaymentSucceeded, 0)
	if !lose.Lost() {
		t.Error("no answer was lost")
	}
	if n := i.count(t, "SELECT count(*) FROM sandbox_callbacks WHERE attempts > 1"); n != 0 {
		t.Errorf("%d callbacks were sent again", n)
	}
	w.told(api.PaymentHasSucceeded, 1)
	i.audit(t)
}
