package browsing_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/system/systemtest"
)

// A file becomes orders on pages without scripts: an example, what is wrong, row by row, and what was made.
func TestSellingPagesImport(t *testing.T) {
	t.Parallel()
	s, _, _ := systemtest.Start(t, systemtest.Config(t.TempDir()))
	admin := s.Login(systemtest.AdminEmail)
	s.Unlimited(admin)
	b, stranger := s.Browser(), s.Browser()
	b.Send("/sign-up", "name", "Mina", "email", "mina@example.org", "password", systemtest.Password).Must(t, 200)
	stranger.Send("/sign-up", "name", "Eve", "email", "eve@example.org", "password", systemtest.Password).Must(t, 200)
	event := s.Concert(s.Login("mina@example.org"), 20, 1500)
	at := "/office/events/" + event.ID.String() + "/imports"
	b.Get(at).Must(t, 200, "Example file", `enctype="multipart/form-data"`)
	stranger.Get(at).Must(t, 403)
	example := b.Get("/office/events/"+event.ID.String()+"/files/import-example.csv").Must(t, 200, "email,name,ticket_type")
	b.SendFile(at, "file", "", "column.email", "Wer").Must(t, 400, "must be a file", `value="Wer"`)
	b.SendFile(at, "file", "a;b\n1;2\n").Must(t, 400, "has no column email")
	b.SendFile(at, "file", strings.Repeat("x", 960<<10+1)).Must(t, 413)
	b.SendFile(at, "file", example.Text).Must(t, 200, "Make 1 orders")
	stranger.SendFile(at, "file", example.Text).Must(t, 403)

	checked := b.SendFile(at, "file", "Wer;Anzahl;gratis;Note\nada@example.org;2;ja;=1+1\nnone;x;;\n", "column.email", "Wer").
		Must(t, 200, "must be an email address", "<b>Wer</b>", "<b>Anzahl</b>", "Note", "Leave out the 1 rows")
	here, _, _ := strings.Cut(checked.At, "?")
	b.Get(here+"?status=ready").Must(t, 200, "ada@example.org")
	stranger.Get(here).Must(t, 403)
	b.Get(at+"/nonsense").Must(t, 404)
	b.Send(here, "do", "start").Must(t, 409, "rows are wrong")
	b.Send(here, "do", "start", "skip", "yes").Must(t, 200)
	var done systemtest.Page
	testkit.Eventually(t, 30*time.Second, func() error {
		if done = b.Get(here); !strings.Contains(done.Text, "The import is done") {
			return fmt.Errorf("%s", done.Header.Get("Refresh"))
		}
		return nil
	})
	done.Must(t, 200, "Made 1", "/orders/ord_")
	b.Get(at).Must(t, 200, "Done")
	mina := s.Login("mina@example.org")
	orders := systemtest.Call[api.List[api.Order]](s, 200, "GET", "/v1/events/"+event.ID.String()+"/orders", mina, nil).Items
	if len(orders) != 1 || orders[0].Status != api.OrderPaid || orders[0].Buyer.Email != "ada@example.org" {
		t.Errorf("the orders are %+v", orders)
	}
}
