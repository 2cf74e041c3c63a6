package payment

import (
	"context"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/svc/payment/record"
)

// exportRows is how many payments an export reads at a time.
const exportRows = 500

// exportPerson returns a page of a person's payments, by their ids, for the user service.
func (s *Service) exportPerson(ctx context.Context, req *api.PersonRef) (*api.List[api.Payment], error) {
	key, err := store.DecodeCursor(req.Cursor, 1)
	if err != nil {
		return nil, err
	}
	query := s.store.db.Read().NewSelect().Where("p.user_id = ?", req.UserID)
	if key != nil {
		query = query.Where("p.id > ?", key[0])
	}
	var rows []record.Payment
	if err := query.Model(&rows).Order("p.id").Limit(exportRows).Scan(ctx); err != nil {
		return nil, err
	}
	page := &api.List[api.Payment]{Items: []api.Payment{}}
	for i := range rows {
		page.Items = append(page.Items, rows[i].Payment())
	}
	n, err := api.FitExport(page.Items)
	if n < len(rows) || len(rows) == exportRows {
		page.NextCursor = store.EncodeCursor(rows[n-1].ID.String())
	}
	page.Items = page.Items[:n]
	return page, err
}
