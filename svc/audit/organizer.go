package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/sheet"
	"github.com/starlightsymphony/starlight/shared/store"
)

// A line about an event is in the log of the organizer that the event belonged to. The event service writes which one
// into its own lines; for those of others it is asked. A line does not wait for the answer: assignRest makes up for it.
const (
	nobody      = "-" // the organizer of a line that is about none
	assignEvery = 15 * time.Second
	assignPage  = 200
	ownerKnown  = 5 * time.Second
	mostOwners  = 10_000
)

// organizerOf returns what a line itself says of its organizer: "" if it is about an event of which it does not.
func organizerOf(l *api.AuditLine) string {
	switch {
	case l.OrganizerID != "":
		return l.OrganizerID.String()
	case strings.HasPrefix(l.Object, "org_"):
		return l.Object
	case l.EventID != "":
		return ""
	}
	return nobody
}

// owners are the organizers of events, as they were a moment ago.
type owners struct {
	mu sync.Mutex
	by map[ids.Event]owner
}

type owner struct {
	id    string
	until time.Time
}

func (o *owners) get(event ids.Event, now time.Time) (string, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	known, ok := o.by[event]
	return known.id, ok && now.Before(known.until)
}

func (o *owners) set(event ids.Event, id string, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.by == nil || len(o.by) >= mostOwners {
		o.by = map[ids.Event]owner{}
	}
	o.by[event] = owner{id, now.Add(ownerKnown)}
}

// assign finds out whose log has a line, if it can be known now.
func (s *Service) assign(ctx context.Context, r *row) {
	if r.OrganizerID == "" {
		r.OrganizerID, _ = s.ownerOf(ctx, r.EventID) // assignRest asks again
	} else if r.EventID != "" {
		s.owners.set(r.EventID, r.OrganizerID, s.Now())
	}
}

func (s *Service) ownerOf(ctx context.Context, event ids.Event) (string, error) {
	if id, ok := s.owners.get(event, s.Now()); ok {
		return id, nil
	}
	offer, err := rpc.Call(ctx, s.Client, api.GetOffer, &api.OfferRequest{EventID: event})
	id := nobody
	switch {
	case err == nil:
		id = offer.Event.OrganizerID.String()
	case !fault.Is(err, fault.NotFound):
		return "", err
	}
	s.owners.set(event, id, s.Now())
	return id, nil
}

// assignRest finds out whose log has the lines of which it could not be known when they came.
func (s *Service) assignRest(ctx context.Context) error {
	for {
		var events []ids.Event
		err := s.DB.Read().NewRaw("SELECT event_id FROM lines WHERE organizer_id = '' ORDER BY number LIMIT ?",
			assignPage).Scan(ctx, &events)
		if err != nil || len(events) == 0 {
			return store.FaultOf(ctx, err)
		}
		done := map[ids.Event]bool{}
		for _, event := range events {
			if done[event] {
				continue
			}
			done[event] = true
			id, err := s.ownerOf(ctx, event)
			if err != nil {
				return err
			}
			if err := s.log.assign(ctx, event, id); err != nil {
				return err
			}
		}
	}
}

// assign says whose log has the lines of an event of which it is not known. What a line says is not touched.
func (l log) assign(ctx context.Context, event ids.Event, id string) error {
	return l.db.TxRepeatable(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE lines SET organizer_id = ? WHERE organizer_id = '' AND event_id = ?", id,
			event)
		return err
	})
}

// mayReadOf returns nil if the caller may read the log of an organizer.
func (s *Service) mayReadOf(ctx context.Context, id ids.Organizer) error {
	team, err := rpc.Call(ctx, s.Client, api.GetOrganizerTeam, &api.OfOrganizer{OrganizerID: id})
	if err != nil {
		return err
	}
	return team.Require(rpc.Caller(ctx), api.MayManageMembers)
}

func (s *Service) listOrganizer(ctx context.Context, req *api.OrganizerAuditQuery,
) (*api.List[api.AuditEntry], error) {
	if err := s.mayReadOf(ctx, req.ID); err != nil {
		return nil, err
	}
	list, err := s.page(ctx, filter{user: req.User, act: req.Act, event: req.Event, organizer: req.ID.String()},
		req.From, req.To, req.Page)
	if err != nil {
		return nil, err
	}
	for i := range list.Items {
		hide(&list.Items[i], rpc.Caller(ctx))
	}
	return list, nil
}

// exportLines is how many lines are looked at for one part of an export, exportBytes how long a part may be.
const (
	exportLines = 500
	exportBytes = 512 << 10
)

// exportOrganizer returns the lines that follow on a number, which names the part.
func (s *Service) exportOrganizer(ctx context.Context, req *api.OrganizerAuditExport, at string) (rpc.Part, error) {
	part := rpc.Part{ContentType: sheet.TypeCSV, Filename: "audit-log.csv"}
	if err := s.mayReadOf(ctx, req.ID); err != nil {
		return part, err
	}
	var check fault.Check
	f := filter{organizer: req.ID.String(), from: moment(&check, "from", req.From), to: moment(&check, "to", req.To),
		ascending: true, limit: exportLines}
	if err := check.Err(); err != nil {
		return part, err
	}
	var cells [][]string
	if at == "" {
		cells = append(cells, Header())
	} else if _, err := fmt.Sscan(at, &f.after); err != nil {
		return part, fault.New(fault.Invalid, "no part of an export has this name")
	}
	rows, err := s.log.list(ctx, f)
	if err != nil {
		return part, err
	}
	size := 0
	for i, r := range rows {
		e, err := r.entry()
		if err != nil {
			return part, err
		}
		hide(&e, rpc.Caller(ctx))
		cells = append(cells, Cells(&e))
		if size += 2 * len(r.Data); size > exportBytes || i == exportLines-1 {
			part.Next = strconv.FormatInt(r.Number, 10)
			break
		}
	}
	part.Body, err = sheet.Lines(cells)
	return part, err
}

// Header returns the names of the columns that Cells fills.
func Header() []string {
	return []string{"number", "id", "at", "act", "object", "event_id", "refused", "user_id", "session_id", "key_id",
		"service", "address", "request_id", "device", "before", "after", "hash"}
}

// Cells returns a line of the log as a row of a table.
func Cells(e *api.AuditEntry) []string {
	object := func(m map[string]json.RawMessage) string {
		if m == nil {
			return ""
		}
		text, err := json.Marshal(m)
		if err != nil { // it was decoded from such a text
			return ""
		}
		return string(text)
	}
	by := e.By
	return []string{strconv.FormatInt(e.Number, 10), e.ID.String(), e.At.Format(time.RFC3339Nano), e.Act, e.Object,
		e.EventID.String(), strconv.FormatBool(e.Refused), by.UserID.String(), by.SessionID.String(), by.KeyID.String(),
		by.Service, by.Address, by.RequestID, by.Device, object(e.Before), object(e.After), e.Hash}
}
