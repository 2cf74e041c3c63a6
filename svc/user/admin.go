package user

import (
	"context"
	"strings"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/auditlog"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/revocation"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/text"
)

const longestQuery = 200 // characters

// list returns accounts, newest first: ids sort by age.
func (s *Service) list(ctx context.Context, req *api.ListUsersQuery) (*api.List[api.User], error) {
	if err := s.currentAdmin(ctx); err != nil {
		return nil, err
	}
	limit, err := store.Limit(req.Limit)
	if err != nil {
		return nil, err
	}
	after, err := store.DecodeIDCursor[ids.UserKind](req.Cursor)
	if err != nil {
		return nil, err
	}
	q := text.Clean(req.Q)
	var check fault.Check
	text.CheckLine(&check, "q", q, 0, longestQuery)
	if err := check.Err(); err != nil {
		return nil, err
	}
	var rows []userRow
	query := s.db.Read().NewSelect().Model(&rows).OrderExpr("id DESC").Limit(int64(limit + 1))
	if after != "" {
		query = query.Where("id < ?", after)
	}
	if id, err := ids.Parse[ids.UserKind](q); err == nil {
		query = query.Where("id = ?", id)
	} else if q != "" {
		query = query.Where(`search LIKE ? ESCAPE '\'`, "%"+escapeLike(strings.ToLower(q))+"%")
	}
	if err := query.Scan(ctx); err != nil {
		return nil, store.OrNotFound(err, noUser)
	}
	out := &api.List[api.User]{Items: []api.User{}}
	if len(rows) > limit {
		rows = rows[:limit]
		out.NextCursor = store.EncodeCursor(rows[limit-1].ID.String())
	}
	for _, row := range rows {
		out.Items = append(out.Items, *row.user())
	}
	return out, nil
}

// escapeLike makes the characters stand for themselves that LIKE takes for more.
func escapeLike(s string) string {
	return strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(s)
}

func (s *Service) get(ctx context.Context, req *api.UserRef) (*api.User, error) {
	if err := s.currentAdmin(ctx); err != nil {
		return nil, err
	}
	row, err := s.byID(ctx, req.ID)
	if err != nil {
		return nil, err
	}
	return row.user(), nil
}

func (s *Service) setRoles(ctx context.Context, req *api.SetRoles) (*api.User, error) {
	if err := s.currentAdmin(ctx); err != nil {
		return nil, err
	}
	admin := false
	var check fault.Check
	check.Field(req.Roles != nil, "roles", "must be there; [] takes all roles away")
	for _, role := range req.Roles {
		check.Field(role == rpc.RoleAdmin, "roles", "may only have %q", rpc.RoleAdmin)
		admin = true
	}
	if err := check.Err(); err != nil {
		return nil, err
	}
	var row userRow
	err := s.revoking(ctx, func(ctx context.Context, tx bun.Tx) ([]revocation.Fact, error) {
		admins, err := s.lockAdmins(ctx, tx)
		if err != nil {
			return nil, err
		}
		if row, err = s.lock(ctx, tx, req.ID); err != nil {
			return nil, err
		}
		if row.Admin == admin {
			return nil, nil
		}
		if row.Admin && len(admins) < 2 {
			return nil, errLastAdmin()
		}
		if row.Locked {
			return nil, fault.New(fault.Conflict, "the account is locked; unlock it first")
		}
		before := row.roles()
		row.Admin = admin
		row.Generation++
		if err := saveUser(ctx, tx, &row, s.now()); err != nil {
			return nil, err
		}
		if err := auditlog.Add(ctx, tx, "user", auditlog.Act{At: s.now(), Object: row.ID.String(),
			Before: map[string]any{"roles": before}, After: map[string]any{"roles": row.roles()}}); err != nil {
			return nil, err
		}
		return []revocation.Fact{revocation.OfUser(row.ID, row.Generation, "")},
			s.publish(ctx, tx, api.UserUpdated, row.ID)
	})
	if err != nil {
		return nil, err
	}
	return row.user(), nil
}

// lockUser keeps a person from signing in, and ends their sessions.
func (s *Service) lockUser(ctx context.Context, req *api.UserRef) (*api.User, error) {
	return s.setLocked(ctx, req.ID, true)
}

