// Package audit keeps the audit log: it puts the lines that the services write into one chain, each sealed by the hash
// of the one before, and shows them. Settings are followed in their bucket, so that also those have a line that were
// written with the nats tool.
package audit

import (
	"context"
	"embed"
	"io/fs"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/run"
	"github.com/starlightsymphony/starlight/shared/settings"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/stream"
)

//go:embed migrations
var migrations embed.FS

// Migrations returns the SQL files of the service's database.
func Migrations() fs.FS { return migrations }

// Consumer is the durable consumer of the lines.
const Consumer = "audit"

// Deps is what the service runs on.
type Deps struct {
	DB      *store.DB
	JS      jetstream.JetStream
	Client  *rpc.Client
	Live    *settings.Live
	Log     *slog.Logger
	Metrics *observe.Registry
	Now     func() time.Time
}

// Service is one instance of the audit service.
type Service struct {
	Deps
	log    log
	number *observe.Gauge
	owners owners
}

// New returns the service. It runs nothing in the background.
func New(d Deps) *Service {
	return &Service{Deps: d, log: log{d.DB}, number: d.Metrics.Gauge("starlight_audit_lines",
		"The number of the last line of the audit log.")}
}

// Register binds the endpoints.
func (s *Service) Register(srv *rpc.Server) {
	rpc.Handle(srv, api.ListAuditLog, s.list)
	rpc.Handle(srv, api.ListEventAuditLog, s.listEvent)
	rpc.Handle(srv, api.ListOrganizerAuditLog, s.listOrganizer)
	rpc.HandleParts(srv, api.GetOrganizerAuditCSV, s.exportOrganizer)
}

// How often the end of the chain is logged, and old lines are deleted.
const (
	sayEvery    = time.Hour
	deleteEvery = time.Hour
)

// Run follows what the services write, until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	work := run.NewGroup(s.Log)
	// A line is never given up: what it needs will come back, and what cannot be read at all is a dead letter.
	const forever = 1_000_000
	work.Go("lines", func(ctx context.Context) error {
		return stream.Consume(ctx, s.JS, stream.Consumer{Stream: api.AuditStream, Durable: Consumer,
			Filters: []string{api.AuditLines}, Concurrency: 16, MaxDeliver: forever, Log: s.Log,
			Registry: s.Metrics}, s.add)
	})
	work.Go("settings", s.followSettings)
	work.Every(run.Loop{Name: "organizers of lines", Interval: assignEvery, Do: s.assignRest})
	work.Every(run.Loop{Name: "head of the audit log", Interval: sayEvery, Do: s.sayHead})
	work.Every(run.Loop{Name: "old lines of the audit log", Interval: deleteEvery, Jitter: time.Minute,
		Do: s.deleteOld})
	return work.Run(ctx)
}

// add puts a line into the chain.
func (s *Service) add(ctx context.Context, m stream.Msg) error {
	r, err := newRow(m.Data)
	if err != nil || r.ID == "" {
		return fault.Wrap(err, fault.Invalid, "message %s on %s is no line of the audit log", m.ID, m.Subject)
	}
	s.assign(ctx, &r)
	return s.log.append(ctx, r)
}

// sayHead logs the end of the chain. Whoever keeps the logs elsewhere can prove by it that nothing before was changed.
func (s *Service) sayHead(ctx context.Context) error {
	h, err := readHead(ctx, s.DB.Read())
	if err != nil {
		return err
	}
	s.number.Set(float64(h.Number))
	s.Log.InfoContext(ctx, "the audit log up to here", "number", h.Number, "hash", h.Hash)
	return nil
}

func (s *Service) list(ctx context.Context, req *api.AuditQuery) (*api.List[api.AuditEntry], error) {
	return s.page(ctx, filter{user: req.User, act: req.Act, object: req.Object, event: req.Event}, req.From, req.To,
		req.Page)
}

// listEvent leaves out where others did something from.
func (s *Service) listEvent(ctx context.Context, req *api.EventAuditQuery) (*api.List[api.AuditEntry], error) {
	offer, err := rpc.Call(ctx, s.Client, api.GetOffer, &api.OfferRequest{EventID: req.ID})
	if err != nil {
		return nil, err
	}
	caller := rpc.Caller(ctx)
	if err := offer.Require(caller, api.MayManageTeam); err != nil {
		return nil, err
	}
	list, err := s.page(ctx, filter{user: req.User, act: req.Act, event: string(req.ID)}, req.From, req.To, req.Page)
	if err != nil {
		return nil, err
	}
	for i := range list.Items {
		hide(&list.Items[i], caller)
	}
	return list, nil
}

// hide leaves out where others did something from, unless an administrator asks.
func hide(e *api.AuditEntry, caller rpc.Principal) {
	if by := &e.By; by.UserID != caller.User && !caller.Admin() {
		by.SessionID, by.Address, by.Device, by.RequestID = "", "", "", ""
	}
}

// page answers a list.
func (s *Service) page(ctx context.Context, f filter, from, to string, page api.Page,
) (*api.List[api.AuditEntry], error) {
	limit, err := store.Limit(page.Limit)
	if err != nil {
		return nil, err
	}
	f.limit = limit + 1
	var check fault.Check
	_, err = ids.Parse[ids.UserKind](f.user)
	if err != nil {
		_, err = ids.Parse[ids.KeyKind](f.user)
	}
	check.Field(f.user == "" || err == nil, "user", "must be the id of a person or of an API key")
	_, err = ids.Parse[ids.EventKind](f.event)
	check.Field(f.event == "" || err == nil, "event", "must be the id of an event")
	f.from, f.to = moment(&check, "from", from), moment(&check, "to", to)
	if err := check.Err(); err != nil {
		return nil, err
	}
	key, err := store.DecodeCursor(page.Cursor, 1)
	if err == nil && key != nil {
		if f.before, err = strconv.ParseInt(key[0], 10, 64); err != nil || f.before < 1 {
			err = fault.New(fault.Invalid, "the cursor is not one that a list returned")
		}
	}
	if err != nil {
		return nil, err
	}
	rows, err := s.log.list(ctx, f)
	if err != nil {
		return nil, err
	}
	out := &api.List[api.AuditEntry]{Items: []api.AuditEntry{}}
	if len(rows) > limit {
		rows = rows[:limit]
		out.NextCursor = store.EncodeCursor(strconv.FormatInt(rows[limit-1].Number, 10))
	}
	for _, r := range rows {
		entry, err := r.entry()
		if err != nil {
			return nil, err
		}
		out.Items = append(out.Items, entry)
	}
	return out, nil
}

// moment reads a time of a query; "" is none.
func moment(check *fault.Check, field, text string) time.Time {
	if text == "" {
		return time.Time{}
	}
	at, err := time.Parse(time.RFC3339, strings.ToUpper(text))
	check.Field(err == nil, field, "must be a time like 2026-01-31T18:00:00Z")
	return store.Time(at)
}
