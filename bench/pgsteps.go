package main

import (
	"context"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"
	"rsc.io/qr"

	"github.com/starlightsymphony/starlight/shared/ids"
)

// The steps of a purchase at the baseline, each a transaction.

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
		_, err := tx.Stmt(t.placeOrder).Exec(string(o.ID), string(o.EventID), user, string(items), o.Total.Amount,
			price.currency, o.ExpiresAt, o.CreatedAt)
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
		if err := tx.Stmt(t.pendingOrder).QueryRow(out.OrderID, user).Scan(&out.Amount.Amount,
			&out.Amount.Currency); err != nil {
			return err
		}
		if _, err := tx.Stmt(t.insertPayment).Exec(string(out.ID), out.OrderID, out.Amount.Amount,
			out.Amount.Currency, now); err != nil {
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
		mail := fmt.Appendf(nil, "From: tickets@example.org\r\nTo: %s@example.org\r\nSubject: Your "+
			"tickets\r\nMIME-Version: 1.0\r\n"+
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
