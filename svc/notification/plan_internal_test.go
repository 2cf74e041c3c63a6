package notification

import (
	"strings"
	"testing"

	"github.com/starlightsymphony/starlight/shared/testkit"
)

// What is stored about one person is deleted, or given to the account that takes an order over, without a look at all
// messages or tickets.
func TestPeopleAreFoundByAnIndex(t *testing.T) {
	db := testkit.Open(t, testkit.SQLite(t), "notification", Migrations())
	for _, query := range append(personDeletions(), orderClaims()...) {
		var steps []struct {
			ID, Parent, Notused int
			Detail              string
		}
		err := db.Read().NewRaw("EXPLAIN QUERY PLAN "+strings.ReplaceAll(query, "?", "'x'")).Scan(t.Context(), &steps)
		if err != nil || len(steps) == 0 {
			t.Errorf("%s: %v, %v", query, steps, err)
		}
		for _, step := range steps {
			if strings.HasPrefix(step.Detail, "SCAN") {
				t.Errorf("%s: %s", query, step.Detail)
			}
		}
	}
}
