package ticketing

import (
	"fmt"
	"strings"
	"testing"

	"github.com/starlightsymphony/starlight/shared/testkit"
)

// What a mail says of a person's tickets is found without looking at all tickets of an event, and that of an order
// without looking at all tickets of its buyer.
func TestHeldTicketsAreFoundByTheRightIndex(t *testing.T) {
	db := testkit.Open(t, testkit.SQLite(t), "ticketing", Migrations())
	for column, index := range map[string]string{"event_id": "SEARCH tickets USING INDEX tickets_owner (owner_id=?)",
		"order_id": "(order_id=?)", "id": "SEARCH tickets USING INDEX sqlite_autoindex_tickets_1 (id=?)"} {
		var steps []struct {
			ID, Parent, Notused int
			Detail              string
		}
		err := db.Read().NewRaw("EXPLAIN QUERY PLAN "+heldTickets(column), "usr_1", "x", "revoked", "paid").
			Scan(t.Context(), &steps)
		if err != nil || !strings.Contains(fmt.Sprint(steps), index) {
			t.Errorf("%s: %v, %v", column, steps, err)
		}
	}
}
