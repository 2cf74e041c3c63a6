package system_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// A file becomes orders on pages without scripts: an example, what is wrong, row by row, and what was made.
func TestSellingPagesImport(t *testing.T) {
	t.Parallel()
	s, _, _ := start(t, config(t.TempDir()))
	admin := s.login(adminEmail)
	s.unlimited(admin)
	b, stranger := s.browser(), s.browser()
	b.send("/sign-up", "name", "Mina", "email", "mina@example.org", "password", password).must(t, 200)
	stranger.send("/sign-up", "name", "Eve", "email", "eve@example.org", "password", password).must(t, 200)
	event := s.concert(s.login("mina@example.org"), 20, 1500)
	at := "/office/events/" + event.ID.String() + "/imports"
	b.get(at).must(t, 200, "Example file", `enctype="multipart/form-data"`)
	stranger.get(at).must(t, 403)
	example := b.get("/office/events/"+event.ID.String()+"/files/import-example.csv").must(t, 200, "email,name,ticket_type")
	b.sendFile(at, "file", "", "column.email", "Wer").must(t, 400, "must be a file", `value="Wer"`)
	b.sendFile(at, "file", "a;b\n1;2\n").must(t, 400, "has no column email")
	b.sendFile(at, "file", strings.Repeat("x", 960<<10+1)).must(t, 413)
	b.sendFile(at, "file", example.text).must(t, 200, "Make 1 orders")
	stranger.sendFile(at, "file", example.text).must(t, 403)

	checked := b.sendFile(at, "file", "Wer;Anzahl;gratis;Note\nada@example.org;2;ja;=1+1\nnone;x;;\n", "column.email", "Wer").
		must(t, 200, "must be an email address", "<b>Wer</b>", "<b>Anzahl</b>", "Note", "Leave out the 1 rows")
	here, _, _ := strings.Cut(checked.at, "?")
	b.get(here+"?status=ready").must(t, 200, "ada@example.org")
	stranger.get(here).must(t, 403)
	b.get(at+"/nonsense").must(t, 404)
	b.send(here, "do", "start").must(t, 409, "rows are wrong")
	b.send(here, "do", "start", "skip", "yes").must(t, 200)
	var done page
	testkit.Eventually(t, 30*time.Second, func() error {
		if done = b.get(here); !strings.Contains(done.text, "The import is done") {
			return fmt.Errorf("%s", done.header.Get("Refresh"))
		}
		return nil
	})
	done.must(t, 200, "Made 1", "/orders/ord_")
	b.get(at).must(t, 200, "Done")
	mina := s.login("mina@example.org")
	orders := call[api.List[api.Order]](s, 200, "GET", "/v1/events/"+event.ID.String()+"/orders", mina, nil).Items
	if len(orders) != 1 || orders[0].Status != api.OrderPaid || orders[0].Buyer.Email != "ada@example.org" {
		t.Errorf("the orders are %+v", orders)
	}
}
