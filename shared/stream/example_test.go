package stream_test

import (
	"context"
	"fmt"
	"os"
	"sync"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/stream"
)

// OrderPaid is the payload of a domain event.
type OrderPaid struct {
	OrderID string `json:"order_id"`
}

// A transaction adds a message to the outbox, a relay publishes it, and a consumer applies it once.
func Example() {
	if err := outboxToConsumer(context.Background()); err != nil {
		fmt.Println(err)
	}
	// Output:
	// mail for ord_1
	// mail for ord_2
}

func outboxToConsumer(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "stream")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	ns, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: dir, NoSigs: true})
	if err != nil {
		return err
	}
	ns.Start()
	defer ns.WaitForShutdown()
	defer ns.Shutdown()
	nc, err := nats.Connect(ns.ClientURL())
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	for name, subject := range map[string]string{"EVENTS": "ev.>", stream.DeadStream: "dead.>"} {
		if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: name, Subjects: []string{subject}}); err != nil {
			return err
		}
	}
	db, err := store.Open(ctx, "sqlite:"+dir, "example", nil, nil)
	if err != nil {
		return err
	}
	defer db.Close()

	// Relay and consumer run until ctx is cancelled.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var running sync.WaitGroup
	running.Go(func() { stream.NewRelay(db, js, nil, nil).Run(ctx) })
	mails := make(chan string)
	consumer := stream.Consumer{Stream: "EVENTS", Durable: "mailer", Filters: []string{"ev.ticketing.order.paid"}, Ordered: true}
	running.Go(func() {
		stream.Consume(ctx, js, consumer, func(ctx context.Context, m stream.Msg) error {
			var paid OrderPaid
			if err := m.Decode(&paid); err != nil {
				return err // a dead letter: it does not get better
			}
			return db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
				first, err := stream.Once(ctx, tx, consumer.Durable, m.ID)
				if err != nil || !first {
					return err // delivered before
				}
				mails <- "mail for " + paid.OrderID // a service writes a row here
				return nil
			})
		})
	})

	// The message is published if, and only if, the transaction commits.
	for _, id := range []string{"ord_1", "ord_2"} {
		err := db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
			return stream.Add(ctx, tx, "ev.ticketing.order.paid", OrderPaid{OrderID: id})
		})
		if err != nil {
			return err
		}
	}
	for range 2 {
		fmt.Println(<-mails)
	}
	cancel()
	running.Wait()
	return nil
}
