package event

import (
	"cmp"
	"context"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/store"
)

// exportRows is how many events an export reads at a time.
const exportRows = 100

// organizer is the role of the one whose event it is, in an export.
const organizer = "organizer"

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
		page.Items = append(page.Items, api.PersonEvent{Role: cmp.Or(rows[i].Team, organizer), Event: rows[i].event()})
	}
	n, err := api.FitExport(page.Items)
	if n < len(rows) || len(rows) == exportRows {
		page.NextCursor = store.EncodeCursor(rows[n-1].ID.String())
	}
	page.Items = page.Items[:n]
	return page, err
}

// ofPerson returns events that a person runs or works for, with the role in Team: "" for the organizer.
func (b eventStore) ofPerson(ctx context.Context, user ids.User, after string) ([]row, error) {
	var rows []row
	err := b.db.Read().NewRaw(`SELECT `+columns+`,
		COALESCE((SELECT t.role FROM team AS t WHERE t.event_id = e.id AND t.user_id = ?), '') AS team
		FROM events AS e WHERE (e.organizer = ? OR e.id IN (SELECT event_id FROM team WHERE user_id = ?)) AND e.id > ?
		ORDER BY e.id LIMIT ?`, user, user, user, after, exportRows).Scan(ctx, &rows)
	return rows, err
}

// running returns what keeps an organizer from leaving.
func (s *Service) running(ctx context.Context, req *api.PersonRef) (*api.List[api.RunningEvent], error) {
	const most = 10
	list := &api.List[api.RunningEvent]{Items: []api.RunningEvent{}}
	err := s.store.db.Read().NewRaw(
		"SELECT id, name FROM events WHERE organizer = ? AND status = ? AND ends_at > ? ORDER BY starts_at, id LIMIT ?",
		req.UserID, api.EventPublished, store.Time(s.now()), most).Scan(ctx, &list.Items)
	return list, err
}
