package main

import (
	"context"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"
	"rsc.io/qr"

	"github.com/starlightsymphony/starlight/shared/ids"
)

// till is the purchase baseline: a shop that takes money and gives tickets, one process beside PostgreSQL. Each step of a
// purchase is one transaction of prepared statements, which locks the row that all buyers want last.
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
	t := &till{shop: s, secret: []byte(rand.Text()), offers: map[ids.TicketType]onePrice{}, agreed: make(chan string, 1<<16),
		jobs: make(chan struct{}, 1), mails: mails}
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

func (t *till) createOrder(c *fiber.Ctx) error {
	user, err := t.caller(c.Get(fiber.HeaderAuthorization))
	if err != nil {
		return err
	}
	in, err := readOrder(c.Body())
	if err != nil {
		return err
	}
	item := in.Items[0]
	price, found := t.offers[item.TicketTypeID]
	if !found {
		return fiber.ErrNotFound
	}
	o := newShopOrder(ids.User(user), in)
	o.setPrice(price.name, price.price, price.currency)
	items, err := json.Marshal(o.Items)
	if err != nil {
		return err
	}
	err = t.tx(c.Context(), func(tx *sql.Tx) error {
		_, err := tx.Stmt(t.placeOrder).Exec(string(o.ID), string(o.EventID), user, string(items), o.Total.Amount, price.currency, o.ExpiresAt, o.CreatedAt)
		if err != nil {
			return err
		}
		taken, err := tx.Stmt(t.takeSeats).Exec(item.Quantity, string(item.TicketTypeID))
		if err != nil {
			return err
		}
		if n, err := taken.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, errNoRoom)
		}
		return nil
	})
	if errors.Is(err, errNoRoom) {
		return soldOut(c)
	}
	if err != nil {
		return err
	}
	return c.Status(fiber.StatusCreated).JSON(o)
}

func (t *till) createPayment(c *fiber.Ctx) error {
	user, err := t.caller(c.Get(fiber.HeaderAuthorization))
	if err != nil {
		return err
	}
	now := time.Now().UTC()
	out := struct {
		ID          ids.Payment `json:"id"`
		OrderID     string      `json:"order_id"`
		Status      string      `json:"status"`
		Amount      money       `json:"amount"`
		CheckoutURL string      `json:"checkout_url"`
	}{ID: ids.New[ids.PaymentKind](now), OrderID: c.Params("id"), Status: "pending"}
	out.CheckoutURL = "http://127.0.0.1/checkout/" + string(out.ID)
	err = t.tx(c.Context(), func(tx *sql.Tx) error {
		if err := tx.Stmt(t.pendingOrder).QueryRow(out.OrderID, user).Scan(&out.Amount.Amount, &out.Amount.Currency); err != nil {
			return err
		}
		if _, err := tx.Stmt(t.insertPayment).Exec(string(out.ID), out.OrderID, out.Amount.Amount, out.Amount.Currency, now); err != nil {
			return err
		}
		_, err := tx.Stmt(t.tiePayment).Exec(string(out.ID), out.OrderID)
		return err
	})
	if errors.Is(err, sql.ErrNoRows) {
		return fiber.ErrNotFound
	}
	if err != nil {
		return err
	}
	return c.Status(fiber.StatusCreated).JSON(out)
}

// agree is the payer's consent on the provider's page.
func (t *till) agree(c *fiber.Ctx) error {
	t.agreed <- c.Params("id")
	return c.SendStatus(fiber.StatusAccepted)
}

// provide calls back, as often as it takes.
func (t *till) provide(ctx context.Context, client *Client) {
	for {
		select {
		case <-ctx.Done():
			return
		case id := <-t.agreed:
			body := fmt.Appendf(nil, `{"id":"cb_%s","payment_id":%q,"outcome":"succeeded"}`, id, id)
			r := client.prepare("POST", callbackPath, "", body)
			r.req.Header.Set("X-Signature", t.sign(body))
			for ctx.Err() == nil && r.send() != fasthttp.StatusOK {
			}
		}
	}
}

func (t *till) sign(body []byte) string {
	h := hmac.New(sha256.New, t.secret)
	h.Write(body)
	return hex.EncodeToString(h.Sum(nil))
}