func (s *Service) unlockUser(ctx context.Context, req *api.UserRef) (*api.User, error) {
	return s.setLocked(ctx, req.ID, false)
}

func (s *Service) setLocked(ctx context.Context, id ids.User, locked bool) (*api.User, error) {
	if err := s.currentAdmin(ctx); err != nil {
		return nil, err
	}
	var row userRow
	err := s.revoking(ctx, func(ctx context.Context, tx bun.Tx) (facts []revocation.Fact, err error) {
		if row, err = s.lock(ctx, tx, id); err != nil || row.Locked == locked {
			return nil, err
		}
		if row.Admin {
			return nil, fault.New(fault.Conflict, "the person is an administrator; take the role away first")
		}
		row.Locked = locked
		if locked {
			row.Generation++
			facts = append(facts, revocation.OfUser(row.ID, row.Generation, ""))
			if err := endSessions(ctx, tx, row.ID, ""); err != nil {
				return nil, err
			}
		}
		if err := saveUser(ctx, tx, &row, s.now()); err != nil {
			return nil, err
		}
		if err := auditlog.Add(ctx, tx, "user", auditlog.Act{At: s.now(), Object: row.ID.String(),
			After: map[string]any{"locked": locked}}); err != nil {
			return nil, err
		}
		return facts, s.publish(ctx, tx, api.UserUpdated, row.ID)
	})
	if err != nil {
		return nil, err
	}
	return row.user(), nil
}

// locked refuses an attempt that was right, of a person whose account is locked.
func (s *Service) locked(ctx context.Context, id ids.User) error {
	s.attempted(ctx, "", id, "locked")
	return fault.New(fault.Forbidden, "this account is locked; ask those who run the system")
}

// noteAdmin writes a line of the audit log about what was done with the account of an administrator, and none about
// that of anybody else. The act is the endpoint that is being served.
func (s *Service) noteAdmin(ctx context.Context, tx bun.Tx, row *userRow, refused bool) error {
	if !row.Admin {
		return nil
	}
	return auditlog.Add(ctx, tx, "user", auditlog.Act{At: s.now(), Object: row.ID.String(), Refused: refused})
}

// noteFailure is noteAdmin for a wrong password.
func (s *Service) noteFailure(ctx context.Context, tx bun.Tx, owner ids.User) error {
	var admins []userRow
	err := tx.NewRaw("SELECT * FROM users WHERE id = ? AND admin", owner).Scan(ctx, &admins)
	for i := range admins {
		err = s.noteAdmin(ctx, tx, &admins[i], true)
	}
	return err
}

func (s *Service) find(ctx context.Context, req *api.FindUser) (*api.Contact, error) {
	account, err := parseAddress(req.Email)
	var check fault.Check
	check.Field(err == nil, "email", "%v", err)
	if err := check.Err(); err != nil {
		return nil, err
	}
	row, err := s.byAddress(ctx, account)
	if err != nil {
		return nil, err
	}
	return row.contact(), nil
}

// contacts returns how to reach people, in no order and without those who are gone.
func (s *Service) contacts(ctx context.Context, req *api.GetContactsOf) (*api.List[api.Contact], error) {
	const most = 500
	var check fault.Check
	check.Field(len(req.IDs) <= most, "ids", "must be at most %d", most)
	if err := check.Err(); err != nil {
		return nil, err
	}
	list := &api.List[api.Contact]{Items: make([]api.Contact, 0, len(req.IDs))}
	if len(req.IDs) == 0 {
		return list, nil
	}
	var rows []userRow
	const query = "SELECT * FROM users WHERE id IN (?)"
	if err := store.Select(ctx, s.db.Read(), &rows, query, store.List(req.IDs)); err != nil {
		return nil, store.OrNotFound(err, noUser)
	}
	for _, row := range rows {
		list.Items = append(list.Items, *row.contact())
	}
	return list, nil
}

func (s *Service) contact(ctx context.Context, req *api.GetContactOf) (*api.Contact, error) {
	row, err := s.byID(ctx, req.ID)
	if err != nil {
		return nil, err
	}
	return row.contact(), nil
}
