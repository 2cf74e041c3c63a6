package main

import (
	"context"
	"encoding/json"
	"sync"
	"time"
)

// payPatience is how long a purchase waits for the order to be paid and its tickets to be there.
const payPatience = 10 * time.Second

// purchase is the whole way of a buyer: order, payment, the payer's consent at the sandbox provider (whose signed
// callback comes over HTTP), waiting until the order is paid, and reading the tickets. One operation is one purchase.
func (b *bench) purchase(ctx context.Context) error {
	if !b.wants("system") {
		return nil
	}
	sys, err := b.system(ctx)
	if err != nil {
		return err
	}
	s := seller{name: "system", client: sys.client, tokens: sys.buyers, cpu: sys.cpu}
	if s.hot, err = sys.sell("Purchase", 2500, plenty); err != nil {
		return err
	}
	books := &purchases{tickets: make(map[string]bool)}
	if err := b.compare(ctx, "purchase", []target{{"system", purchaseOp(s, books), s.cpu}}, 32); err != nil {
		return err
	}
	return b.checkPurchases(s, books)
}

// checkPurchases compares what a seller says with what the buyers hold, after the last purchase.
func (b *bench) checkPurchases(s seller, books *purchases) error {
	have, err := left(s.client, s.hot)
	if err != nil {
		return err
	}
	paid, unknown := books.paid, books.unfinished
	b.oversold += max(0, have.Held+have.Sold-s.hot.Quantity)
	b.check("purchase", s.name, "the buyers have what they came for", mostly(paid, unknown), "%d paid, %d unfinished", paid, unknown)
	b.check("purchase", s.name, "a paid order has exactly its tickets, each once", books.wrong == 0 && int64(len(books.tickets)) == paid,
		"%d paid orders, %d different tickets, %d orders with a wrong number", paid, len(books.tickets), books.wrong)
	b.check("purchase", s.name, "sold = paid orders", have.Sold >= paid && have.Sold <= paid+unknown,
		"%d sold, %d paid, %d unfinished", have.Sold, paid, unknown)
	b.check("purchase", s.name, "quantity = available + held + sold", have.Quantity == have.Available+have.Held+have.Sold,
		"%d = %d + %d + %d", have.Quantity, have.Available, have.Held, have.Sold)
	return nil
}

// purchases is what the buyers hold in their hands.
type purchases struct {
	mu               sync.Mutex
	paid, unfinished int64
	wrong            int64 // paid orders whose number of tickets is not the ordered one, or with somebody else's ticket
	tickets          map[string]bool
}

func (p *purchases) finished(tickets []ref) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.paid++
	if len(tickets) != 1 || p.tickets[tickets[0].ID] {
		p.wrong++
	}
	for _, t := range tickets {
		p.tickets[t.ID] = true
	}
}

func (p *purchases) leftOff() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unfinished++
}

// purchaseOp buys one ticket. Its status is that of the step that failed, or 200.
func purchaseOp(s seller, books *purchases) func(int) Op {
	order := orderBody(s.hot, 1)
	return func(conn int) Op {
		token := s.tokens[conn%len(s.tokens)]
		r := s.client.prepare("POST", "/v1/orders", token, order)
		// step does one request and decodes its answer.
		step := func(method, path string, body []byte, want int, out any) (status int, ok bool) {
			r.set(method, path, token, body)
			if status = r.send(); status != want {
				return status, false
			}
			return status, out == nil || json.Unmarshal(r.resp.Body(), out) == nil
		}
		buy := func(ctx context.Context) (status int, ok bool) {
			var placed, payment ref
			if status, ok = step("POST", "/v1/orders", order, 201, &placed); !ok {
				return status, false
			}
			if status, ok = step("POST", "/v1/orders/"+placed.ID+"/payments", []byte(`{"provider":"sandbox"}`), 201, &payment); !ok {
				return status, false
			}
			if status, ok = step("POST", "/v1/sandbox/payments/"+payment.ID, []byte(`{"outcome":"succeeded"}`), 202, nil); !ok {
				return status, false
			}
			deadline := time.Now().Add(payPatience)
			for pause := 2 * time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
				var o struct {
					Status string `json:"status"`
				}
				if status, ok = step("GET", "/v1/orders/"+placed.ID, nil, 200, &o); !ok {
					return status, false
				}
				if o.Status == "paid" {
					break
				}
				if o.Status != "pending" || time.Now().After(deadline) || ctx.Err() != nil {
					return status, false
				}
				time.Sleep(pause) // as a waiting page would, only quicker
			}
			var list struct {
				Items []ref `json:"items"`
			}
			if status, ok = step("GET", "/v1/orders/"+placed.ID+"/tickets", nil, 200, &list); !ok {
				return status, false
			}
			books.finished(list.Items)
			return status, len(list.Items) == 1
		}
		return func(ctx context.Context, _ int64) Outcome {
			status, ok := buy(ctx)
			if !ok {
				books.leftOff()
			}
			return Outcome{Status: status, Good: ok}
		}
	}
}
