package payment

import (
	"fmt"
	"strings"
	"testing"

	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/payment/ledger"
)

// Callbacks that wait are found without a look at all that their provider has ever sent.
func TestCallbacksThatWaitAreFoundByThemselves(t *testing.T) {
	db := testkit.Open(t, testkit.SQLite(t), "payment", Migrations())
	var steps []struct {
		ID, Parent, Notused int
		Detail              string
	}
	where := (&paymentStore{}).callbacks("stripe").Where
	err := db.Read().NewRaw("EXPLAIN QUERY PLAN SELECT * FROM payment_callbacks WHERE ("+where+
		") AND due_at <= '2026' ORDER BY due_at LIMIT 1").Scan(t.Context(), &steps)
	if err != nil || !strings.Contains(fmt.Sprint(steps), "payment_callbacks_due (provider=? AND due_at<?)") {
		t.Errorf("%v, %v", steps, err)
	}
}

// The money of an event, and that of an organizer, is found by its payments, not by a look at all that were ever made;
// and so is what an organizer is due, and was paid.
func TestMoneyOfAnEventIsFoundByItsPayments(t *testing.T) {
	db := testkit.Open(t, testkit.SQLite(t), "payment", Migrations())
	for query, index := range map[string]string{ledger.QueryOfEvent(db): "payments_event (event_id=?)",
		ledger.QueryOfOrganizer(db): "payments_organizer (organizer_id=?)",
		ledger.QueryOfBalances():    "payments_organizer (organizer_id=?)",
		ledger.QueryOfPayouts:       "payouts_organizer (organizer_id=?)"} {
		var steps []struct {
			ID, Parent, Notused int
			Detail              string
		}
		err := db.Read().NewRaw("EXPLAIN QUERY PLAN "+query, "x", "y", 1, "z").Scan(t.Context(), &steps)
		plan := fmt.Sprint(steps)
		if err != nil || !strings.Contains(plan, index) || strings.Contains(plan, "SCAN l") || strings.Contains(plan, "SCAN p") {
			t.Errorf("%v, %v", plan, err)
		}
	}
}
