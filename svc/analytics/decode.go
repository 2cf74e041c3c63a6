package analytics

import (
	"encoding/json"
	"time"

	"github.com/valyala/fastjson"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
)

// change is what a message changes. It cannot fail for reasons of its own.
type change interface{ fold(f *fold) error }

// reader makes changes of messages. Most of what the streams hold is orders and tickets, of which few fields count: it
// does not decode the others. It is not safe for concurrent use.
type reader struct{ parser fastjson.Parser }

// read makes a change of a message. What is not readable is a fault of code Invalid; what is of no interest is nil.
func (r *reader) read(subject string, data []byte, persistent time.Time) (change, error) {
	switch subject {
	case api.FactViews, api.FactSearches:
		v := new(views)
		if err := json.Unmarshal(data, v); err != nil || v.Count < 0 || v.EventID == "" && subject == api.FactViews {
			return nil, unreadable(subject, err)
		}
		return v, nil
	case api.EventCreated.Subject, api.EventUpdated.Subject, api.EventWasPublished.Subject,
		api.EventWasCancelled.Subject, api.EventDeleted.Subject:
		v := new(description)
		if err := json.Unmarshal(data, v); err != nil || v.Event.ID == "" {
			return nil, unreadable(subject, err)
		}
		if subject == api.EventDeleted.Subject {
			v.Event.Status = deleted
		}
		if subject == api.EventCreated.Subject {
			return &creation{v}, nil
		}
		return v, nil
	case api.OrganizerTeamChanged.Subject:
		v := new(teamChange)
		if err := json.Unmarshal(data, v); err != nil || v.Team.ID == "" {
			return nil, unreadable(subject, err)
		}
		return v, nil
	case api.OrderWasHeld.Subject, api.OrderWasPaid.Subject, api.OrderHasExpired.Subject, api.OrderWasCancelled.Subject,
		api.OrderWasRefunded.Subject:
		o, err := r.object(data)
		v := orderOf(subject, o.in("order"))
		if err = o.err(err); err != nil || v.id == "" || v.event == "" {
			return nil, unreadable(subject, err)
		}
		return v, nil
	case api.TicketsWereExchanged.Subject:
		o, err := r.object(data)
		v := exchangeOf(o)
		if err = o.err(err); err != nil || v.order == "" || v.id == "" {
			return nil, unreadable(subject, err)
		}
		return v, nil
	case api.RefundHasSucceeded.Subject, api.RefundHasFailed.Subject:
		o, err := r.object(data)
		v := refundOf(o.in("refund"))
		v.failed = subject == api.RefundHasFailed.Subject
		if err = o.err(err); err != nil || v.order == "" || v.id == "" {
			return nil, unreadable(subject, err)
		}
		return v, nil
	case api.TicketWasRevoked.Subject, api.TicketAdmission.Subject, api.TicketAdmissionUndone.Subject:
		o, err := r.object(data)
		v := ticketOf(subject, o)
		if err = o.err(err); err != nil || v.id == "" || v.event == "" {
			return nil, unreadable(subject, err)
		}
		if v.at.IsZero() {
			v.at = persistent
		}
		return v, nil
	}
	return nil, nil
}

func unreadable(subject string, err error) error {
	if err == nil {
		return fault.New(fault.Invalid, "a fact on %s lacks what it is about", subject)
	}
	return fault.Wrap(err, fault.Invalid, "a fact on %s is not readable", subject)
}

// object is a JSON object whose fields are read one by one. A field that is missing is zero; the first one of another
// kind than it is read as is an error, for the object and those that it is in.
type object struct {
	value *fastjson.Value
	wrong *error
}

func (r *reader) object(data []byte) (object, error) {
	v, err := r.parser.ParseBytes(data)
	return object{v, new(error)}, err
}

// err returns the error of reading, or else that of a field.
func (o object) err(parse error) error {
	if parse != nil {
		return parse
	}
	return *o.wrong
}

func (o object) note(err error) {
	if *o.wrong == nil {
		*o.wrong = err
	}
}

func (o object) field(name string) *fastjson.Value {
	v := o.value.Get(name)
	if v != nil && v.Type() == fastjson.TypeNull {
		return nil
	}
	return v
}

func (o object) in(name string) object { return object{o.field(name), o.wrong} }

func (o object) text(name string) string {
	v := o.field(name)
	if v == nil {
		return ""
	}
	b, err := v.StringBytes()
	o.note(err)
	return string(b)
}

