package webhook

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"strconv"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/run"
	"github.com/starlightsymphony/starlight/shared/stream"
)

// orderTopics, ticketTopics and eventTopics are what the domain events are called outside.
func orderTopics() map[string]string {
	return map[string]string{api.OrderWasPaid.Subject: api.HookOrderPaid, api.OrderWasSold.Subject: api.HookOrderPaid,
		api.OrderWasCancelled.Subject: api.HookOrderCancelled, api.OrderHasExpired.Subject: api.HookOrderExpired,
		api.OrderWasRefunded.Subject: api.HookOrderRefunded, api.TicketsWereExchanged.Subject: api.HookOrderExchanged}
}

func ticketTopics() map[string]string {
	return map[string]string{api.TicketTransferred.Subject: api.HookTicketTransferred,
		api.TicketWasRevoked.Subject: api.HookTicketRevoked, api.TicketAdmission.Subject: api.HookTicketAdmitted,
		api.TicketAdmissionUndone.Subject: api.HookAdmissionUndone}
}

func eventTopics() map[string]string {
	return map[string]string{api.EventWasPublished.Subject: api.HookEventPublished,
		api.EventUpdated.Subject: api.HookEventUpdated, api.EventWasCancelled.Subject: api.HookEventCancelled,
		api.EventDeleted.Subject: api.HookEventDeleted, api.EventCreated.Subject: ""}
}

func subjects() (all []string) {
	for _, topics := range []map[string]string{orderTopics(), ticketTopics(), eventTopics()} {
		for subject := range topics {
			all = append(all, subject)
		}
	}
	return all
}

