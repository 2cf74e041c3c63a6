package ticketing

import (
	"context"
	"errors"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/batch"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/idempotency"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/stream"
	"github.com/starlightsymphony/starlight/svc/ticketing/answers"
	"github.com/starlightsymphony/starlight/svc/ticketing/guests"
	"github.com/starlightsymphony/starlight/svc/ticketing/inventory"
	"github.com/starlightsymphony/starlight/svc/ticketing/invoices"
)

// orderRow is a row of the table orders.
type orderRow struct {
	bun.BaseModel `bun:"table:orders,alias:orders"`

	ID        ids.Order       `bun:"id,pk"`
	Number    string          `bun:"number"`
	EventID   ids.Event       `bun:"event_id"`
	UserID    ids.User        `bun:"user_id"`
	Status    string          `bun:"status"`
	Items     []api.OrderItem `bun:"items,type:text"`
	Attendees []api.Attendee  `bun:"attendees,type:text"`
	Total     int64           `bun:"total"`
	Currency  string          `bun:"currency"`
	Refunded  int64           `bun:"refunded"`
	Discount  int64           `bun:"discount"`
	Fee       int64           `bun:"fee"`
	PromoCode string          `bun:"promo_code"`
	SeatsDue  bool            `bun:"seats_due"`
	Extended  bool            `bun:"extended"`
	PaymentID ids.Payment     `bun:"payment_id"`
	ExpiresAt time.Time       `bun:"expires_at"`
	PaidAt    *time.Time      `bun:"paid_at"`
	Revision  int64           `bun:"revision"`
	CreatedAt time.Time       `bun:"created_at"`
	UpdatedAt time.Time       `bun:"updated_at"`

	PromoCodeID ids.PromoCode `bun:"promo_code_id"`
	Charges     charges       `bun:"charges,type:text"`
	GivenBack   []int64       `bun:"given_back,type:text"` // of the gross of each tax in Charges
	AnswersDue  bool          `bun:"answers_due"`          // it cannot be paid before

	ExchangeOf ids.Order `bun:"exchange_of"`
	Exchange   exchange  `bun:"exchange,type:text"`
	Credited   int64     `bun:"credited"` // of Refunded: what pays other orders
}

// Key is what a list of orders is sorted by.
func (r orderRow) Key() (time.Time, string) { return r.CreatedAt, r.ID.String() }

func (r orderRow) ref() inventory.Ref { return inventory.Ref{Event: r.EventID, Order: r.ID} }

// paidBy reports whether the payment has paid the order. What became of the order afterwards does not matter.
func (r orderRow) paidBy(p ids.Payment) bool { return r.PaidAt != nil && r.PaymentID == p }

// paidAtOnce reports whether the order was paid as it was written, so that its seats may be only held for a moment.
func (r orderRow) paidAtOnce() bool { return r.toPay() == 0 || r.UserID == api.BoxOfficeBuyer }

// ended reports whether the order has no seats and waits for no money.
func (r orderRow) ended() bool { return r.Status != api.OrderPending && r.Status != api.OrderPaid }

func (r orderRow) money(amount int64) api.Money {
	return api.Money{Amount: amount, Currency: r.Currency}
}

func (r orderRow) lines() []inventory.Line {
	lines := make([]inventory.Line, 0, len(r.Items))
	for _, item := range r.Items {
		if item.IncludedInID == "" {
			lines = append(lines, inventory.Line{Type: item.TicketTypeID, N: item.Quantity, Stage: item.StageID})
		}
	}
	return withIncluded(lines, r.Items)
}

// finished returns the row as it is paid, if free, and unchanged otherwise.
func (r orderRow) finished(free bool, now time.Time) orderRow {
	if free {
		r.Status, r.PaidAt = api.OrderPaid, &now
	}
	return r
}

func (r orderRow) order() api.Order {
	o := api.Order{ID: r.ID, Number: r.Number, EventID: r.EventID, UserID: r.UserID, Status: r.Status, Items: r.Items,
		Total: r.money(r.Total), PromoCode: r.PromoCode, PaymentID: r.PaymentID, PaidAt: r.PaidAt, Revision: r.Revision,
		CreatedAt: r.CreatedAt.UTC(), UpdatedAt: r.UpdatedAt.UTC()}
	o.Fees, o.Taxes = r.Charges.Fees, r.Charges.Taxes
	o.ReverseCharge, o.VATCheck = r.Charges.reverse(), r.Charges.VAT
	if r.Discount > 0 {
		o.Discount = r.money(r.Discount)
	}
	if r.Refunded > 0 {
		o.Refunded = r.money(r.Refunded)
	}
	r.showExchange(&o)
	if r.Fee > 0 {
		o.CancellationFee = r.money(r.Fee)
	}
	if r.Status == api.OrderPending {
		expires := r.ExpiresAt.UTC()
		o.ExpiresAt, o.AnswersDue = &expires, r.AnswersDue
	}
	return o
}

