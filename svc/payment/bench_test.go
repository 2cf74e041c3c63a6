package payment

import (
	"context"
	"fmt"
	"testing"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// BenchmarkPay takes a payment from its creation to the event of its success, many buyers at the same time.
func BenchmarkPay(b *testing.B) {
	for name, url := range map[string]func(testing.TB) string{store.SQLite: testkit.SQLite, store.Postgres: testkit.Postgres} {
		b.Run(name, func(b *testing.B) {
			h := newHarness(b, url(b))
			i := h.run()
			b.ResetTimer()
			err := parallel(b.Context(), 256, slicesIndex(b.N), func(_ context.Context, _ int) {
				ctx, order := h.order()
				p, err := rpc.Call(ctx, h.client, api.CreatePayment, &api.NewPayment{OrderID: order.ID})
				if err == nil {
					err = h.decide(p.ID, "succeeded")
				}
				if err != nil {
					b.Error(err)
				}
			})
			if err != nil {
				b.Fatal(err)
			}
			paid := func() error {
				if n := i.count(b, "SELECT count(*) FROM payments WHERE status = 'succeeded'"); n != b.N {
					return fmt.Errorf("%d of %d are paid", n, b.N)
				}
				if n := i.count(b, "SELECT count(*) FROM outbox"); n != 0 {
					return fmt.Errorf("%d events wait", n)
				}
				return nil
			}
			testkit.Eventually(b, 60e9, paid)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "payments/s")
		})
	}
}
