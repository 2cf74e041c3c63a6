// Package closures ends all that the computer of a venue holds, when it is lost for ever.
//
// A closure is a row that is not done, and the steps that follow from it: the computer can connect no more, the doors
// of each event are the system's, each lease is closed. A step writes what it has taken in the transaction in which it
// takes it, so the report is whole whatever crashes in between, and every step may be repeated: Sweep goes on with what
// was interrupted. The computer is cut off first, so that nothing of it comes in between.
package closures

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/text"
	"github.com/starlightsymphony/starlight/svc/ticketing/doors"
	"github.com/starlightsymphony/starlight/svc/ticketing/leases"
)

const (
	// SweepEvery is how often closures are looked for that were interrupted.
	SweepEvery = 5 * time.Second

	// overdue is how old a closure is that no request is working on any more.
	overdue = 30 * time.Second

	maxReason = 200 // characters
)

// Closures are those of a database.
type Closures struct {
	db     *store.DB
	client *rpc.Client
	doors  *doors.Doors
	leases *leases.Leases
	log    *slog.Logger
	now    func() time.Time
}

// New returns the closures.
func New(
	db *store.DB, client *rpc.Client, doors *doors.Doors, leases *leases.Leases, log *slog.Logger,
	now func() time.Time,
) *Closures {
	return &Closures{db: db, client: client, doors: doors, leases: leases, log: log, now: now}
}

// Register binds the endpoints.
func (c *Closures) Register(srv *rpc.Server) {
	rpc.Handle(srv, api.CloseVenue, func(ctx context.Context, req *api.NewVenueClosure) (*api.VenueClosure, error) {
		return c.close(ctx, req.VenueID, req.Reason)
	})
	rpc.Handle(srv, line.CloseVenue, func(ctx context.Context, req *line.Close) (*api.VenueClosure, error) {
		return c.close(ctx, req.VenueID, req.Reason)
	})
	rpc.Handle(srv, api.ListVenueClosures, c.list)
}

// close begins a closure of a venue, or takes the one that is not done, and goes through with it. A venue that has had
// nothing since its last one is answered with that.
func (c *Closures) close(ctx context.Context, venue ids.Venue, reason string) (*api.VenueClosure, error) {
	reason = text.Clean(reason)
	var check fault.Check
	text.CheckLine(&check, "reason", reason, 1, maxReason)
	if err := check.Err(); err != nil {
		return nil, err
	}
	if _, err := rpc.Call(ctx, c.client, line.FindVenue, &line.VenueRef{VenueID: venue}); err != nil {
		return nil, err
	}
	now := store.Time(c.now())
	id := ids.New[ids.ClosureKind](now)
	if scope, key, hash, keyed := rpc.Answer(ctx); keyed { // the same again is the same closure, also when it is done
		id = ids.Derive[ids.ClosureKind](scope, key, hash)
	}
	row, over, err := c.last(ctx, venue)
	if err == nil && !over {
		row, err = c.begin(ctx, Row{ID: id, VenueID: venue, Reason: reason, CreatedBy: rpc.Caller(ctx).User,
			CreatedAt: now})
	}
	if err != nil {
		return nil, err
	}
	if over {
		err = c.cutOffAgain(ctx, row)
	} else {
		err = c.finish(ctx, row)
	}
	if errors.Is(err, rpc.ErrDuplicateAnswer) { // another request with the key was faster
		return nil, err
	}
	if err != nil {
		c.log.WarnContext(ctx, "the closure of a venue is not done, and goes on by itself", "venue", venue,
			"closure", row.ID, "error", err)
	}
	return c.report(ctx, c.db.Read(), row.ID)
}

// finish takes all steps of a closure that are left.
func (c *Closures) finish(ctx context.Context, row Row) error {
	if row.DoneAt != nil {
		return nil
	}
	ctx = as(ctx, row)
	if row.Access == "" {
		got, err := rpc.Call(ctx, c.client, line.WithdrawVenue, &line.VenueRef{VenueID: row.VenueID})
		if err != nil {
			return err
		}
		if err := c.cutOff(ctx, row, got.Access); err != nil {
			return err
		}
	}
	events, err := c.doors.Held(ctx, row.VenueID)
	if err != nil {
		return err
	}
	for _, event := range events {
		err := c.doors.Lose(ctx, event, row.VenueID, func(ctx context.Context, tx bun.Tx, had doors.Lost) error {
			return keepDoors(ctx, tx, row.ID, event, had)
		})
		if err != nil {
			return err
		}
	}
	list, err := c.leases.Unclosed(ctx, row.VenueID)
	if err != nil {
		return err
	}
	for _, id := range list {
		err := c.leases.Lose(ctx, id, func(ctx context.Context, tx bun.Tx, l *leases.Row) error {
			return keepLease(ctx, tx, row.ID, l)
		})
		if err != nil {
			return err
		}
	}
	if err := c.done(ctx, row.ID); err != nil {
		return err
	}
	c.log.WarnContext(ctx, "a venue was closed that is lost for ever", "venue", row.VenueID, "closure", row.ID,
		"by", row.CreatedBy, "doors", len(events), "leases", len(list))
	return nil
}

// last returns the last closure of a venue, and whether there is nothing to close: it is done, the venue has got
// neither doors nor leases since, and no computer of it was heard of.
func (c *Closures) last(ctx context.Context, venue ids.Venue) (row Row, over bool, err error) {
	row, over, err = c.silent(ctx, venue)
	if err != nil || !over {
		return row, false, err
	}
	events, err := c.doors.Held(ctx, venue)
	if err != nil {
		return row, false, err
	}
	list, err := c.leases.Unclosed(ctx, venue)
	return row, len(events)+len(list) == 0, err
}

// cutOffAgain ends the credentials that were made since a closure was done: there is nothing else to end. The report
// is kept as the answer to this request, too.
func (c *Closures) cutOffAgain(ctx context.Context, row Row) error {
	if _, err := rpc.Call(ctx, c.client, line.WithdrawVenue, &line.VenueRef{VenueID: row.VenueID}); err != nil {
		return err
	}
	return c.done(ctx, row.ID)
}

// as returns the context of the person who began a closure, for what follows from it: the audit log names them, also
// when another instance goes on.
func as(ctx context.Context, row Row) context.Context {
	m := *rpc.From(ctx)
	if m.Endpoint == "" {
		m.Endpoint = api.CloseVenue.Service + "." + api.CloseVenue.Name
		m.Principal.User = row.CreatedBy
	}
	return rpc.WithMeta(ctx, m)
}

// Sweep goes on with closures that were interrupted.
func (c *Closures) Sweep(ctx context.Context) error {
	rows, err := c.open(ctx, store.Time(c.now().Add(-overdue)))
	if err != nil {
		return err
	}
	for _, row := range rows {
		if err := c.finish(ctx, row); err != nil {
			return err
		}
	}
	return nil
}
