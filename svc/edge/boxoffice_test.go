package edge_test

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/edge"
)

// A till sells without a line, and once under a key. The hub gets the sales when there is a line, and the end of the
// leases after them when it takes the doors back.
func TestSellWithoutALine(t *testing.T) {
	x := newSite(t, 1)
	now := time.Now()
	typ := ids.New[ids.TicketTypeKind](now)
	lease := line.Lease{ID: ids.New[ids.LeaseKind](now), TicketTypeID: typ, Quantity: 3, Target: 3}
	const otherSecret = "dp_another-till"
	hash := sha256.Sum256([]byte(otherSecret))
	x.do(func() {
		offer := *x.event.Offer
		offer.Event.TicketTypes = []api.TicketType{{ID: typ, Name: "Stalls", Price: api.Money{Amount: 2500, Currency: "EUR"}}}
		x.event.Offer, x.event.Leases = &offer, []line.Lease{lease}
		x.event.Passes = append(x.event.Passes, line.Pass{ID: ids.New[ids.PassKind](now), Hash: hash[:], Name: "Another till",
			Gate: "south"})
	})
	x.admits()
	leases := func() (out api.List[edge.Lease]) {
		t.Helper()
		status, body, _ := x.send("GET", x.path("/leases"), passSecret, nil)
		if err := json.Unmarshal(body, &out); status != 200 || err != nil {
			t.Fatalf("%d %s %v", status, body, err)
		}
		return out
	}
	testkit.Eventually(t, 20*time.Second, func() error {
		if got := leases().Items; len(got) != 1 || got[0].Left != 3 {
			return fmt.Errorf("leases are %+v", got)
		}
		return nil
	})
	x.cut()
	sell := func(token, key, body string) (int, string, http.Header) {
		t.Helper()
		req, err := http.NewRequest("POST", x.url+"/v1/box-office/sales", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer "+token)
		if key != "" {
			req.Header.Set("Idempotency-Key", key)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		out, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(out), resp.Header
	}
	sale := func(n int) string {
		text, _ := json.Marshal(api.NewSale{EventID: x.event.EventID, Items: []api.NewOrderItem{{TicketTypeID: typ, Quantity: n}},
			Payment: api.BoxOfficePayment{Method: api.PaidByCard, Reference: "T1"}})
		return string(text)
	}
	for _, c := range []struct {
		token, key, body string
		status           int
		says             string
	}{
		{"nonsense", "", sale(1), 401, "unauthenticated"},
		{passSecret, "", "{}", 400, "event_id"},
		{passSecret, "", strings.Replace(sale(1), "card", "free", 1), 400, "payment.method"},
		{passSecret, strings.Repeat("k", 256), sale(1), 400, "Idempotency-Key"},
		{passSecret, "", sale(4), 409, "sold_out"},
	} {
		status, body, _ := sell(c.token, c.key, c.body)
		if status != c.status || !strings.Contains(body, c.says) {
			t.Errorf("%d %s, want %d %s", status, body, c.status, c.says)
		}
	}
	status, first, header := sell(passSecret, "k1", sale(2))
	var sold api.Sale
	if err := json.Unmarshal([]byte(first), &sold); status != 201 || err != nil || len(sold.Tickets) != 2 ||
		sold.Total.Amount != 5000 || header.Get("Idempotency-Replayed") != "" {
		t.Fatalf("%d %s %v", status, first, err)
	}
	x.again()
	if status, again, header := sell(passSecret, "k1", sale(2)); status != 201 || again != first ||
		header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("%d %s, want %s", status, again, first)
	}
	if status, body, _ := sell(passSecret, "k1", sale(1)); status != 422 {
		t.Errorf("the key with another sale: %d %s", status, body)
	}
	if got := leases().Items[0]; got.Sold != 2 || got.Left != 1 || got.State != api.LeaseOpen {
		t.Errorf("lease is %+v", got)
	}
	reversal := func(token, id, body string) (int, string) {
		t.Helper()
		status, answer, _ := x.send("POST", "/v1/box-office/sales/"+id+"/reversal", token, json.RawMessage(body))
		return status, string(answer)
	}
	for _, c := range []struct {
		token, id, body string
		status          int
	}{
		{"nonsense", sold.OrderID.String(), "{}", 401},
		{passSecret, ids.New[ids.OrderKind](now).String(), "{}", 404},
		{"nonsense", ids.New[ids.OrderKind](now).String(), "{}", 401},
		{passSecret, sold.OrderID.String(), `{"reason":"two\nlines"}`, 400},
		{passSecret, sold.OrderID.String(), `{"why":"x"}`, 400},
		{otherSecret, sold.OrderID.String(), "{}", 403},
	} {
		if status, answer := reversal(c.token, c.id, c.body); status != c.status {
			t.Errorf("%+v: %d %s", c, status, answer)
		}
	}
	admit := func(want string) {
		t.Helper()
		_, body, _ := x.send("POST", x.path("/admissions"), passSecret, api.Admission{Code: sold.Tickets[0].Code})
		if !strings.Contains(string(body), `"result":"`+want+`"`) {
			t.Errorf("%s, want %s", body, want)
		}
	}
	admit(api.Admitted)
	admit(api.AlreadyAdmitted)
	// A device that is for one gate scans there, whatever it says.
	_, answer, _ := x.send("POST", x.path("/admissions"), otherSecret, api.Admission{Code: sold.Tickets[1].Code, Gate: "north"})
	if !strings.Contains(string(answer), `"first_gate":"south"`) {
		t.Errorf("admitted at another gate: %s", answer)
	}
	if status, answer := reversal(passSecret, sold.OrderID.String(), "{}"); status != 409 || !strings.Contains(answer, "include_admitted") {
		t.Errorf("taken back: %d %s", status, answer)
	}

	got := x.s.Status()
	if got.Sales != 0 || got.Reversals != 0 || got.Leased != 3 || got.Sold != 2 || got.Left != 1 { // it was started anew
		t.Errorf("status is %+v", got)
	}
	_, metrics, _ := x.send("GET", "/metrics", "", nil)
	for _, want := range []string{"starlight_edge_seats_left 1\n", "starlight_edge_sales_total 0\n", "starlight_edge_line_up 1\n"} {
		if !strings.Contains(string(metrics), want) {
			t.Errorf("the metrics have no %q", want)
		}
	}

	x.up()
	x.eventually("the sale is at the hub", func() bool { return len(x.journal) >= 4 })
	x.do(func() {
		if s := x.journal[0].Sale; s == nil || s.OrderID != sold.OrderID || !strings.HasPrefix(s.By, "pas_") {
			t.Errorf("entry is %+v", x.journal[0])
		}
		x.event.State = line.DoorsReturning
	})
	x.eventually("the doors are back", func() bool { return x.event.State == line.DoorsHub })
	x.do(func() {
		if last := x.journal[len(x.journal)-1]; len(x.journal) != 5 || last.LeaseDone != lease.ID {
			t.Errorf("journal is %+v", x.journal)
		}
	})
}
