package ticketing

import (
	"testing"

	"github.com/starlightsymphony/starlight/shared/api"
)

// Seats that cannot be changed make an instance unready, although it reads all that there is.
func TestReady(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		s := h.start()
		if err := s.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		stream, err := h.nats.JS.Stream(t.Context(), api.InventoryStream)
		if err != nil {
			t.Fatal(err)
		}
		cfg := stream.CachedInfo().Config
		cfg.MaxMsgSize = 1
		if _, err := h.nats.JS.UpdateStream(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
		if err := s.Ready(t.Context()); err == nil {
			t.Error("it is ready while the inventory refuses writes")
		}
	})
}
