package event

import (
	"context"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/store"
)

// exportRows is how many events an export reads at a time.
const exportRows = 100

// exportPerson returns a page of the events that a person runs or works for, by their ids.
func (s *Service) exportPerson(ctx context.Context, req *api.PersonRef) (*api.List[api.PersonEvent], error) {
	key, err := store.DecodeCursor(req.Cursor, 1)
	if err != nil {
		return nil, err
	}
	after := ""
	if key != nil {
		after = key[0]
	}
	rows, err := s.store.ofPerson(ctx, req.UserID, after)
	if err != nil {
		return nil, err
	}
	page := &api.List[api.PersonEvent]{Items: []api.PersonEvent{}}
	for i := range rows {
		page.Items = append(page.Items, api.PersonEvent{Role: rows[i].Team, Event: rows[i].event()})
	}
	n, err := api.FitExport(page.Items)
	if n < len(rows) || len(rows) == exportRows {
		page.NextCursor = store.EncodeCursor(rows[n-1].ID.String())
	}
	page.Items = page.Items[:n]
	return page, err
}

// ofPerson returns events that a person runs or works for, with the role in Team.
func (b eventStore) ofPerson(ctx context.Context, user ids.User, after string) ([]row, error) {
	var rows []row
	err := b.db.Read().NewRaw(`SELECT `+columns+`,
		COALESCE((SELECT m.role FROM organizer_members AS m WHERE m.organizer_id = e.organizer_id AND m.user_id = ?0),
			(SELECT t.role FROM team AS t WHERE t.event_id = e.id AND t.user_id = ?0)) AS team
		FROM events AS e WHERE e.id > ?1 AND
			(e.organizer_id IN (SELECT organizer_id FROM organizer_members WHERE user_id = ?0)
			OR e.id IN (SELECT event_id FROM team WHERE user_id = ?0))
		ORDER BY e.id LIMIT ?2`, user, after, exportRows).Scan(ctx, &rows)
	return rows, err
}

// running returns what keeps a person from leaving.
func (s *Service) running(ctx context.Context, req *api.PersonRef) (*api.List[api.RunningEvent], error) {
	const most = 10
	list := &api.List[api.RunningEvent]{Items: []api.RunningEvent{}}
	err := s.store.db.Read().NewRaw(`SELECT id, name FROM events WHERE organizer_id IN (
			SELECT m.organizer_id FROM organizer_members AS m WHERE m.user_id = ?0 AND m.role = ?1
			AND NOT EXISTS (SELECT 1 FROM organizer_members AS o
				WHERE o.organizer_id = m.organizer_id AND o.role = ?1 AND o.user_id <> ?0))
		AND status = ?2 AND ends_at > ?3 ORDER BY starts_at, id LIMIT ?4`, req.UserID, api.RoleOwner, api.EventPublished, store.Time(s.now()), most).Scan(ctx, &list.Items)
	return list, err
}
