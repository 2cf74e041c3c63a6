package payment

import (
	"bytes"
	"testing"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// The answers to the commits that begin a payment, open it, keep its callback and a refund are lost: all are done, and none is
// to be asked for again.
func TestLostCommits(t *testing.T) {
	lose := testkit.LoseCommits(t, testkit.Postgres(t))
	w := newHarness(t, lose.URL)
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
	w.published(api.PaymentHasSucceeded, 1)

	// A refund that was asked for without a key: asked for again, it would be another one.
	lose.Next(func(query []byte) bool { return bytes.Contains(query, []byte(`INSERT INTO "payment_refunds"`)) })
	half := &api.Money{Amount: p.Amount.Amount / 2, Currency: p.Amount.Currency}
	if got, err := rpc.Call(as(organizerID), w.client, api.CreateRefund, &api.NewRefund{PaymentID: p.ID, Amount: half, Reason: "rain"}); err != nil || got.Amount != *half || !lose.Lost() {
		t.Errorf("the refund: %+v, %v", got, err)
	}
	i.audit(t)
}