// callback stores what the provider says, and in the same transaction does all that follows from it.
func (t *till) callback(c *fiber.Ctx) error {
	if !hmac.Equal([]byte(c.Get("X-Signature")), []byte(t.sign(c.Body()))) {
		return fiber.ErrUnauthorized
	}
	var said struct {
		ID        string `json:"id"`
		PaymentID string `json:"payment_id"`
	}
	if err := json.Unmarshal(c.Body(), &said); err != nil {
		return fiber.ErrBadRequest
	}
	now := time.Now().UTC()
	err := t.tx(c.Context(), func(tx *sql.Tx) error {
		stored, err := tx.Stmt(t.insertCallback).Exec(said.ID, said.PaymentID, string(c.Body()), now)
		if err != nil {
			return err
		}
		if n, err := stored.RowsAffected(); err != nil || n == 0 {
			return err // it was here before
		}
		return t.paid(tx, said.PaymentID, now)
	})
	if err != nil {
		return err
	}
	select {
	case t.jobs <- struct{}{}:
	default: // the writer knows
	}
	return c.SendStatus(fiber.StatusOK)
}

// paid makes tickets of a payment.
func (t *till) paid(tx *sql.Tx, payment string, now time.Time) error {
	var order, event, user, ticketType, currency, code string
	var amount, quantity int64
	if err := tx.Stmt(t.paymentSucceeds).QueryRow(payment).Scan(&order, &amount, &currency); err != nil {
		return err
	}
	if err := tx.Stmt(t.orderPaid).QueryRow(order).Scan(&event, &user, &ticketType, &quantity); err != nil {
		return err
	}
	for range quantity {
		id := ids.New[ids.TicketKind](now)
		text := string(id) + "." + event + ".1"
		code = text + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(t.key, []byte(text)))
		if _, err := tx.Stmt(t.insertTicket).Exec(string(id), order, event, ticketType, user, code, now); err != nil {
			return err
		}
	}
	if _, err := tx.Stmt(t.insertLedger).Exec(payment, amount, amount/50, currency, now); err != nil {
		return err
	}
	if _, err := tx.Stmt(t.insertMail).Exec(order, user, event, code); err != nil {
		return err
	}
	_, err := tx.Stmt(t.sellSeats).Exec(quantity, ticketType)
	return err
}

// writeMails writes the mail of each order, with its ticket as a picture, and forgets the job then.
func (t *till) writeMails(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.jobs:
		}
		for n := 1; n > 0; {
			err := t.tx(ctx, func(tx *sql.Tx) (err error) {
				n, err = t.writeSome(tx)
				return err
			})
			if err != nil && ctx.Err() == nil {
				fmt.Fprintln(os.Stderr, "mails:", err)
			}
		}
	}
}

func (t *till) writeSome(tx *sql.Tx) (n int, err error) {
	rows, err := tx.Stmt(t.takeMails).Query()
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	for ; rows.Next(); n++ {
		var order, user, event, code string
		if err := rows.Scan(&order, &user, &event, &code); err != nil {
			return 0, err
		}
		picture, err := qr.Encode(code, qr.M)
		if err != nil {
			return 0, err
		}
		mail := fmt.Appendf(nil, "From: tickets@example.org\r\nTo: %s@example.org\r\nSubject: Your tickets\r\nMIME-Version: 1.0\r\n"+
			"Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\n", user)
		mail = base64.StdEncoding.AppendEncode(mail, picture.PNG())
		if err := os.WriteFile(filepath.Join(t.mails, order+".eml"), mail, 0o600); err != nil {
			return 0, err
		}
	}
	return n, rows.Err()
}

func (t *till) order(c *fiber.Ctx) error {
	user, err := t.caller(c.Get(fiber.HeaderAuthorization))
	if err != nil {
		return err
	}
	var status string
	if err := t.orderStatus.QueryRowContext(c.Context(), c.Params("id"), user).Scan(&status); err != nil {
		return err
	}
	return c.JSON(fiber.Map{"id": c.Params("id"), "status": status})
}

func (t *till) tickets(c *fiber.Ctx) error {
	user, err := t.caller(c.Get(fiber.HeaderAuthorization))
	if err != nil {
		return err
	}
	rows, err := t.ticketsOf.QueryContext(c.Context(), c.Params("id"), user)
	if err != nil {
		return err
	}
	defer rows.Close()
	type ticket struct {
		ID   string `json:"id"`
		Code string `json:"code"`
	}
	items := []ticket{}
	for rows.Next() {
		var one ticket
		if err := rows.Scan(&one.ID, &one.Code); err != nil {
			return err
		}
		items = append(items, one)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	return c.JSON(fiber.Map{"items": items})
}
