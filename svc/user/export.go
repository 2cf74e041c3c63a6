package user

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// partSize is how much a part of an export holds before it is sent. With one more page, which has at most 512 KiB, it
// fits into a message.
const partSize = 128 << 10

// section is a list in an export.
type section struct {
	name string
	page func(ctx context.Context, user ids.User, cursor string) (page, error)
}

// page is a piece of a section.
type page struct {
	items any // a slice
	next  string
	done  bool // it was the last one; next is where the section after it begins
}

// pageOf returns a page of a list of another service.
func pageOf[T any](list *api.List[T], err error) (page, error) {
	if err != nil {
		return page{}, err
	}
	return page{items: list.Items, next: list.NextCursor, done: list.NextCursor == ""}, nil
}

// sections returns the lists of an export in their order.
func (s *Service) sections() []section {
	return []section{
		{"sessions", s.exportSessions},
		{"events", func(ctx context.Context, user ids.User, cursor string) (page, error) {
			return pageOf(rpc.Call(ctx, s.client, api.ExportEvents, &api.PersonRef{UserID: user, Cursor: cursor}))
		}},
		{"orders", s.exportOrders},
		{"tickets", s.exportTickets},
		{"answers", s.exportAnswers},
		{"payments", func(ctx context.Context, user ids.User, cursor string) (page, error) {
			return pageOf(rpc.Call(ctx, s.client, api.ExportPayments, &api.PersonRef{UserID: user, Cursor: cursor}))
		}},
		{"notifications", func(ctx context.Context, user ids.User, cursor string) (page, error) {
			return pageOf(rpc.Call(ctx, s.client, api.ExportMessages, &api.PersonRef{UserID: user, Cursor: cursor}))
		}},
	}
}

// export gathers what the services know about the caller, a part at a time: a person may have any number of orders,
// and a message has an end.
func (s *Service) export(ctx context.Context, _ *rpc.None, at string) (rpc.Part, error) {
	row, err := s.current(ctx)
	if err != nil {
		return rpc.Part{}, err
	}
	position, err := parsePlace(at)
	if err != nil {
		return rpc.Part{}, err
	}
	var out []byte
	if at == "" {
		if out, err = s.exportHead(ctx, &row); err != nil {
			return rpc.Part{}, err
		}
	}
	all := s.sections()
	for position.section < len(all) && len(out) < partSize {
		if out, err = position.write(ctx, out, all[position.section], row.ID); err != nil {
			return rpc.Part{}, err
		}
	}
	if position.section < len(all) {
		return rpc.Part{Body: out, Next: position.String()}, nil
	}
	return rpc.Part{Body: append(out, '}')}, nil
}

// exportHead returns the beginning of an export, an object that is still open.
func (s *Service) exportHead(ctx context.Context, row *userRow) ([]byte, error) {
	choices, err := rpc.Call(ctx, s.client, api.ExportChoices, &api.PersonRef{UserID: row.ID})
	if err != nil {
		return nil, err
	}
	head := api.Head{ExportedAt: s.now(), User: *row.user(), Preferences: choices.Preferences.Kinds,
		Email: choices.Preferences.Email, PushSubscriptions: choices.PushSubscriptions}
	if err := s.exportProofs(ctx, row.ID, &head); err != nil {
		return nil, err
	}
	text, err := json.Marshal(head)
	if err != nil {
		return nil, err
	}
	return text[:len(text)-1], nil
}

// exportProofs adds by what a person proves who they are.
func (s *Service) exportProofs(ctx context.Context, user ids.User, head *api.Head) error {
	has, err := s.factors.Count(ctx, s.db.Read(), user)
	if err != nil {
		return err
	}
	head.RecoveryCodes = has.Codes
	if head.SecondFactors, err = s.factors.List(ctx, user); err != nil {
		return err
	}
	if head.Passkeys, err = s.passkeys.List(ctx, user); err != nil {
		return err
	}
	head.Identities, err = s.federation.Identities(ctx, s.db.Read(), user)
	return err
}

