package payment

import (
	"bytes"
	"context"
	"sync/atomic"
	"testing"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// The answers to the commits that create a payment, store its checkout, its callback and a refund are lost: all are done, and none is
// to be asked for again.
func TestLostCommits(t *testing.T) {
	lose := testkit.LoseCommits(t, testkit.Postgres(t))
	h := newHarness(t, lose.URL)
	i := h.run()
	for _, statement := range []string{`INSERT INTO "payments"`, "UPDATE payments SET remote_id"} {
		ctx, order := h.order()
		lose.Next(func(query []byte) bool { return bytes.Contains(query, []byte(statement)) })
		if p := h.create(ctx, order.ID); p.CheckoutURL == "" || !lose.Lost() {
			t.Errorf("%s: %+v, lost %t", statement, p, lose.Lost())
		}
	}
	ctx, order := h.order()
	p := h.create(ctx, order.ID)
	lose.Next(func(query []byte) bool { return bytes.Contains(query, []byte(`INSERT INTO "payment_callbacks"`)) })
	h.mustDecide(p.ID, "succeeded")
	h.awaitStatus(p.ID, api.PaymentSucceeded, 0)
	if !lose.Lost() {
		t.Error("no answer was lost")
	}
	if n := i.count(t, "SELECT count(*) FROM sandbox_callbacks WHERE attempts > 1"); n != 0 {
		t.Errorf("%d callbacks were sent again", n)
	}
	h.published(api.PaymentHasSucceeded, 1)

	// A refund that was asked for without a key: asked for again, it would be another one.
	lose.Next(func(query []byte) bool { return bytes.Contains(query, []byte(`INSERT INTO "payment_refunds"`)) })
	half := &api.Money{Amount: p.Amount.Amount / 2, Currency: p.Amount.Currency}
	if got, err := rpc.Call(as(organizerID), h.client, api.CreateRefund, &api.NewRefund{PaymentID: p.ID, Amount: half, Reason: "rain"}); err != nil || got.Amount != *half || !lose.Lost() {
		t.Errorf("the refund: %+v, %v", got, err)
	}
	i.audit(t)
}

// A purchase takes four commits of the payment service's database: the payment, its checkout, the payer's decision at the
// sandbox, and the callback with all that it means. What the sandbox records of its deliveries is shared by many purchases,
// and so is what the relay deletes, which is left out here.
func TestCommitsOfAPurchase(t *testing.T) {
	h := newHarness(t, testkit.SQLite(t))
	i := h.prepare()
	var commits atomic.Int64
	i.db.AroundCommit(func(done bool) {
		if done {
			commits.Add(1)
		}
	})
	h.startWith(i, func(ctx context.Context) error { return i.background().Run(ctx) })
	const n, shared = 20, 5
	for range n {
		ctx, order := h.order()
		p := h.create(ctx, order.ID)
		h.mustDecide(p.ID, "succeeded")
		h.awaitStatus(p.ID, api.PaymentSucceeded, 0)
	}
	if got := commits.Load(); got > 4*n+shared {
		t.Errorf("%d commits for %d purchases, want 4 each", got, n)
	}
}
