package event

import (
	"context"

	"github.com/uptrace/bun"
)

// reindexSize is how many events one transaction writes again.
const reindexSize = 200

// reindex writes what is searched of events again where it was made in an older way. An event that changes meanwhile is
// written by that change.
func (s *Service) reindex(ctx context.Context) error {
	for {
		n, err := s.store.reindex(ctx)
		if err != nil || n == 0 {
			return err
		}
		s.log.InfoContext(ctx, "events were indexed again", "events", n, "version", searchVersion)
	}
}

// reindex writes some events again and returns how many there were.
func (b eventStore) reindex(ctx context.Context) (n int, err error) {
	err = b.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		var rows []row
		err := tx.NewSelect().Model(&rows).ColumnExpr(columns).Where("e.search_version < ?", searchVersion).Limit(reindexSize).Scan(ctx)
		if err != nil {
			return err
		}
		n = len(rows)
		for i := range rows {
			w := rowOf(rows[i].record())
			_, err := tx.ExecContext(ctx, "UPDATE events SET search_text = ?, city_key = ?, search_version = ? WHERE id = ? AND revision = ?",
				w.SearchText, w.CityKey, searchVersion, w.ID, w.Revision)
			if err != nil {
				return err
			}
		}
		return nil
	})
	return n, err
}
