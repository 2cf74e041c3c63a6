package user

import (
	"context"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/auditlog"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/revocation"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
)

type sessionRow struct {
	bun.BaseModel `bun:"table:sessions"`

	ID         ids.Session `bun:"id,pk"`
	UserID     ids.User    `bun:"user_id"`
	Device     string      `bun:"device"`
	Address    string      `bun:"address"`
	DeviceHash string      `bun:"device_hash"`
	CreatedAt  time.Time   `bun:"created_at"`
	LastUsedAt time.Time   `bun:"last_used_at"`
	ProvenAt   time.Time   `bun:"proven_at"` // when the person last proved who they are
	ExpiresAt  time.Time   `bun:"expires_at"`

	ProviderID     ids.IdentityProvider `bun:"provider_id"`     // through which it began, if it did
	ProviderFactor bool                 `bun:"provider_factor"` // which has asked for a second factor

	ProviderSession string `bun:"provider_session"` // sid: the session there

	VenueID ids.Venue `bun:"venue_id"` // at which it began, if it did
}

func (r *sessionRow) info(current ids.Session) api.SessionInfo {
	return api.SessionInfo{ID: r.ID, Device: r.Device, Address: r.Address, CreatedAt: r.CreatedAt.UTC(),
		LastUsedAt: r.LastUsedAt.UTC(), ExpiresAt: r.ExpiresAt.UTC(), Current: r.ID == current,
		ProviderID: r.ProviderID, VenueID: r.VenueID}
}

const noSession = "there is no such session"

// sessions lists where the caller is signed in, newest first: ids sort by age.
func (s *Service) sessions(ctx context.Context, req *api.SessionQuery) (*api.List[api.SessionInfo], error) {
	row, err := s.current(ctx)
	if err != nil {
		return nil, err
	}
	return s.sessionsOf(ctx, row.ID, req.Page)
}

// userSessions lists where a person is signed in, for administrators.
func (s *Service) userSessions(ctx context.Context, req *api.UserSessionQuery) (*api.List[api.SessionInfo], error) {
	if err := s.currentAdmin(ctx); err != nil {
		return nil, err
	}
	list, err := s.sessionsOf(ctx, req.ID, req.Page)
	if err != nil {
		return nil, err
	}
	_, err = s.byID(ctx, req.ID) // none of nobody is not none
	return list, err
}

func (s *Service) sessionsOf(ctx context.Context, id ids.User, page api.Page) (*api.List[api.SessionInfo], error) {
	limit, err := store.Limit(page.Limit)
	if err != nil {
		return nil, err
	}
	after, err := store.DecodeIDCursor[ids.SessionKind](page.Cursor)
	if err != nil {
		return nil, err
	}
	var rows []sessionRow
	query := s.db.Read().NewSelect().Model(&rows).Where("user_id = ? AND expires_at > ?", id, s.now()).
		OrderExpr("id DESC").Limit(int64(limit + 1))
	if after != "" {
		query = query.Where("id < ?", after)
	}
	if err := query.Scan(ctx); err != nil {
		return nil, store.OrNotFound(err, noSession)
	}
	out := &api.List[api.SessionInfo]{Items: []api.SessionInfo{}}
	if len(rows) > limit {
		rows = rows[:limit]
		out.NextCursor = store.EncodeCursor(rows[limit-1].ID.String())
	}
	for _, r := range rows {
		out.Items = append(out.Items, r.info(rpc.Caller(ctx).Session))
	}
	return out, nil
}

// endOne ends one session of the caller.
func (s *Service) endOne(ctx context.Context, req *api.SessionRef) (*rpc.None, error) {
	row, err := s.current(ctx)
	if err != nil {
		return nil, err
	}
	runs := 0
	return nil, s.revoking(ctx, func(ctx context.Context, tx bun.Tx) ([]revocation.Fact, error) {
		res, err := tx.ExecContext(ctx, "DELETE FROM sessions WHERE id = ? AND user_id = ?", req.ID, row.ID)
		if err != nil {
			return nil, err
		}
		if runs++; runs > 1 { // an earlier run may have done it
			return []revocation.Fact{revocation.OfSession(req.ID)}, nil
		}
		return []revocation.Fact{revocation.OfSession(req.ID)}, changed(res, fault.New(fault.NotFound, noSession))
	})
}

// endAll ends every session of the caller, the present one too, and makes their devices unknown.
func (s *Service) endAll(ctx context.Context, _ *rpc.None) (*rpc.None, error) {
	row, err := s.current(ctx)
	if err != nil {
		return nil, err
	}
	return nil, s.endEverywhere(ctx, row.ID, nil)
}

// endUser signs a person out everywhere, for an administrator.
func (s *Service) endUser(ctx context.Context, req *api.UserRef) (*rpc.None, error) {
	if err := s.currentAdmin(ctx); err != nil {
		return nil, err
	}
	return nil, s.endEverywhere(ctx, req.ID, &auditlog.Act{At: s.now(), Object: req.ID.String()})
}

// endEverywhere ends every session of a person, and says so in the audit log if there is something to say.
func (s *Service) endEverywhere(ctx context.Context, id ids.User, said *auditlog.Act) error {
	return s.revoking(ctx, func(ctx context.Context, tx bun.Tx) ([]revocation.Fact, error) {
		row, err := s.lock(ctx, tx, id)
		if err != nil {
			return nil, err
		}
		if said != nil {
			if err := auditlog.Add(ctx, tx, "user", *said); err != nil {
				return nil, err
			}
		}
		if err := forgetDevices(ctx, tx, row.ID, ""); err != nil {
			return nil, err
		}
		if err := endSessions(ctx, tx, row.ID, ""); err != nil {
			return nil, err
		}
		if err := endChallenges(ctx, tx, row.ID); err != nil {
			return nil, err
		}
		ended, err := renew(ctx, tx, &row, "")
		return []revocation.Fact{ended}, err
	})
}

// session answers what a notice says of a session. One that has ended is NotFound.
func (s *Service) session(ctx context.Context, req *api.GetSession) (*api.SessionInfo, error) {
	var row sessionRow
	err := s.db.Read().NewRaw("SELECT * FROM sessions WHERE id = ?", req.SessionID).Scan(ctx, &row)
	if err != nil {
		return nil, store.OrNotFound(err, noSession)
	}
	info := row.info("")
	return &info, nil
}
