package notification

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"sync"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/svc/notification/channel/email"
	"github.com/starlightsymphony/starlight/svc/notification/render"
)

// mostCodes bounds the tickets in one mail.
const mostCodes = 50

// attachments returns what goes with a mail: tickets to print and their codes for phones, and the event for the
// calendar.
func (s *Service) attachments(ctx context.Context, out *outgoing) ([]email.Attachment, error) {
	what := api.HeldTickets{UserID: out.to.ID}
	switch out.row.Name {
	case "order_paid":
		what.OrderID = out.facts.Order.ID
	case "ticket_received":
		what.TicketID = out.facts.Ticket
	case "event_changed", "event_cancelled":
		return s.calendar(ctx, out)
	default:
		return nil, nil
	}
	tickets, err := s.held(ctx, what)
	if err != nil {
		return nil, err
	}
	if len(tickets) == 0 {
		return nil, &obsolete{"the tickets are given back, or given away"}
	}
	tickets = tickets[:min(len(tickets), mostCodes)]
	codes, err := render.Codes(tickets)
	if err != nil {
		return nil, err
	}
	lang := s.texts.LanguageOf(out.to, out.facts)
	pages, err := s.texts.TicketsPDF(render.Tickets{Language: lang, Event: out.facts.Event, Order: out.facts.Order,
		Owner: out.to.Name, Tickets: tickets, Codes: codes, Made: out.row.CreatedAt})
	if err != nil {
		return nil, err
	}
	files := []email.Attachment{{Name: ticketFile(tickets[0].OrderID), ContentType: "application/pdf", Data: pages}}
	for i, t := range tickets {
		name := fmt.Sprintf("ticket-%d-%s.png", i+1, t.ID)
		files = append(files, email.Attachment{Name: name, ContentType: "image/png", Data: codes[i].PNG()})
	}
	event, err := s.calendar(ctx, out)
	return append(files, event...), err
}

// getTicketPages returns the tickets that the caller holds of an order, as the mail has them.
func (s *Service) getTicketPages(ctx context.Context, req *api.OrderRef) (*rpc.Blob, error) {
	user := callerOf(ctx)
	tickets, err := s.held(ctx, api.HeldTickets{UserID: user, OrderID: req.ID})
	if err != nil {
		return nil, err
	}
	if len(tickets) == 0 {
		return nil, fault.New(fault.NotFound, "there are no valid tickets of this order")
	}
	event, err := s.eventAndTypes(ctx, tickets[0].EventID)
	if err != nil {
		return nil, err
	}
	contact, err := s.contacts.Do(ctx, user)
	if err != nil {
		return nil, err
	}
	p := render.Tickets{Language: s.texts.Language(contact.Language), Event: event,
		Owner: contact.Name, Tickets: tickets, Made: s.Now()}
	if p.Codes, err = render.Codes(tickets); err != nil {
		return nil, err
	}
	if p.Order, err = s.paidOrder(ctx, req.ID, user); err != nil {
		return nil, err
	}
	data, err := s.texts.TicketsPDF(p)
	if err != nil {
		return nil, err
	}
	return &rpc.Blob{ContentType: "application/pdf", Filename: ticketFile(req.ID), Data: data}, nil
}

func ticketFile(order ids.Order) string { return "tickets-" + order.String() + ".pdf" }

// paidOrder returns an order as it was when it was paid, and nil if that is not known yet.
func (s *Service) paidOrder(ctx context.Context, id ids.Order, user ids.User) (*api.Order, error) {
	var facts []string
	err := s.DB.Read().NewRaw("SELECT facts FROM messages WHERE id = ?", messageID(orderCause("order_paid", id), user)).
		Scan(ctx, &facts)
	if err != nil || len(facts) == 0 {
		return nil, err
	}
	var f render.Facts
	if err := json.Unmarshal([]byte(facts[0]), &f); err != nil {
		return nil, err
	}
	return f.Order, nil
}

func (s *Service) held(ctx context.Context, what api.HeldTickets) ([]api.Ticket, error) {
	list, err := rpc.Call(ctx, s.Client, api.GetHeldTickets, &what)
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

// calendars caches the calendar files of events, each in the newest revision that was seen. All buyers of an event get
// the same.
type calendars struct {
	mu    sync.Mutex
	files map[ids.Event]calendarFile
}

type calendarFile struct {
	revision int64
	data     []byte
}

// maxCalendars bounds the cache.
const maxCalendars = 500

// find returns the file of an event if it is of a revision or a newer one.
func (c *calendars) find(id ids.Event, revision int64) (calendarFile, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f, ok := c.files[id]
	return f, ok && revision > 0 && f.revision >= revision
}

// store caches a file, unless a newer one is there.
func (c *calendars) store(id ids.Event, f calendarFile) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.files == nil || len(c.files) >= maxCalendars {
		c.files = map[ids.Event]calendarFile{}
	}
	if c.files[id].revision < f.revision {
		c.files[id] = f
	}
}

// sequenceOf returns the revision of the event that a calendar file is of, or 0.
func sequenceOf(file []byte) int64 {
	_, rest, _ := bytes.Cut(file, []byte("\nSEQUENCE:"))
	number, _, _ := bytes.Cut(rest, []byte("\r\n"))
	revision, err := strconv.ParseInt(string(number), 10, 64)
	if err != nil {
		return 0
	}
	return revision
}

// method returns the method that a calendar file names.
func (f calendarFile) method() string {
	if bytes.Contains(f.data, []byte("\nMETHOD:CANCEL\r\n")) {
		return "CANCEL"
	}
	return "PUBLISH"
}

// calendar returns the event of a message as a calendar file, if the public may see it. That of a cancelled event takes
// the entry back.
func (s *Service) calendar(ctx context.Context, out *outgoing) ([]email.Attachment, error) {
	id, revision := out.row.EventID, int64(0)
	if out.facts.Order != nil {
		id = out.facts.Order.EventID
	}
	if out.facts.Event != nil {
		revision = out.facts.Event.Revision
	}
	file, cached := s.calendars.find(id, revision)
	if !cached {
		blob, err := rpc.Call(ctx, s.Client, api.GetCalendarFile, &api.OfferRequest{EventID: id})
		if fault.Is(err, fault.NotFound) || fault.Is(err, fault.Invalid) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		file = calendarFile{sequenceOf(blob.Data), blob.Data}
		s.calendars.store(id, file)
	}
	method := file.method()
	if out.row.Name == "event_cancelled" && method != "CANCEL" {
		return nil, fault.New(fault.Unavailable, "the event service does not know of the cancellation yet")
	}
	contentType := "text/calendar; charset=utf-8; method=" + method
	return []email.Attachment{{Name: id.String() + ".ics", ContentType: contentType, Data: file.data}}, nil
}
