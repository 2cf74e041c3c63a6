package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"os"
	"sync"

	"github.com/gofiber/fiber/v2"

	"github.com/starlightsymphony/starlight/shared/ids"
)

// till is the purchase baseline: a shop that takes money and gives tickets, one process beside PostgreSQL. Each step of
// a purchase is one transaction of prepared statements, which locks the row that all buyers want last.
//
// What is acknowledged is as durable as in the system: an order with its seats, a payment before its provider hears of
// it, a callback before it is answered, and with it the tickets, the ledger and the job of the mail. The provider is
// favoured: it is a part of this process and keeps nothing.
type till struct {
	*shop
	statements
	secret []byte                      // of the callback's signature
	offers map[ids.TicketType]onePrice // what does not change
	agreed chan string                 // payments whose payer has agreed
	jobs   chan struct{}               // there are mails to write
	mails  string                      // folder
	stop   context.CancelFunc          //
	work   sync.WaitGroup              //
}

type onePrice struct {
	name     string
	price    int64
	currency string
}

const callbackPath = "/v1/payments/callbacks/sandbox"

const tillSchema = `
ALTER TABLE orders ADD COLUMN payment_id text;
CREATE TABLE payments (
	id text PRIMARY KEY, order_id text NOT NULL, status text NOT NULL, amount bigint NOT NULL, currency text NOT NULL,
	created_at timestamptz NOT NULL
);
CREATE TABLE callbacks (id text PRIMARY KEY, payment_id text NOT NULL, body text NOT NULL, received_at timestamptz NOT NULL);
CREATE TABLE ledger (
	payment_id text NOT NULL, account text NOT NULL, amount bigint NOT NULL, currency text NOT NULL, at timestamptz NOT NULL,
	PRIMARY KEY (payment_id, account)
);
CREATE TABLE tickets (
	id text PRIMARY KEY, order_id text NOT NULL, event_id text NOT NULL, ticket_type_id text NOT NULL, owner_id text NOT NULL,
	code text NOT NULL, issued_at timestamptz NOT NULL
);
CREATE INDEX tickets_of_order ON tickets (order_id);
CREATE TABLE mail_jobs (order_id text PRIMARY KEY, user_id text NOT NULL, event_id text NOT NULL, code text NOT NULL);`

// statements are prepared once on each connection.
type statements struct {
	placeOrder, takeSeats, pendingOrder, insertPayment, tiePayment *sql.Stmt
	insertCallback, paymentSucceeds, orderPaid, sellSeats          *sql.Stmt
	insertTicket, insertLedger, insertMail, takeMails              *sql.Stmt
	orderStatus, ticketsOf                                         *sql.Stmt
}

func (s *statements) prepare(ctx context.Context, db *sql.DB) error {
	var errs []error
	prepare := func(text string) *sql.Stmt {
		stmt, err := db.PrepareContext(ctx, text)
		errs = append(errs, err)
		return stmt
	}
	s.placeOrder = prepare(insertOrder)
	s.takeSeats = prepare(`UPDATE ticket_types SET held = held + $1 WHERE id = $2 AND held + sold + $1 <= capacity`)
	s.pendingOrder = prepare(`SELECT total, currency FROM orders WHERE id = $1 AND user_id = $2 AND status = 'pending' FOR UPDATE`)
	s.insertPayment = prepare(`INSERT INTO payments VALUES ($1, $2, 'pending', $3, $4, $5)`)
	s.tiePayment = prepare(`UPDATE orders SET payment_id = $1 WHERE id = $2`)
	s.insertCallback = prepare(`INSERT INTO callbacks VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`)
	s.paymentSucceeds = prepare(`UPDATE payments SET status = 'succeeded' WHERE id = $1 AND status = 'pending'
		RETURNING order_id, amount, currency`)
	s.orderPaid = prepare(`UPDATE orders SET status = 'paid' WHERE id = $1 AND status = 'pending'
		RETURNING event_id, user_id, items->0->>'ticket_type_id', (items->0->>'quantity')::bigint`)
	s.sellSeats = prepare(`UPDATE ticket_types SET held = held - $1, sold = sold + $1 WHERE id = $2`)
	s.insertTicket = prepare(`INSERT INTO tickets VALUES ($1, $2, $3, $4, $5, $6, $7)`)
	s.insertLedger = prepare(`INSERT INTO ledger VALUES ($1, 'provider', $2::bigint, $4, $5), ($1, 'organizer', $3::bigint - $2::bigint, $4, $5),
		($1, 'fees', -$3::bigint, $4, $5)`)
	s.insertMail = prepare(`INSERT INTO mail_jobs VALUES ($1, $2, $3, $4)`)
	s.takeMails = prepare(`DELETE FROM mail_jobs WHERE order_id IN (SELECT order_id FROM mail_jobs LIMIT 100)
		RETURNING order_id, user_id, event_id, code`)
	s.orderStatus = prepare(`SELECT status FROM orders WHERE id = $1 AND user_id = $2`)
	s.ticketsOf = prepare(`SELECT id, code FROM tickets WHERE order_id = $1 AND owner_id = $2`)
	return errors.Join(errs...)
}

// openTill puts the offers on sale at a shop on addr that writes its mails into a folder.
func openTill(ctx context.Context, url string, offers []byte, pool int, mails string) (_ *till, err error) {
	s, err := openShop(ctx, url, offers, pool, false)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	t := &till{shop: s, secret: []byte(rand.Text()), offers: map[ids.TicketType]onePrice{},
		agreed: make(chan string, 1<<16), jobs: make(chan struct{}, 1), mails: mails}
	if err := os.MkdirAll(mails, 0o700); err != nil {
		return nil, err
	}
	if _, err := s.db.ExecContext(ctx, tillSchema); err != nil {
		return nil, err
	}
	rows, err := s.db.QueryContext(ctx, `SELECT id, name, price, currency FROM ticket_types`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var id ids.TicketType
		var p onePrice
		if err := rows.Scan(&id, &p.name, &p.price, &p.currency); err != nil {
			return nil, err
		}
		t.offers[id] = p
	}
	if err := errors.Join(rows.Err(), t.prepare(ctx, s.db)); err != nil {
		return nil, err
	}
	return t, nil
}

func (t *till) mount(app *fiber.App) {
	app.Post("/v1/orders", t.createOrder)
	app.Post("/v1/orders/:id/payments", t.createPayment)
	app.Post("/v1/sandbox/payments/:id", t.agree)
	app.Post(callbackPath, t.callback)
	app.Get("/v1/orders/:id", t.order)
	app.Get("/v1/orders/:id/tickets", t.tickets)
	app.Get("/v1/events/:id/availability", t.availability)
}

// run starts the provider, which calls back at addr, and the writer of mails.
func (t *till) run(ctx context.Context, addr string) {
	ctx, t.stop = context.WithCancel(ctx)
	client := newClient(addr)
	const callers = 32 // as many callbacks at the same time as the system's sandbox sends
	for range callers {
		t.work.Go(func() { t.provide(ctx, client) })
	}
	t.work.Go(func() { t.writeMails(ctx) })
}

func (t *till) close() {
	if t.stop != nil {
		t.stop()
	}
	t.work.Wait()
	t.shop.close()
}

// tx runs do in a transaction.
func (t *till) tx(ctx context.Context, do func(*sql.Tx) error) error {
	tx, err := t.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // does nothing after a commit
	if err := do(tx); err != nil {
		return err
	}
	return tx.Commit()
}