func (o object) number(name string) int64 {
	v := o.field(name)
	if v == nil {
		return 0
	}
	n, err := v.Int64()
	o.note(err)
	return n
}

func (o object) time(name string) (t time.Time) {
	v := o.field(name)
	if v == nil {
		return t
	}
	b, err := v.StringBytes()
	if err == nil {
		err = t.UnmarshalText(b)
	}
	o.note(err)
	return t
}

func (o object) list(name string) []object {
	v := o.field(name)
	if v == nil {
		return nil
	}
	values, err := v.Array()
	o.note(err)
	objects := make([]object, len(values))
	for i, v := range values {
		objects[i] = object{v, o.wrong}
	}
	return objects
}

// views are looks at an event, or searches.
type views api.TrafficFact

// deleted is the status of an event that is not offered any more: a late message does not bring it back.
const deleted = "deleted"

// description is an event as it is offered.
type description struct{ api.Offer }

// teamChange is what the team of an organizer has become.
type teamChange struct{ api.OrganizerChange }

// creation is the first description of an event: no fact of it comes earlier.
type creation struct{ *description }

// orderChange is the part of api.OrderEvent that counts.
type orderChange struct {
	subject                string
	id                     ids.Order
	event                  ids.Event
	buyer                  *buyer        // of a paid one
	payments               []ids.Payment // that have paid it: its own, and those of credits
	promo                  string
	total                  int64 // minor units
	items                  []orderItem
	created, updated, paid time.Time
}

type orderItem struct {
	typ            ids.TicketType
	quantity, cost int64
	product        bool // no ticket
}

func orderOf(subject string, o object) *orderChange {
	f := &orderChange{subject: subject, id: ids.Order(o.text("id")), event: ids.Event(o.text("event_id"))}
	switch subject { // each step looks at its own time
	case api.OrderWasHeld.Subject:
		f.created = o.time("created_at")
	case api.OrderWasPaid.Subject:
		f.created = o.time("created_at")
		f.paid, f.updated = o.time("paid_at"), o.time("updated_at")
		f.payments = []ids.Payment{ids.Payment(o.text("payment_id"))}
		for _, c := range o.list("credits") {
			f.payments = append(f.payments, ids.Payment(c.text("payment_id")))
		}
		f.total = o.in("total").number("amount")
		f.buyer = &buyer{user: ids.User(o.text("user_id")), event: f.event}
		for _, item := range o.list("items") {
			n := item.number("quantity")
			cost := n*item.in("unit_price").number("amount") - item.in("discount").number("amount")
			if taxed := item.in("tax"); taxed.text("rate") != "" {
				cost = taxed.in("gross").number("amount")
			} else {
				cost -= item.in("included_fees").number("amount")
			}
			f.items = append(f.items, orderItem{ids.TicketType(item.text("ticket_type_id")), n, cost,
				item.text("kind") == api.KindProduct})
		}
	default:
		f.updated = o.time("updated_at")
	}
	f.promo = o.text("promo_code")
	return f
}

// refundChange is the part of api.RefundEvent that counts.
type refundChange struct {
	id      string // of the refund, or of what an exchange has taken
	order   ids.Order
	payment ids.Payment
	amount  int64 // minor units
	at      time.Time
	failed  bool // after it had succeeded: the money did not arrive
}

func refundOf(o object) *refundChange {
	return &refundChange{id: o.text("id"), order: ids.Order(o.text("order_id")),
		payment: ids.Payment(o.text("payment_id")),
		amount:  o.in("amount").number("amount"), at: o.time("updated_at")}
}

// exchangeOf reads what of the sales of an order pays another one: for the event of the old order that is as if it went
// back, and for that of the new one as if it came.
func exchangeOf(o object) *refundChange {
	return &refundChange{id: o.text("refund_id") + "/credit", order: ids.Order(o.text("order_id")),
		payment: ids.Payment(o.text("payment_id")),
		amount:  o.in("credit").number("amount"), at: o.time("at")}
}

// ticketChange is what happened to a ticket.
type ticketChange struct {
	subject string
	id      ids.Ticket
	event   ids.Event
	typ     ids.TicketType
	product bool // no ticket
	gate    string
	at      time.Time
}

func ticketOf(subject string, o object) *ticketChange {
	return &ticketChange{subject: subject, id: ids.Ticket(o.text("ticket_id")), event: ids.Event(o.text("event_id")),
		typ: ids.TicketType(o.text("ticket_type_id")), product: o.text("kind") == api.KindProduct,
		gate: o.text("gate"), at: o.time("at")}
}