func (db ticketStore) order(ctx context.Context, id ids.Order) (orderRow, error) {
	var row orderRow
	err := store.Select(ctx, db.Read(), &row, "SELECT * FROM orders WHERE id = ?", id)
	return row, store.OrNotFound(err, "there is no such order")
}

func (db ticketStore) orders(ctx context.Context, from bun.IDB, id []ids.Order) (map[ids.Order]orderRow, error) {
	var rows []orderRow
	lock := bun.Safe("")
	if _, ok := from.(tx); ok {
		lock = db.forUpdate()
	}
	err := store.Select(ctx, from, &rows, "SELECT * FROM orders WHERE id IN (?) ORDER BY id ?", store.List(id), lock)
	if err != nil {
		return nil, err
	}
	byID := make(map[ids.Order]orderRow, len(rows))
	for _, row := range rows {
		byID[row.ID] = row
	}
	return byID, nil
}

// creation is an order to be written, together with the answer to remember for its idempotency key.
type creation struct {
	row       orderRow
	free      bool
	eventName string
	message   stream.Message // about it, belonging to the request
	sale      *saleMade      // at a counter: it is paid as it is written
	offer     *api.Offer     // of what is paid as it is written, for its invoice
	billing   *api.Billing   // whom the invoice is made out to
	limits    unpaidLimits
	most      *personLimits // how many tickets a person may have; nil is without bound
	perPerson int           // how many orders of a person may use its code; 0 is without bound
	guest     *guests.Order // who has no account
	guestMay  guests.Limits
	staff     *byStaff       // the organizer makes it for a person
	line      stream.Message // of the audit log, with staff
	answers   []answers.Row  // to what the event asks
	id        ids.Order      // that the order has to have; "": any
	quiet     bool           // its buyer is not told of it, if it costs nothing
	swap      *decision      // of an exchange that is paid at once: about the old order, made by the transaction

	remember         bool
	scope, key, hash string
	answer           []byte
}

// create writes orders in one transaction, the free ones with their tickets, and returns each as it then is. An order
// that exists already is returned as it is. One whose idempotency key has an answer already is left out, with
// rpc.ErrDuplicateAnswer.
func (db ticketStore) create(ctx context.Context, in []creation, now time.Time) ([]batch.Result[orderRow], error) {
	out := make([]batch.Result[orderRow], len(in))
	err := db.TxRepeatable(ctx, func(ctx context.Context, tx tx) error {
		clear(out)
		over, err := db.lockExchanged(ctx, tx, in)
		if err != nil {
			return err
		}
		free, err := db.offeredFree(ctx, tx, in)
		if err != nil {
			return err
		}
		currency, err := db.currencies(ctx, tx, in)
		if err != nil {
			return err
		}
		refused, err := db.overLimits(ctx, tx, in, now)
		if err == nil {
			refused, err = db.overCodeLimits(ctx, tx, in, refused)
		}
		if err != nil {
			return err
		}
		if refused, err = db.overGuestLimits(ctx, tx, in, refused, now); err != nil {
			return err
		}
		if refused, err = db.overPersonLimits(ctx, tx, in, refused); err != nil {
			return err
		}
		var rows []orderRow
		for i, c := range in {
			switch now := currency[c.row.EventID]; {
			case over[i] != nil:
				out[i].Err = over[i]
				continue
			case refused[i] != nil:
				out[i].Err = refused[i]
				continue
			case free[c.row.EventID].cancelled:
				out[i].Err = fault.New(fault.Conflict, "the event is cancelled")
				continue
			case now != c.row.Currency:
				out[i].Err = fault.New(fault.Conflict, "the event sells in %s now: look at its prices again", now)
				continue
			}
			if c.remember {
				if out[i].Err = idempotency.Keep(ctx, tx, c.scope, c.key, c.hash, 201, c.answer); out[i].Err != nil {
					if errors.Is(out[i].Err, rpc.ErrDuplicateAnswer) {
						continue
					}
					return out[i].Err
				}
			}
			out[i].Out = c.row.finished(c.free, now)
			rows = append(rows, out[i].Out)
		}
		if len(rows) == 0 {
			return nil
		}
		inserted, err := store.Insert(ctx, tx, rows, "CONFLICT DO NOTHING")
		if err != nil {
			return err
		}
		written := orderIDs(inserted)
		if len(written) < len(rows) {
			if written, err = db.known(ctx, tx, in, out, written); err != nil {
				return err
			}
		}
		return db.announceNew(ctx, tx, in, out, written, free, now)
	})
	return out, err
}

