package organizer

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/auditlog"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/stream"
)

// Columns are SQL for the team of the organizer whose id is the value of %s, for TeamRow.
const columns = `(SELECT team_revision FROM organizers WHERE id = %s) AS team_revision,
	(SELECT selling FROM organizers WHERE id = %s) AS team_selling,
	COALESCE((SELECT string_agg(user_id || ' ' || role, ',') FROM organizer_members WHERE organizer_id = %s), '')
		AS members,
	COALESCE((SELECT string_agg(name || ' ' || permissions, ',') FROM organizer_roles WHERE organizer_id = %s), '')
		AS roles`

// Columns returns SQL for a TeamRow of the organizer whose id is the value of an expression.
func Columns(id string) string { return strings.ReplaceAll(columns, "%s", id) }

// TeamRow is a team as Columns reads it, as of one moment.
type TeamRow struct {
	TeamRevision int64  `bun:",scanonly,nullzero"`
	Members      string `bun:",scanonly"` // user and role of each: "usr_1 owner,usr_2 door"
	Roles        string `bun:",scanonly"` // name and permissions of each: "box event.read door.sell"

	TeamSelling api.Selling `bun:",scanonly,type:text"` // on which it sells
}

// Team returns the team, sorted.
func (r TeamRow) Team(id ids.Organizer) api.OrganizerTeam {
	t := api.OrganizerTeam{ID: id, Revision: r.TeamRevision, Members: Members(r.Members), Selling: r.TeamSelling}
	for one := range split(r.Roles) {
		name, list, _ := strings.Cut(one, " ")
		role := api.Role{Name: name}
		for _, p := range strings.Fields(list) {
			role.Permissions = append(role.Permissions, api.Permission(p))
		}
		t.Roles = append(t.Roles, role)
	}
	slices.SortFunc(t.Roles, func(a, b api.Role) int { return cmp.Compare(a.Name, b.Name) })
	return t
}

// Members reads user and role of each, and sorts them.
func Members(text string) []api.TeamMember {
	members := []api.TeamMember{}
	for one := range split(text) {
		user, role, _ := strings.Cut(one, " ")
		members = append(members, api.TeamMember{UserID: ids.User(user), Role: role})
	}
	slices.SortFunc(members, func(a, b api.TeamMember) int { return cmp.Compare(a.UserID, b.UserID) })
	return members
}

func split(text string) func(func(string) bool) {
	if text == "" {
		return func(func(string) bool) {}
	}
	return strings.SplitSeq(text, ",")
}

// Team returns who may do what for an organizer, or a NotFound fault.
func Team(ctx context.Context, db bun.IDB, id ids.Organizer) (*api.OrganizerTeam, error) {
	var row TeamRow
	if err := db.NewRaw("SELECT "+Columns("?0"), id).Scan(ctx, &row); err != nil {
		return nil, err
	}
	if row.TeamRevision == 0 {
		return nil, errNoOrganizer()
	}
	t := row.Team(id)
	return &t, nil
}

func errNoOrganizer() error { return fault.New(fault.NotFound, api.NoSuchOrganizer) }

// errUnchanged is returned by an edit that finds the team as it is to be.
var errUnchanged = errors.New("organizer: it is already so")

// change edits the team of an organizer in one transaction, in which no other change of it can be made. The edit
// changes next, or returns a fault, or errUnchanged. Who has lost rights by it is published with it.
func (s *Organizers) change(
	ctx context.Context, id ids.Organizer,
	edit func(ctx context.Context, tx bun.Tx, next *api.OrganizerTeam) error,
) (*api.OrganizerTeam, error) {
	var next *api.OrganizerTeam
	err := s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		// Who has changed the row has it alone until the end.
		if _, err := tx.ExecContext(ctx, "UPDATE organizers SET team_revision = team_revision + 1 WHERE id = ?",
			id); err != nil {
			return err
		}
		before, err := Team(ctx, tx, id)
		if err != nil {
			return err
		}
		next = &api.OrganizerTeam{ID: id, Revision: before.Revision, Members: slices.Clone(before.Members),
			Roles: slices.Clone(before.Roles), Selling: before.Selling}
		if err := edit(ctx, tx, next); err != nil {
			return err
		}
		if err := publish(ctx, tx, before, next); err != nil {
			return err
		}
		act := auditlog.Act{At: s.now(), Object: id.String(), Before: before, After: next}
		if rpc.From(ctx).Endpoint == "" { // whoever was invited has confirmed the address
			act.Act = "event.join_organizer"
		}
		return auditlog.Add(ctx, tx, "event", act)
	})
	if errors.Is(err, errUnchanged) {
		err = nil
	}
	return next, err
}

