package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/golang-jwt/jwt/v5"
	"github.com/uptrace/bun/driver/pgdriver"

	"github.com/starlightsymphony/starlight/shared/ids"
)

// databaseEnv names the variable with the database URL of the order baseline. It holds a password, so it is no flag.
const databaseEnv = "BENCH_DATABASE_URL"

// buyers is how many people share the load of the order scenarios.
const buyers = 8

// offer is one thing on sale at the order baseline.
type offer struct {
	EventID      ids.Event      `json:"event_id"`
	TicketTypeID ids.TicketType `json:"ticket_type_id"`
	Quantity     int64          `json:"quantity"`

	code string // that each order enters
}

// shop is the order baseline: POST /v1/orders as one PostgreSQL transaction on one row, which is how an inventory is
// usually kept. The rest is what any such service does: check the token, decode strictly, encode the order.
//
// It is built generously. A verified token is remembered, the row is updated in place (fillfactor), there is no index
// beside the primary keys, no idempotency record and no event for others.
type shop struct {
	db     *sql.DB
	one    bool // the whole order as a single statement instead of a transaction of two
	key    ed25519.PrivateKey
	tokens []string

	verified sync.Map // token → identity
}

type identity struct {
	user    string
	expires time.Time
}

const shopSchema = `
CREATE TABLE IF NOT EXISTS ticket_types (
	id text PRIMARY KEY, event_id text NOT NULL, name text NOT NULL, price bigint NOT NULL, currency text NOT NULL,
	capacity bigint NOT NULL, held bigint NOT NULL DEFAULT 0, sold bigint NOT NULL DEFAULT 0,
	CHECK (held >= 0 AND sold >= 0 AND held + sold <= capacity)
) WITH (fillfactor = 20);
CREATE TABLE IF NOT EXISTS orders (
	id text PRIMARY KEY, event_id text NOT NULL, user_id text NOT NULL, status text NOT NULL, items jsonb NOT NULL,
	total bigint NOT NULL, currency text NOT NULL, expires_at timestamptz NOT NULL, created_at timestamptz NOT NULL
);`

// The two halves of the transaction, and both as one statement.
const (
	takeSeats = `UPDATE ticket_types SET held = held + $1 WHERE id = $2 AND event_id = $3 AND held + sold + $1 <= capacity
		RETURNING name, price, currency`
	insertOrder = `INSERT INTO orders (id, event_id, user_id, status, items, total, currency, expires_at, created_at)
		VALUES ($1, $2, $3, 'pending', $4, $5, $6, $7, $8)`
	takeAndInsert = `WITH taken AS (UPDATE ticket_types SET held = held + $1 WHERE id = $2 AND event_id = $3 AND held + sold + $1 <= capacity
			RETURNING id, name, price, currency),
		placed AS (INSERT INTO orders (id, event_id, user_id, status, items, total, currency, expires_at, created_at)
			SELECT $4, $3, $5, 'pending', jsonb_build_array(jsonb_build_object('ticket_type_id', id, 'name', name, 'quantity', $1, 'unit_price', price)),
				price * $1, currency, $6::timestamptz, $7::timestamptz FROM taken)
		SELECT name, price, currency FROM taken`
)

// openShop connects, makes the tables, and puts the offers on sale.
func openShop(ctx context.Context, url string, offers []byte, pool int, one bool) (*shop, error) {
	var list []offer
	if err := json.Unmarshal(offers, &list); err != nil {
		return nil, fmt.Errorf("offers: %w", err)
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	s := &shop{db: sql.OpenDB(pgdriver.NewConnector(pgdriver.WithDSN(url))), one: one, key: key}
	s.db.SetMaxOpenConns(pool)
	s.db.SetMaxIdleConns(pool)
	if _, err := s.db.ExecContext(ctx, shopSchema); err != nil {
		s.close()
		return nil, err
	}
	for _, o := range list {
		_, err := s.db.ExecContext(ctx,
			`INSERT INTO ticket_types (id, event_id, name, price, currency, capacity) VALUES ($1, $2, 'Standing', 2500, 'EUR', $3)`, string(o.TicketTypeID), string(o.EventID), o.Quantity)
		if err != nil {
			s.close()
			return nil, err
		}
	}
	for range buyers {
		token, err := s.mint(ids.New[ids.UserKind](time.Now()))
		if err != nil {
			s.close()
			return nil, err
		}
		s.tokens = append(s.tokens, token)
	}
	return s, nil
}

func (s *shop) close() { s.db.Close() }

func (s *shop) mint(user ids.User) (string, error) {
	now := time.Now()
	return jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.RegisteredClaims{Subject: string(user), Issuer: "bench",
		Audience: jwt.ClaimStrings{"bench"}, IssuedAt: jwt.NewNumericDate(now),
		ExpiresAt: jwt.NewNumericDate(now.Add(24 * time.Hour))}).SignedString(s.key)
}

func (s *shop) mount(app *fiber.App) {
	app.Post("/v1/orders", s.createOrder)
	app.Get("/v1/events/:id/availability", s.availability)
}

// caller returns the person of the bearer token. The signature is checked the first time a token is seen.
func (s *shop) caller(header string) (string, error) {
	token, found := strings.CutPrefix(header, "Bearer ")
	if !found {
		return "", fiber.ErrUnauthorized
	}
	if known, ok := s.verified.Load(token); ok {
		if id := known.(identity); time.Now().Before(id.expires) {
			return id.user, nil
		}
		return "", fiber.ErrUnauthorized
	}
	var claims jwt.RegisteredClaims
	_, err := jwt.ParseWithClaims(token, &claims, func(*jwt.Token) (any, error) { return s.key.Public(), nil },
		jwt.WithValidMethods([]string{"EdDSA"}), jwt.WithAudience("bench"), jwt.WithExpirationRequired())
	if err != nil {
		return "", fiber.ErrUnauthorized
	}
	s.verified.Store(token, identity{user: claims.Subject, expires: claims.ExpiresAt.Time})
	return claims.Subject, nil
}

