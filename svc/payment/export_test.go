package payment

import (
	"testing"

	"github.com/starlightsymphony/starlight/shared/api"
)

func TestExportPerson(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		i := h.run()
		ctx, order := h.order()
		mine := h.create(ctx, order.ID)
		other, theirs := h.order()
		h.create(other, theirs.ID)
		page, err := i.exportPerson(t.Context(), &api.PersonRef{UserID: order.UserID})
		if err != nil || len(page.Items) != 1 || page.Items[0].ID != mine.ID || page.NextCursor != "" {
			t.Errorf("exported %+v, %v", page, err)
		}
	})
}
