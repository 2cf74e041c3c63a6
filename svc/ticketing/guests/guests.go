// Package guests keeps the buyers who have no account: how to reach them, the tokens that open their orders, and what
// becomes of an order when its buyer has an account later.
//
// A guest is a person with one order, as far as every other part of the system sees: the id of the person has the
// digits of the order's. So what a guest may do follows from who owns what, as for everybody. Addresses stay here:
// domain events name the guest alone. Tokens are stored by their hash; those in mails are made when the mail is sent.
package guests

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/hex"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/keyring"
	"github.com/starlightsymphony/starlight/shared/opaque"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/settings"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/stream"
	"github.com/starlightsymphony/starlight/shared/text"
)

// Deps is what guests stand on.
type Deps struct {
	DB     *store.DB
	Client *rpc.Client
	Live   *settings.Live
	Keys   *keyring.Ring
	Log    *slog.Logger
	Now    func() time.Time

	// Changed is called after the commit for orders that have another buyer.
	Changed func(...ids.Order)
}

// Guests is the guests of all orders, as one instance of the service sees them.
type Guests struct{ Deps }

// New returns the guests.
func New(d Deps) *Guests { return &Guests{d} }

// Register binds the endpoints that are about guests alone.
func (g *Guests) Register(srv *rpc.Server) {
	rpc.Handle(srv, api.CheckOrderToken, g.check)
	rpc.Handle(srv, api.MintOrderLink, g.mint)
	rpc.Handle(srv, api.GetGuests, g.contacts)
	rpc.Handle(srv, api.RenewOrderAccess, g.renew)
	rpc.Handle(srv, api.EndOrderAccess, g.endAccess)
	rpc.Handle(srv, api.RequestOrderLinks, g.requestLinks)
	rpc.Handle(srv, api.ClaimOrders, g.claim)
}

// Row is a row of the table guests.
type Row struct {
	bun.BaseModel `bun:"table:guests,alias:guests"`

	UserID      ids.User   `bun:"user_id,pk"`
	OrderID     ids.Order  `bun:"order_id"`
	EventID     ids.Event  `bun:"event_id"`
	Email       string     `bun:"email"`
	EmailKey    string     `bun:"email_key"`
	Name        string     `bun:"name"`
	Language    string     `bun:"language"`
	Client      string     `bun:"client"`
	ConfirmedAt *time.Time `bun:"confirmed_at"`
	ClaimedBy   ids.User   `bun:"claimed_by"`
	Changes     int        `bun:"changes"`
	CreatedAt   time.Time  `bun:"created_at"`
}

// Contact returns how to reach the guest.
func (r Row) Contact() api.Contact {
	return api.Contact{ID: r.UserID, Email: r.Email, EmailVerified: r.ConfirmedAt != nil, Name: r.Name,
		Language: r.Language, Guest: true}
}

// Buyer returns the guest as the order shows its buyer.
func (r Row) Buyer() *api.Attendee { return &api.Attendee{Name: r.Name, Email: r.Email} }

// event is what is published about the guest.
func (r Row) event(now time.Time) api.GuestEvent {
	return api.GuestEvent{UserID: r.UserID, OrderID: r.OrderID, EventID: r.EventID, At: now}
}

// EmailKey returns what addresses are compared by.
func EmailKey(email string) string { return strings.ToLower(strings.TrimSpace(email)) }

// Draft checks what a request says of its buyer and returns the guest, without what the order decides.
func (g *Guests) Draft(ctx context.Context, req *api.NewOrder) (Row, error) {
	r := Row{Email: strings.TrimSpace(req.Email), EmailKey: EmailKey(req.Email), Name: text.Clean(req.Name),
		Language: req.Language, Client: g.client(rpc.From(ctx).Address)}
	var check fault.Check
	check.Field(text.Email(r.Email), "email",
		"must be an email address: without an account the tickets are mailed there")
	checkPerson(&check, r.Name, r.Language)
	return r, check.Err()
}

func checkPerson(check *fault.Check, name, language string) {
	text.CheckLine(check, "name", name, 0, 200)
	text.CheckLine(check, "language", language, 0, 100)
}

// At returns the guest of an order.
func (r Row) At(order ids.Order, event ids.Event, now time.Time) Row {
	r.UserID, r.OrderID, r.EventID, r.CreatedAt = api.GuestOf(order), order, event, now
	return r
}

// client returns a keyed hash of the network that a request comes from: an IPv6 customer has a whole /64.
func (g *Guests) client(address string) string {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return ""
	}
	if a = a.Unmap(); a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			a = p.Addr()
		}
	}
	_, sum := g.Keys.MAC([]byte("guest client " + a.String()))
	return hex.EncodeToString(sum[:12])
}