// errNoRoom is the outcome of an order for more than is left.
var errNoRoom = errors.New("no room")

func (s *shop) createOrder(c *fiber.Ctx) error {
	user, err := s.caller(c.Get(fiber.HeaderAuthorization))
	if err != nil {
		return err
	}
	in, err := readOrder(c.Body())
	if err != nil {
		return err
	}
	place := s.placeInTransaction
	if s.one {
		place = s.placeInOneStatement
	}
	o, err := place(c.Context(), ids.User(user), in)
	if errors.Is(err, errNoRoom) {
		return soldOut(c)
	}
	if err != nil {
		return err
	}
	return c.Status(fiber.StatusCreated).JSON(o)
}

// readOrder decodes an order strictly.
func readOrder(body []byte) (in newOrder, err error) {
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&in); err != nil || len(in.Items) != 1 || in.Items[0].Quantity < 1 ||
		in.Items[0].Quantity > 10 {
		return in, fiber.ErrBadRequest
	}
	return in, nil
}

func soldOut(c *fiber.Ctx) error {
	c.Set(fiber.HeaderContentType, "application/problem+json")
	return c.Status(fiber.StatusConflict).SendString(`{"title":"Sold out","status":409,"code":"sold_out"}`)
}

// shopOrder is the baseline's answer, of the same shape as the system's.
type shopOrder struct {
	ID        ids.Order  `json:"id"`
	EventID   ids.Event  `json:"event_id"`
	UserID    ids.User   `json:"user_id"`
	Status    string     `json:"status"`
	Items     []shopItem `json:"items"`
	Total     money      `json:"total"`
	ExpiresAt time.Time  `json:"expires_at"`
	Revision  int64      `json:"revision"`
	CreatedAt time.Time  `json:"created_at"`
	UpdatedAt time.Time  `json:"updated_at"`
}

type shopItem struct {
	TicketTypeID ids.TicketType `json:"ticket_type_id"`
	Name         string         `json:"name"`
	Quantity     int64          `json:"quantity"`
	UnitPrice    money          `json:"unit_price"`
}

func newShopOrder(user ids.User, in newOrder) shopOrder {
	now := time.Now().UTC()
	return shopOrder{ID: ids.New[ids.OrderKind](now), EventID: in.EventID, UserID: user, Status: "pending",
		ExpiresAt: now.Add(10 * time.Minute), Items: []shopItem{{TicketTypeID: in.Items[0].TicketTypeID,
			Quantity: in.Items[0].Quantity}}, Revision: 1, CreatedAt: now, UpdatedAt: now}
}

// setPrice puts the price of the one item into the order.
func (o *shopOrder) setPrice(name string, price int64, currency string) {
	o.Items[0].Name, o.Items[0].UnitPrice = name, money{price, currency}
	o.Total = money{price * o.Items[0].Quantity, currency}
}

func (s *shop) placeInTransaction(ctx context.Context, user ids.User, in newOrder) (shopOrder, error) {
	o := newShopOrder(user, in)
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return o, err
	}
	defer tx.Rollback() // does nothing after a commit
	var name, currency string
	var price int64
	item := in.Items[0]
	err = tx.QueryRowContext(ctx, takeSeats, item.Quantity, string(item.TicketTypeID), string(in.EventID)).
		Scan(&name, &price, &currency)
	if errors.Is(err, sql.ErrNoRows) {
		return o, errNoRoom
	}
	if err != nil {
		return o, err
	}
	o.setPrice(name, price, currency)
	items, err := json.Marshal(o.Items)
	if err != nil {
		return o, err
	}
	_, err = tx.ExecContext(ctx, insertOrder, string(o.ID), string(o.EventID), string(user), string(items),
		o.Total.Amount, currency, o.ExpiresAt, o.CreatedAt)
	if err != nil {
		return o, err
	}
	return o, tx.Commit()
}

func (s *shop) placeInOneStatement(ctx context.Context, user ids.User, in newOrder) (shopOrder, error) {
	o := newShopOrder(user, in)
	var name, currency string
	var price int64
	item := in.Items[0]
	err := s.db.QueryRowContext(ctx, takeAndInsert, item.Quantity, string(item.TicketTypeID), string(in.EventID),
		string(o.ID), string(user), o.ExpiresAt, o.CreatedAt).Scan(&name, &price, &currency)
	if errors.Is(err, sql.ErrNoRows) {
		return o, errNoRoom
	}
	if err != nil {
		return o, err
	}
	o.setPrice(name, price, currency)
	return o, nil
}

func (s *shop) availability(c *fiber.Ctx) error {
	rows, err := s.db.QueryContext(c.Context(),
		`SELECT id, capacity, held, sold FROM ticket_types WHERE event_id = $1`, c.Params("id"))
	if err != nil {
		return err
	}
	defer rows.Close()
	a := availability{EventID: ids.Event(c.Params("id"))}
	for rows.Next() {
		var t typeAvailability
		if err := rows.Scan(&t.ID, &t.Quantity, &t.Held, &t.Sold); err != nil {
			return err
		}
		t.Available = t.Quantity - t.Held - t.Sold
		a.TicketTypes = append(a.TicketTypes, t)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	return c.JSON(a)
}
