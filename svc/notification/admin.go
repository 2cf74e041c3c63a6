package notification

import (
	"context"
	"slices"
	"strconv"
	"time"

	"golang.org/x/text/language"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/stream"
)

func (s *Service) listTemplates(context.Context, *rpc.None) (*api.List[api.Template], error) {
	list := &api.List[api.Template]{}
	var tongues []string
	for _, tag := range languages() {
		tongues = append(tongues, tag.String())
	}
	for _, l := range letters() {
		list.Items = append(list.Items, api.Template{Name: l.name, Kind: l.kind, Transactional: transactional(l.kind), Languages: tongues})
	}
	return list, nil
}

// preview fills a message with an example.
func (s *Service) preview(_ context.Context, req *api.PreviewOf) (*api.Preview, error) {
	l, ok := s.texts.letters[req.Name]
	if !ok {
		return nil, fault.New(fault.NotFound, "there is no such template")
	}
	if req.Language == "" {
		req.Language = languages()[0].String()
	}
	var check fault.Check
	known := slices.ContainsFunc(languages(), func(t language.Tag) bool { return t.String() == req.Language })
	check.Field(known, "language", "must be one that the list of templates names")
	if err := check.Err(); err != nil {
		return nil, err
	}
	return example(s.texts, l, req.Language, s.PublicURL)
}

// example is a message about a concert that is not.
func example(c *catalogue, l letter, lang, base string) (*api.Preview, error) {
	start := time.Date(2030, 5, 17, 18, 0, 0, 0, time.UTC)
	event := ids.Derive[ids.EventKind]("example")
	f := facts{
		Event: &eventFacts{ID: event, Name: "Starlight & Strings", StartsAt: start, EndsAt: start.Add(3 * time.Hour), Timezone: "Europe/Berlin", Place: "Philharmonie, Berlin, DE"},
		Hours: 24,
	}
	price := api.Money{Amount: 4200, Currency: "EUR"}
	switch l.name {
	case "welcome", "password_reset", "password_changed":
		f.Event = nil
	case "order_paid", "order_expired", "order_cancelled":
		f.Order = &api.Order{ID: ids.Derive[ids.OrderKind]("example"), EventID: event, Total: api.Money{Amount: 8400, Currency: "EUR"},
			Items: []api.OrderItem{{Name: "Balcony", Quantity: 2, UnitPrice: price}}}
	case "order_refunded", "payment_failed":
		f.OrderID, f.Amount, f.Code = ids.Derive[ids.OrderKind]("example"), &price, api.FailureDeclined
		if l.name == "order_refunded" {
			f.Code = api.RefundSoldOut
		}
	case "ticket_received":
		f.Ticket = ids.Derive[ids.TicketKind]("example")
	case "event_changed":
		was := *f.Event
		was.StartsAt, was.EndsAt, was.Place = start.Add(-time.Hour), start.Add(2*time.Hour), "Waldbühne, Berlin, DE"
		f.Was = &was
	case "event_cancelled":
		f.Reason = "The soloist is ill."
	case "announcement":
		f.Subject, f.Text = "Doors open early", "Come from six.\n\nThere is <music> in the foyer."
	}
	v := c.view(lang, "Ada Lovelace", f)
	v.Token, v.Until = "example-token", c.zones.moment(lang, start, "Europe/Berlin")
	to := links{action: l.link(base, f)}
	if !transactional(l.kind) {
		to.unsubscribe = base + "/v1/unsubscribe?token=example"
	}
	text, err := c.write(lang, l.name, v, f, to)
	if err != nil {
		return nil, err
	}
	_, short, err := c.headline(lang, l.name, v)
	return &api.Preview{Name: l.name, Language: lang, Subject: text.subject, Short: short, Text: text.text, HTML: text.html}, err
}

const mostPayloadShown = 4 << 10 // bytes

// listDead returns dead letters of all consumers.
func (s *Service) listDead(ctx context.Context, req *api.Page) (*api.List[api.DeadLetter], error) {
	limit, err := store.Limit(req.Limit)
	if err != nil {
		return nil, err
	}
	key, err := store.DecodeCursor(req.Cursor, 1)
	if err != nil {
		return nil, err
	}
	var after uint64
	if key != nil {
		if after, err = strconv.ParseUint(key[0], 10, 64); err != nil {
			return nil, fault.New(fault.Invalid, "the cursor is not one that a list returned")
		}
	}
	found, err := stream.DeadLetters(ctx, s.JS, after, limit+1)
	if err != nil {
		return nil, err
	}
	list := &api.List[api.DeadLetter]{Items: []api.DeadLetter{}}
	if len(found) > limit {
		found = found[:limit]
		list.NextCursor = store.EncodeCursor(strconv.FormatUint(found[limit-1].Sequence, 10))
	}
	for _, l := range found {
		list.Items = append(list.Items, api.DeadLetter{ID: strconv.FormatUint(l.Sequence, 10), Consumer: l.Consumer, Stream: l.Stream, Subject: l.Subject,
			MessageID: l.ID, Reason: l.Reason, RequestID: l.Header.Get(rpc.HeaderRequestID), Payload: string(l.Data[:min(len(l.Data), mostPayloadShown)]), At: l.Time.UTC()})
	}
	return list, nil
}

// replay hands a dead letter out again.
func (s *Service) replay(ctx context.Context, req *api.DeadLetterRef) (*rpc.None, error) {
	sequence, err := strconv.ParseUint(req.ID, 10, 64)
	if err != nil || sequence == 0 {
		return nil, fault.New(fault.NotFound, "there is no such dead letter")
	}
	return nil, stream.Replay(ctx, s.JS, sequence)
}