// position is how far an export has come.
type position struct {
	section int
	open    bool // the section's list has begun
	items   bool // and has items
	cursor  string
}

// String returns the name of the place, by which the next part is asked for.
func (p position) String() string {
	return fmt.Sprintf("%d.%t.%t.%s", p.section, p.open, p.items, p.cursor)
}

func parsePlace(s string) (p position, err error) {
	if s == "" {
		return position{}, nil
	}
	parts := strings.SplitN(s, ".", 4)
	if len(parts) != 4 {
		return p, fault.New(fault.Invalid, "there is no such part of an export")
	}
	if p.section, err = strconv.Atoi(parts[0]); err != nil || p.section < 0 {
		return p, fault.New(fault.Invalid, "there is no such part of an export")
	}
	p.open, p.items, p.cursor = parts[1] == "true", parts[2] == "true", parts[3]
	return p, nil
}

// write appends a page of a section and goes on to what comes after it.
func (p *position) write(ctx context.Context, out []byte, sec section, user ids.User) ([]byte, error) {
	found, err := sec.page(ctx, user, p.cursor)
	if err != nil {
		return nil, err
	}
	items, err := json.Marshal(found.items)
	if err != nil {
		return nil, err
	}
	if string(items) == "null" {
		items = []byte("[]")
	}
	if !p.open {
		out = append(out, `,"`+sec.name+`":[`...)
		p.open = true
	}
	if items = items[1 : len(items)-1]; len(items) > 0 {
		if p.items {
			out = append(out, ',')
		}
		out = append(out, items...)
		p.items = true
	}
	p.cursor = found.next
	if found.done {
		out = append(out, ']')
		*p = position{section: p.section + 1, cursor: found.next}
	}
	return out, nil
}

func (s *Service) exportSessions(ctx context.Context, user ids.User, _ string) (page, error) {
	var rows []sessionRow
	err := s.db.Read().NewRaw("SELECT * FROM sessions WHERE user_id = ? AND expires_at > ? ORDER BY id DESC", user,
		s.now()).Scan(ctx, &rows)
	infos := make([]api.SessionInfo, len(rows))
	for i, r := range rows {
		infos[i] = r.info(rpc.Caller(ctx).Session)
	}
	return page{items: infos, done: true}, err
}

// exportOrders returns a page of orders. Ticketing has the tickets behind them, under the same cursor: the first page
// without orders is left to exportTickets.
func (s *Service) exportOrders(ctx context.Context, user ids.User, cursor string) (page, error) {
	r, err := rpc.Call(ctx, s.client, api.ExportPerson, &api.PersonRef{UserID: user, Cursor: cursor})
	if err != nil {
		return page{}, err
	}
	if len(r.Orders) == 0 {
		return page{items: r.Orders, next: cursor, done: true}, nil
	}
	return page{items: r.Orders, next: r.NextCursor, done: r.NextCursor == ""}, nil
}

// exportTickets is the same of tickets: the first page of answers is left to exportAnswers.
func (s *Service) exportTickets(ctx context.Context, user ids.User, cursor string) (page, error) {
	r, err := rpc.Call(ctx, s.client, api.ExportPerson, &api.PersonRef{UserID: user, Cursor: cursor})
	if err != nil {
		return page{}, err
	}
	if r.Answers != nil {
		return page{items: r.Tickets, next: cursor, done: true}, nil
	}
	return page{items: r.Tickets, next: r.NextCursor, done: r.NextCursor == ""}, nil
}

func (s *Service) exportAnswers(ctx context.Context, user ids.User, cursor string) (page, error) {
	r, err := rpc.Call(ctx, s.client, api.ExportPerson, &api.PersonRef{UserID: user, Cursor: cursor})
	if err != nil {
		return page{}, err
	}
	return page{items: r.Answers, next: r.NextCursor, done: r.NextCursor == ""}, nil
}