// tokenLength is that of the random part of a token: 130 bits.
const tokenLength = 26

// NewToken returns a token that was never there.
func NewToken() string { return api.OrderTokenPrefix + rand.Text() }

// TokenFor returns the token of an order that is made with an idempotency key, which a client chose so that others
// cannot guess it: the same for the same request, so it needs not be stored to be answered again.
func (g *Guests) TokenFor(scope, key, hash string) string {
	_, sum := g.Keys.MAC([]byte("order token\n" + scope + "\n" + key + "\n" + hash))
	return api.OrderTokenPrefix + base32.StdEncoding.EncodeToString(sum)[:tokenLength]
}

// Order is an order of a guest that is being written.
type Order struct {
	Guest Row
	Token string
	Free  bool
	Quiet bool // the guest is not told of it
	Cause stream.Cause
}

// Write stores guests and their first tokens, in the transaction that writes their orders, and returns what to publish.
func Write(ctx context.Context, tx bun.Tx, in []Order) ([]stream.Message, error) {
	if len(in) == 0 {
		return nil, nil
	}
	rows, tokens := make([]Row, len(in)), make([]tokenRow, len(in))
	messages := make([]stream.Message, len(in))
	for i, n := range in {
		rows[i] = n.Guest
		tokens[i] = tokenRow{Hash: opaque.Hash(n.Token), OrderID: n.Guest.OrderID, CreatedAt: n.Guest.CreatedAt}
		event := n.Guest.event(n.Guest.CreatedAt)
		event.Free, event.Quiet = n.Free, n.Quiet
		messages[i] = stream.Message{Subject: api.GuestHasOrdered.Subject, Payload: event, Cause: n.Cause}
	}
	if _, err := store.Insert(ctx, tx, rows, ""); err != nil {
		return nil, err
	}
	_, err := store.Insert(ctx, tx, tokens, "")
	return messages, err
}

// Contacts returns how to reach those of the people who are guests and have no account by now.
func (g *Guests) Contacts(ctx context.Context, users []ids.User) (map[ids.User]api.Contact, error) {
	found := map[ids.User]api.Contact{}
	if len(users) == 0 {
		return found, nil
	}
	var rows []Row
	err := store.Select(ctx, g.DB.Read(), &rows,
		"SELECT * FROM guests WHERE user_id IN (?) AND claimed_by = '' AND email <> ''", store.List(users))
	for _, r := range rows {
		found[r.UserID] = r.Contact()
	}
	return found, err
}

func (g *Guests) contacts(ctx context.Context, req *api.GetContactsOf) (*api.List[api.Contact], error) {
	found, err := g.Contacts(ctx, req.IDs)
	list := &api.List[api.Contact]{Items: make([]api.Contact, 0, len(found))}
	for _, id := range req.IDs {
		if c, ok := found[id]; ok {
			list.Items = append(list.Items, c)
		}
	}
	return list, err
}

// Of returns the guest of an order; NotFound if it was made with an account, or the guest is forgotten.
func (g *Guests) Of(ctx context.Context, order ids.Order) (r Row, err error) {
	err = store.Select(ctx, g.DB.Read(), &r, "SELECT * FROM guests WHERE order_id = ? AND email <> ''", order)
	return r, store.OrNotFound(err, "there is no such order")
}

// own returns the guest whom the caller is, if the order is that guest's.
func (g *Guests) own(ctx context.Context, order ids.Order) (Row, error) {
	r, err := g.Of(ctx, order)
	if err == nil && (r.UserID != rpc.Caller(ctx).User || r.ClaimedBy != "") {
		err = errNoOrder()
	}
	return r, err
}

// Own is own for the endpoints about orders.
func (g *Guests) Own(ctx context.Context, order ids.Order) (Row, error) { return g.own(ctx, order) }

func errNoOrder() error { return fault.New(fault.NotFound, "there is no such order") }

// lock returns the guest of an order, who stays as is until the end of the transaction.
func lock(ctx context.Context, db *store.DB, tx bun.Tx, order ids.Order) (r Row, err error) {
	forUpdate := bun.Safe("")
	if db.Postgres() {
		forUpdate = "FOR UPDATE"
	}
	err = tx.NewRaw("SELECT * FROM guests WHERE order_id = ? AND email <> '' AND claimed_by = '' ?", order,
		forUpdate).Scan(ctx, &r)
	return r, store.OrNotFound(err, "there is no such order")
}