// known finds the orders that are there already: this is the second run of the transaction, or their keys were used
// before and the answers are not stored any more. The answer made for them now is not theirs. Those that are not there
// had a number that another order has: they are written with another. All that were written are returned.
func (db ticketStore) known(
	ctx context.Context, tx tx, in []creation, out []batch.Result[orderRow], written []ids.Order,
) ([]ids.Order, error) {
	fresh := setOf(written)
	var id []ids.Order
	for i, c := range in {
		if out[i].Err == nil && !fresh[c.row.ID] {
			id = append(id, c.row.ID)
		}
	}
	rows, err := db.orders(ctx, tx, id)
	if err != nil {
		return nil, err
	}
	for i, c := range in {
		if fresh[c.row.ID] || out[i].Err != nil {
			continue
		}
		row, ok := rows[c.row.ID]
		if !ok {
			var made bool
			if row, made, err = c.renumber(ctx, tx, out[i].Out); err != nil {
				return nil, err
			}
			if made {
				out[i].Out, written, fresh[row.ID] = row, append(written, row.ID), true
			}
			continue
		}
		out[i].Out = row
		if c.remember {
			if err := idempotency.Delete(ctx, tx, c.scope, c.key); err != nil {
				return nil, err
			}
		}
	}
	return written, nil
}

// announceNew issues the tickets of the free orders among those that were written, and tells of all.
func (db ticketStore) announceNew(
	ctx context.Context, tx tx, in []creation, out []batch.Result[orderRow], written []ids.Order,
	free map[ids.Event]offered, now time.Time,
) error {
	var issue issuing
	var bills invoices.Batch
	events := make([]stream.Message, 0, len(written))
	fresh := setOf(written)
	var arrivals []guests.Order
	var given []answers.Row
	var swaps []decision
	for i, c := range in {
		if out[i].Err != nil || !fresh[c.row.ID] {
			continue
		}
		given = append(given, c.answers...)
		if c.guest != nil {
			c.guest.Quiet = c.quiet && c.free
			c.guest.Cause = c.message.Cause
			arrivals = append(arrivals, *c.guest)
		}
		if c.billing != nil {
			if err := invoices.SetBilling(ctx, tx, c.row.ID, c.billing, now); err != nil {
				return err
			}
		}
		topic := api.OrderWasHeld
		order := out[i].Out.order()
		var tickets []ids.Ticket
		if c.free {
			topic = api.OrderWasPaid
			tickets = issue.order(out[i].Out, c.eventName, now)
			bills.Paid(c.offer, order, c.billing, 1, now)
			if c.swap != nil {
				swaps = append(swaps, *c.swap)
				events = append(events, c.swap.exchanged(order, now))
			}
			if c.sale != nil {
				issue.name(tickets, c.sale.tickets)
				tickets = c.sale.tickets
				sold := c.message
				sold.Subject, sold.Payload = api.OrderWasSold.Subject, c.sale.event(out[i].Out)
				events = append(events, sold)
				if c.sale.line.Subject != "" {
					events = append(events, c.sale.line)
				}
			}
		}
		if c.line.Subject != "" {
			events = append(events, c.line)
		}
		if c.staff != nil && c.guest == nil && !c.free { // guests get a link to what was made for them
			due := c.message
			due.Subject, due.Payload = api.OrderIsDue.Subject, api.OrderEvent{Order: order}
			events = append(events, due)
		}
		msg := c.message
		msg.Subject, msg.Payload = topic.Subject, api.OrderEvent{Order: order, Tickets: tickets,
			Quiet: c.quiet && c.free}
		events = append(events, msg)
	}
	if len(events) == 0 {
		return nil
	}
	about, err := guests.Write(ctx, tx, arrivals)
	if err != nil {
		return err
	}
	events = append(events, about...)
	if err := answers.Insert(ctx, tx, given); err != nil {
		return err
	}
	if err := db.revokeWith(ctx, tx, &issue, swaps, &bills, now); err != nil {
		return err
	}
	if err := issue.write(ctx, tx, free); err != nil {
		return err
	}
	if err := stream.AddAll(ctx, tx, events...); err != nil {
		return err
	}
	return bills.Issue(ctx, tx)
}

// offeredFree returns what is known of the events with a free order, which is paid as it is written.
func (db ticketStore) offeredFree(ctx context.Context, tx tx, in []creation) (map[ids.Event]offered, error) {
	events := map[ids.Event]bool{}
	for _, c := range in {
		if c.free {
			events[c.row.EventID] = true
		}
	}
	if len(events) == 0 {
		return nil, nil
	}
	return db.offered(ctx, tx, events)
}

func orderIDs(rows []orderRow) []ids.Order {
	out := make([]ids.Order, len(rows))
	for i, r := range rows {
		out[i] = r.ID
	}
	return out
}
