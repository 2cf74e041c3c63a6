package venue

import (
	"context"
	"encoding/hex"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/auditlog"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/opaque"
	"github.com/starlightsymphony/starlight/shared/quota"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/text"
)

// passes is the table of that name.
type passes struct {
	db   *store.DB
	made quota.Counter
}

type passRow struct {
	bun.BaseModel `bun:"table:passes"`

	ID        ids.Pass `bun:",pk"`
	EventID   ids.Event
	Name      string
	Gate      string
	Hash      string // SHA-256 of the secret, in hex
	CreatedBy ids.User
	CreatedAt time.Time
	CodeHash  string // of the code of a pairing that was not used, as Hash
	CodeUntil *time.Time
}

func (r passRow) pass() api.Pass {
	return api.Pass{ID: r.ID, EventID: r.EventID, Name: r.Name, Gate: r.Gate, CreatedBy: r.CreatedBy,
		CreatedAt: r.CreatedAt.UTC()}
}

func (s *Service) createPass(ctx context.Context, req *api.NewPass) (*api.NewPassSecret, error) {
	if err := s.requireManager(ctx, req.EventID); err != nil {
		return nil, err
	}
	name, gate := text.Clean(req.Name), text.Clean(req.Gate)
	var c fault.Check
	text.CheckLine(&c, "name", name, 1, maxGate)
	text.CheckLine(&c, "gate", gate, 0, maxGate)
	if err := c.Err(); err != nil {
		return nil, err
	}
	now := store.Time(s.now())
	secret, hash := opaque.New(line.PassPrefix)
	pairing, err := s.newPairing(now)
	if err != nil {
		return nil, err
	}
	row := passRow{ID: ids.New[ids.PassKind](now), EventID: req.EventID, Name: name, Gate: gate, Hash: hash,
		CreatedBy: rpc.Caller(ctx).User, CreatedAt: now, CodeHash: opaque.Hash(pairing.Code),
		CodeUntil: &pairing.ExpiresAt}
	if err := s.passes.insert(ctx, row); err != nil {
		return nil, err
	}
	return &api.NewPassSecret{Pass: row.pass(), Secret: secret, Pairing: *pairing}, nil
}

func (s *Service) listPasses(ctx context.Context, req *api.EventRef) (*api.List[api.Pass], error) {
	if err := s.requireManager(ctx, req.ID); err != nil {
		return nil, err
	}
	rows, err := s.passes.rows(ctx, []ids.Event{req.ID})
	if err != nil {
		return nil, err
	}
	out := &api.List[api.Pass]{Items: []api.Pass{}}
	for _, r := range rows {
		out.Items = append(out.Items, r.pass())
	}
	return out, nil
}

func (s *Service) deletePass(ctx context.Context, req *api.PassRef) (*rpc.None, error) {
	if err := s.requireManager(ctx, req.EventID); err != nil {
		return nil, err
	}
	return nil, s.passes.delete(ctx, req.EventID, req.ID)
}

// requireManager returns nil if the caller manages the event.
func (s *Service) requireManager(ctx context.Context, event ids.Event) error {
	offer, err := rpc.Call(ctx, s.client, api.GetOffer, &api.OfferRequest{EventID: event})
	if err != nil {
		return err
	}
	return offer.Require(rpc.Caller(ctx), api.MayManageTeam)
}

// insert adds a pass unless the event has as many as it may.
func (t passes) insert(ctx context.Context, row passRow) error {
	return t.db.TxRepeatable(ctx, func(ctx context.Context, tx bun.Tx) error {
		has := tx.NewRaw("SELECT count(*) FROM passes WHERE event_id = ? AND id <> ?", row.EventID, row.ID)
		if err := t.made.Room(ctx, tx, api.PassesInAll, row.EventID.String(), "passes of an event", has); err != nil {
			return err
		}
		res, err := tx.NewInsert().Model(&row).On("CONFLICT (id) DO NOTHING").Exec(ctx)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 { // an earlier run has
			return err
		}
		if err := t.made.Take(ctx, tx, api.PassesPerEvent, row.EventID.String(), "passes of an event", 1); err != nil {
			return err
		}
		return note(ctx, tx, auditlog.Act{Object: row.ID.String(), Event: row.EventID, After: row.pass()})
	})
}

func (t passes) delete(ctx context.Context, event ids.Event, id ids.Pass) error {
	return t.db.TxRepeatable(ctx, func(ctx context.Context, tx bun.Tx) error {
		res, err := tx.ExecContext(ctx, "DELETE FROM passes WHERE id = ? AND event_id = ?", id, event)
		if err != nil {
			return err
		}
		n, err := res.RowsAffected()
		if err != nil {
			return err
		}
		if n == 0 {
			return fault.New(fault.NotFound, "the event has no such pass")
		}
		return note(ctx, tx, auditlog.Act{Object: id.String(), Event: event})
	})
}

// rows returns the passes of some events, the oldest first.
func (t passes) rows(ctx context.Context, events []ids.Event) ([]passRow, error) {
	if len(events) == 0 {
		return nil, nil
	}
	var rows []passRow
	err := t.db.Read().NewSelect().Model(&rows).Where("event_id IN (?)", bun.List(events)).
		Order("event_id", "created_at", "id").Scan(ctx)
	return rows, store.FaultOf(ctx, err)
}

// of returns the passes of some events as an edge needs them.
func (t passes) of(ctx context.Context, events []ids.Event) (map[ids.Event][]line.Pass, error) {
	rows, err := t.rows(ctx, events)
	if err != nil {
		return nil, err
	}
	out := make(map[ids.Event][]line.Pass, len(events))
	for _, id := range events {
		out[id] = []line.Pass{}
	}
	for _, r := range rows {
		hash, err := hex.DecodeString(r.Hash)
		if err != nil {
			return nil, fault.Wrap(err, fault.Internal, "the hash of pass %s is not readable", r.ID)
		}
		out[r.EventID] = append(out[r.EventID], line.Pass{ID: r.ID, Hash: hash, Name: r.Name, Gate: r.Gate})
	}
	return out, nil
}
