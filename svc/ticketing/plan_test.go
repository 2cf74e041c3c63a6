package ticketing

import (
	"fmt"
	"strings"
	"testing"

	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/ticketing/answers"
)

// What a mail says of a person's tickets is found without looking at all tickets of an event, that of an order without
// looking at all tickets of its buyer, and what a buyer has without looking at all orders of an event.
func TestQuestionsAboutPeopleAreAnsweredByTheRightIndex(t *testing.T) {
	db := testkit.Open(t, testkit.SQLite(t), "ticketing", Migrations())
	for query, index := range map[string]string{
		heldTickets("event_id"): "SEARCH tickets USING INDEX tickets_owner (owner_id=?)",
		heldTickets("order_id"): "(order_id=?)",
		heldTickets("id"):       "SEARCH tickets USING INDEX sqlite_autoindex_tickets_1 (id=?)",
		ordersOfBuyers:          "SEARCH orders USING INDEX orders_user (user_id=?)",
		answers.CountQuery:      "SEARCH a USING INDEX question_answers_event (event_id=?)",
		ordersOfPeople:          "SEARCH orders USING INDEX orders_user (user_id=?)",
		ordersOfAddress:         "SEARCH guests USING INDEX guests_email (email_key=?)",
		orderByNumber:           "SEARCH orders USING INDEX orders_number (event_id=? AND number=?)",
	} {
		var steps []struct {
			ID, Parent, Notused int
			Detail              string
		}
		err := db.Read().NewRaw("EXPLAIN QUERY PLAN "+strings.ReplaceAll(query, "?", "'x'")).Scan(t.Context(), &steps)
		if err != nil || !strings.Contains(fmt.Sprint(steps), index) {
			t.Errorf("%s: %v, %v", query, steps, err)
		}
	}
}
