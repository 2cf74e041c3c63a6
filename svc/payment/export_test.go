package payment

import (
	"testing"

	"github.com/starlightsymphony/starlight/shared/api"
)

func TestExportPerson(t *testing.T) {
	onBoth(t, func(t *testing.T, w *harness) {
		i := w.run()
		ctx, order := w.order()
		mine := w.create(ctx, order.ID)
		other, theirs := w.order()
		w.create(other, theirs.ID)
		page, err := i.exportPerson(t.Context(), &api.PersonRef{UserID: order.UserID})
		if err != nil || len(page.Items) != 1 || page.Items[0].ID != mine.ID || page.NextCursor != "" {
			t.Errorf("exported %+v, %v", page, err)
		}
	})
}