// follow keeps facts once there is a webhook. Before the first one it costs nothing.
func (s *Webhooks) follow(ctx context.Context) error {
	for {
		var any bool
		err := s.DB.Read().NewRaw("SELECT EXISTS (SELECT 1 FROM webhook_organizers)").Scan(ctx, &any)
		if err == nil && any {
			break
		}
		if err != nil && ctx.Err() == nil {
			s.Log.WarnContext(ctx, "whether there are webhooks could not be read", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.first:
		case <-time.After(time.Second):
		}
	}
	const forever = 1_000_000
	c := stream.Consumer{Stream: api.EventsStream, Durable: Consumer, Filters: subjects(), Ordered: true, FromNow: true,
		MaxDeliver: forever, Log: s.Log, Registry: s.Metrics}
	end := make(chan struct{})
	defer close(end)
	go func() { // Consume makes the consumer, and says nothing when it is there
		wait := run.Backoff{First: 5 * time.Millisecond, Last: time.Second}
		for !s.following.Load() && wait.Wait(ctx) {
			if _, err := s.JS.Consumer(ctx, api.EventsStream, Consumer); err == nil {
				s.following.Store(true)
			}
			select {
			case <-end:
				return
			default:
			}
		}
	}()
	return stream.Consume(ctx, s.JS, c, s.keep)
}

// hookFact is a fact before it has a number.
type hookFact struct {
	topic, object string
	data          any
}

// What the messages say: enough to ask for the rest.
type (
	orderData struct {
		ID       ids.Order `json:"id"`
		EventID  ids.Event `json:"event_id"`
		Status   string    `json:"status"`
		Total    api.Money `json:"total"`
		Refunded api.Money `json:"refunded,omitzero"`
		Exchange ids.Order `json:"exchange_of,omitempty"`
		Revision int64     `json:"revision"`
	}
	ticketData struct {
		ID           ids.Ticket     `json:"id"`
		EventID      ids.Event      `json:"event_id"`
		OrderID      ids.Order      `json:"order_id,omitempty"`
		TicketTypeID ids.TicketType `json:"ticket_type_id,omitempty"`
		Gate         string         `json:"gate,omitempty"`
	}
	eventData struct {
		ID          ids.Event     `json:"id"`
		OrganizerID ids.Organizer `json:"organizer_id"`
		Status      string        `json:"status"`
		StartsAt    time.Time     `json:"starts_at"`
		Revision    int64         `json:"revision"`
	}
	message struct {
		Type      string    `json:"type"`
		Timestamp time.Time `json:"timestamp"`
		Data      any       `json:"data"`
	}
)

// facts reads a domain event: what webhooks are list of it, which event it is about, and whose that is, if it says so.
func facts(m stream.Msg) (list []hookFact, event ids.Event, organizer ids.Organizer, at time.Time, err error) {
	at = m.Time
	if topic, ok := orderTopics()[m.Subject]; ok {
		var e api.OrderEvent // of a sale or an exchange, it has what is read here, too
		if err = m.Decode(&e); err != nil {
			return nil, "", "", at, err
		}
		o := e.Order
		list = append(list, hookFact{topic, o.ID.String(),
			orderData{o.ID, o.EventID, o.Status, o.Total, o.Refunded, o.ExchangeOf, o.Revision}})
		for _, id := range e.Tickets {
			if topic == api.HookOrderPaid {
				list = append(list, hookFact{api.HookTicketIssued, id.String(),
					ticketData{ID: id, EventID: o.EventID, OrderID: o.ID}})
			}
		}
		return list, o.EventID, "", o.UpdatedAt, nil
	}
	if topic, ok := ticketTopics()[m.Subject]; ok {
		var e api.TicketEvent
		err = m.Decode(&e)
		return []hookFact{{topic, e.TicketID.String(), ticketData{ID: e.TicketID, EventID: e.EventID,
			TicketTypeID: e.TicketTypeID, Gate: e.Gate}}}, e.EventID, "", e.At, err
	}
	var offer api.Offer
	if err = m.Decode(&offer); err != nil {
		return nil, "", "", at, err
	}
	e := &offer.Event
	if topic := eventTopics()[m.Subject]; topic != "" && (topic != api.HookEventUpdated || e.Status != api.EventDraft) {
		list = append(list, hookFact{topic, e.ID.String(),
			eventData{e.ID, e.OrganizerID, e.Status, e.StartsAt, e.Revision}})
	}
	return list, e.ID, e.OrganizerID, e.UpdatedAt, nil
}

// keep keeps what a domain event says, for the webhooks of its organizer.
func (s *Webhooks) keep(ctx context.Context, m stream.Msg) error {
	list, event, says, at, err := facts(m)
	if err != nil {
		return err
	}
	organizer, hooked, err := s.organizerOf(ctx, event, says)
	if err != nil || !hooked || len(list) == 0 {
		return err
	}
	err = s.DB.TxRepeatable(ctx, func(ctx context.Context, tx bun.Tx) error {
		if first, err := stream.Once(ctx, tx, Consumer, m.ID); err != nil || !first {
			return err
		}
		var last int64
		err := tx.NewRaw("UPDATE webhook_organizers SET last = last + ? WHERE organizer_id = ? RETURNING last",
			len(list), organizer).Scan(ctx, &last)
		if err != nil {
			return err
		}
		rows := make([]factRow, len(list))
		for i, f := range list {
			body, err := json.Marshal(message{f.topic, at.UTC(), f.data})
			if err != nil {
				return err
			}
			rows[i] = factRow{OrganizerID: organizer, Number: last - int64(len(list)-1-i), Topic: f.topic,
				ID: ids.Derive[ids.WebhookMessageKind](m.ID, f.topic, f.object, strconv.Itoa(i)), Body: string(body),
				At: at.UTC()}
		}
		if _, err := tx.NewInsert().Model(&rows).Exec(ctx); err != nil {
			return err
		}
		// Who has list everything is due now; who has not is list this in its turn.
		now := s.Now()
		_, err = tx.ExecContext(ctx, `UPDATE webhooks SET due_at = CASE WHEN position = last THEN ? ELSE due_at END,
			last = ? WHERE organizer_id = ?`, now, last, organizer)
		return err
	})
	if err == nil {
		poke(s.wake)
	}
	return err
}

// organizerOf returns whose event it is, and whether that organizer has webhooks. What a domain event says of the event
// itself is kept, since later ones about its orders do not say it.
func (s *Webhooks) organizerOf(ctx context.Context, event ids.Event, says ids.Organizer) (ids.Organizer, bool, error) {
	var known struct {
		OrganizerID ids.Organizer
		Hooked      bool
	}
	err := s.DB.Read().NewRaw(`SELECT e.organizer_id, w.organizer_id IS NOT NULL AS hooked FROM webhook_events e
		LEFT JOIN webhook_organizers w ON w.organizer_id = e.organizer_id WHERE e.event_id = ?`, event).
		Scan(ctx, &known)
	if err == nil && (says == "" || says == known.OrganizerID) {
		return known.OrganizerID, known.Hooked, nil
	}
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return "", false, err
	}
	if says == "" {
		offer, err := rpc.Call(ctx, s.Client, api.GetOffer, &api.OfferRequest{EventID: event})
		if fault.Is(err, fault.NotFound) { // it was deleted since
			return "", false, nil
		}
		if err != nil {
			return "", false, err
		}
		says = offer.Event.OrganizerID
	}
	var hooked bool
	err = s.DB.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO webhook_events (event_id, organizer_id) VALUES (?, ?)
			ON CONFLICT (event_id) DO UPDATE SET organizer_id = excluded.organizer_id`, event, says)
		if err != nil {
			return err
		}
		return tx.NewRaw("SELECT EXISTS (SELECT 1 FROM webhook_organizers WHERE organizer_id = ?)", says).
			Scan(ctx, &hooked)
	})
	return says, hooked, err
}
