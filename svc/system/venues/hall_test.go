package venues_test

import (
	"errors"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/system/systemtest"
)

// judge waits until the system has all that the venue has decided, and then looks at both from the outside: each scan
// and each sale counts once at the system, no ticket was admitted twice, each seat is somewhere, and the records agree.
func judge(t *testing.T, h *systemtest.Hall) {
	t.Helper()
	testkit.Eventually(t, 90*time.Second, func() error {
		got, err := h.Edge.Send("GET", "/v1/status", "", nil)
		if err != nil {
			return err
		}
		return errors.Join(got.Is(200, `"waiting":0,`), got.Is(200, `"line":{"up":true`))
	})
	r := doorsRecord{venue: h.Scans(h.Edge, h.Pass), system: h.Scans(h.Hub, h.Owner)}
	for _, fault := range r.faults() {
		t.Error(fault)
	}
	systemtest.MustAudit(t, h.Cfg, h.Connect)
	if got := h.Hub.Left(h.Event); got.Available+got.Held+got.Sold+got.Leased != got.Quantity {
		t.Errorf("the seats are %+v", got)
	}
	t.Logf("%d scans at the venue, %d altogether", len(r.venue), len(r.system))
}
