package main

import (
	"cmp"
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/starlightsymphony/starlight/shared/ids"
)

// payPatience is how long a purchase waits for the order to be paid and its tickets to be there.
const payPatience = 10 * time.Second

// comeAgain is how long a buyer waits who was refused.
const comeAgain = 100 * time.Millisecond

// purchase is the whole way of a buyer: order, payment, the payer's consent at the sandbox provider (whose signed
// callback comes over HTTP), waiting until the order is paid, and reading the tickets. One operation is one purchase.
func (b *bench) purchase(ctx context.Context) error {
	var sellers []seller
	var sys *system
	var before footprint
	if b.wants("system") {
		var err error
		if sys, err = b.system(ctx); err != nil {
			return err
		}
		if before, err = sys.footprint(); err != nil {
			return err
		}
		s := seller{name: "system", client: sys.client, tokens: sys.buyers, cpu: sys.cpu}
		if s.hot, err = sys.sell("Purchase", 2500, plenty); err != nil {
			return err
		}
		sellers = append(sellers, s)
	}
	if b.wants("pgpurchase") {
		hot := offer{EventID: ids.New[ids.EventKind](time.Now()),
			TicketTypeID: ids.New[ids.TicketTypeKind](time.Now()), Quantity: plenty}
		p, h, err := b.shop(ctx, "pgpurchase", []offer{hot})
		if err != nil {
			return err
		}
		database := b.pg
		cpu := func() time.Duration { return p.cpu() + database.cpu() }
		sellers = append(sellers, seller{name: "pgpurchase", client: newClient(h.Addr),
			tokens: h.Tokens, hot: hot, cpu: cpu})
	}
	bought := make([]purchases, len(sellers))
	var targets []target
	for i, s := range sellers {
		bought[i].tickets = make(map[string]bool)
		targets = append(targets, target{s.name, purchaseOp(s, &bought[i]), s.cpu})
	}
	if err := b.compare(ctx, "purchase", targets, 32); err != nil {
		return err
	}
	if len(targets) > 0 && b.Conns == 0 { // one buyer at a time, who waits for every disk in turn, and a crowd of them
		for name, conns := range map[string]int{"purchase idle": 1, "purchase crowd": 256} {
			closed := Load{Conns: conns, Duration: b.Duration}
			b.rows = append(b.rows, alternate(ctx, name, "capacity", targets, closed, b.cores, b.Options)...)
		}
	}
	if sys != nil {
		after, err := sys.footprint()
		if err != nil {
			return err
		}
		b.grown("purchase", before, after, bought[0].paid)
		if err := b.syncsOf(ctx, "purchase idle", sys, targets[0]); err != nil {
			return err
		}
	}
	for i, s := range sellers {
		if err := b.checkPurchases(s, &bought[i]); err != nil {
			return err
		}
	}
	return nil
}

// checkPurchases compares what a seller says with what the buyers hold, after the last purchase.
func (b *bench) checkPurchases(s seller, bought *purchases) error {
	have, err := left(s.client, s.hot)
	if err != nil {
		return err
	}
	paid, unknown := bought.paid, bought.unfinished
	b.oversold += max(0, have.Held+have.Sold-s.hot.Quantity)
	b.check("purchase", s.name, "the buyers have what they came for", mostly(paid, unknown),
		"%d paid, %d unfinished", paid, unknown)
	b.check("purchase", s.name, "a paid order has exactly its tickets, each once",
		bought.wrong == 0 && int64(len(bought.tickets)) == paid,
		"%d paid orders, %d different tickets, %d orders with a wrong number", paid,
		len(bought.tickets), bought.wrong)
	b.check("purchase", s.name, "sold = paid orders", have.Sold >= paid && have.Sold <= paid+unknown,
		"%d sold, %d paid, %d unfinished", have.Sold, paid, unknown)
	b.check("purchase", s.name, "quantity = available + held + sold",
		have.Quantity == have.Available+have.Held+have.Sold, "%d = %d + %d + %d", have.Quantity,
		have.Available, have.Held, have.Sold)
	return nil
}

// purchases is what the buyers hold in their hands.
type purchases struct {
	mu               sync.Mutex
	paid, unfinished int64
	wrong            int64 // paid orders whose number of tickets is not the ordered one, or with somebody else's ticket
	tickets          map[string]bool
	patience         time.Duration // of a buyer who is refused; 0: payPatience
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
func purchaseOp(s seller, bought *purchases) func(int) Op {
	order := orderBody(s.hot, 1)
	return func(conn int) Op {
		token := s.tokens[conn%len(s.tokens)]
		r := s.client.prepare("POST", "/v1/orders", token, order)
		patience := cmp.Or(bought.patience, payPatience)
		// step does one request and decodes its answer. Who is refused for want of room comes again.
		step := func(method, path string, body []byte, want int, out any) (status int, ok bool) {
			for deadline := time.Now().Add(patience); ; time.Sleep(comeAgain) {
				r.set(method, path, token, body)
				if status = r.send(); status != fasthttp.StatusServiceUnavailable || time.Now().After(deadline) {
					break
				}
			}
			return status, status == want && (out == nil || json.Unmarshal(r.resp.Body(), out) == nil)
		}
		buy := func(ctx context.Context) (status int, ok bool) {
			var placed, payment ref
			if status, ok = step("POST", "/v1/orders", order, 201, &placed); !ok {
				return status, false
			}
			if status, ok = step("POST", "/v1/orders/"+placed.ID+"/payments",
				[]byte(`{"provider":"sandbox"}`), 201, &payment); !ok {
				return status, false
			}
			if status, ok = step("POST", "/v1/sandbox/payments/"+payment.ID,
				[]byte(`{"outcome":"succeeded"}`), 202, nil); !ok {
				return status, false
			}
			var o struct {
				Status string `json:"status"`
			}
			for deadline := time.Now().Add(payPatience); o.Status != "paid"; {
				if o.Status != "" && o.Status != "pending" || time.Now().After(deadline) || ctx.Err() != nil {
					return status, false
				}
				if status, ok = step("GET", "/v1/orders/"+placed.ID+"?wait=5s", nil, 200, &o); !ok {
					return status, false
				}
			}
			var list struct {
				Items []ref `json:"items"`
			}
			if status, ok = step("GET", "/v1/orders/"+placed.ID+"/tickets", nil, 200, &list); !ok {
				return status, false
			}
			bought.finished(list.Items)
			return status, len(list.Items) == 1
		}
		return func(ctx context.Context, _ int64) Outcome {
			status, ok := buy(ctx)
			if !ok {
				bought.leftOff()
			}
			return Outcome{Status: status, Good: ok}
		}
	}
}