// publish writes what differs, and what has become of it to the outbox.
func publish(ctx context.Context, tx bun.Tx, before, next *api.OrganizerTeam) error {
	if err := writeMembers(ctx, tx, before, next); err != nil {
		return err
	}
	if err := writeRoles(ctx, tx, before, next); err != nil {
		return err
	}
	lost, err := lostBy(ctx, tx, before, next)
	if err != nil {
		return err
	}
	return stream.Add(ctx, tx, api.OrganizerTeamChanged.Subject, api.OrganizerChange{Team: *next, Lost: lost})
}

func writeMembers(ctx context.Context, tx bun.Tx, before, next *api.OrganizerTeam) error {
	for _, m := range before.Members {
		if next.RoleOf(m.UserID) != "" {
			continue
		}
		if _, err := tx.ExecContext(ctx,
			"DELETE FROM organizer_members WHERE organizer_id = ? AND user_id = ?", next.ID, m.UserID); err != nil {
			return err
		}
	}
	for _, m := range next.Members {
		if before.RoleOf(m.UserID) == m.Role {
			continue
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO organizer_members (organizer_id, user_id, role) VALUES (?, ?, ?)
			ON CONFLICT (organizer_id, user_id) DO UPDATE SET role = excluded.role`, next.ID, m.UserID, m.Role)
		if err != nil {
			return err
		}
	}
	return nil
}

func writeRoles(ctx context.Context, tx bun.Tx, before, next *api.OrganizerTeam) error {
	for _, r := range before.Roles {
		if next.Permissions(r.Name) != nil {
			continue
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM organizer_roles WHERE organizer_id = ? AND name = ?", next.ID,
			r.Name); err != nil {
			return err
		}
	}
	for _, r := range next.Roles {
		if slices.Equal(before.Permissions(r.Name), r.Permissions) {
			continue
		}
		var list []string
		for _, p := range r.Permissions {
			list = append(list, string(p))
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO organizer_roles (organizer_id, name, permissions) VALUES (?, ?, ?)
			ON CONFLICT (organizer_id, name) DO UPDATE SET permissions = excluded.permissions`, next.ID, r.Name,
			strings.Join(list, " "))
		if err != nil {
			return err
		}
	}
	return nil
}

// lostBy returns who may do less than before: members, and people in the teams of single events.
func lostBy(ctx context.Context, tx bun.Tx, before, next *api.OrganizerTeam) ([]ids.User, error) {
	var lost []ids.User
	for _, m := range before.Members {
		if !covers(next.Permissions(next.RoleOf(m.UserID)), before.Permissions(m.Role)) {
			lost = append(lost, m.UserID)
		}
	}
	var fewer []string
	for _, r := range before.Roles {
		if !covers(next.Permissions(r.Name), r.Permissions) {
			fewer = append(fewer, r.Name)
		}
	}
	if len(fewer) == 0 {
		return lost, nil
	}
	var users []ids.User
	err := tx.NewRaw(`SELECT DISTINCT user_id FROM team WHERE role IN (?)
		AND event_id IN (SELECT id FROM events WHERE organizer_id = ?)`, bun.List(fewer), next.ID).Scan(ctx, &users)
	return append(lost, users...), err
}

// covers reports whether all permissions of some are among all.
func covers(all, some []api.Permission) bool {
	return !slices.ContainsFunc(some, func(p api.Permission) bool { return !slices.Contains(all, p) })
}

// make writes a new organizer with its owner, as part of a transaction. One that is there already is left alone, and
// made is false.
func (s *Organizers) make(ctx context.Context, tx bun.Tx, o api.Organizer, owner ids.User) (made bool, err error) {
	res, err := tx.NewInsert().Model(rowOf(&o)).On("CONFLICT DO NOTHING").Exec(ctx)
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	if err != nil {
		return false, err
	}
	if n == 0 {
		var there bool
		err := tx.NewRaw("SELECT EXISTS (SELECT 1 FROM organizers WHERE id = ?)", o.ID).Scan(ctx, &there)
		if err == nil && !there {
			err = errSlugTaken()
		}
		return false, err
	}
	next := &api.OrganizerTeam{ID: o.ID, Revision: 1, Selling: sellingOf(&o),
		Members: []api.TeamMember{{UserID: owner, Role: api.RoleOwner}}}
	return true, publish(ctx, tx, &api.OrganizerTeam{ID: o.ID}, next)
}

// Own makes the own organizer of a person if there is none, as part of a transaction.
func (s *Organizers) Own(ctx context.Context, tx bun.Tx, user ids.User, name string) error {
	id := api.OrganizerOf(user)
	now := store.Time(s.now())
	_, err := s.make(ctx, tx, api.Organizer{ID: id, Slug: ownSlug(id), Name: name, Revision: 1, CreatedAt: now,
		UpdatedAt: now}, user)
	return err
}
