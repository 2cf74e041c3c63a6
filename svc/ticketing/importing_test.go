package ticketing

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// upload checks a file for the organizer.
func (h *harness) upload(o *api.Offer, file string) *api.Import {
	h.t.Helper()
	return must(h.as(ownerOf(o)), h, api.CreateImport, api.NewImport{EventID: o.Event.ID, File: []byte(file)})
}

// imported starts an import, and waits until it is at its end.
func (h *harness) imported(o *api.Offer, id ids.Import, mail bool) *api.Import {
	h.t.Helper()
	must(h.as(ownerOf(o)), h, api.StartImport, api.ImportStart{EventID: o.Event.ID, ID: id, Mail: mail, SkipWrong: true})
	return h.ended(o, id)
}

func (h *harness) ended(o *api.Offer, id ids.Import) (got *api.Import) {
	h.t.Helper()
	testkit.Eventually(h.t, 30*time.Second, func() error {
		got = must(h.as(ownerOf(o)), h, api.GetImport, api.ImportRef{EventID: o.Event.ID, ID: id})
		if got.Status != api.ImportDone && got.Status != api.ImportStopped {
			return fmt.Errorf("the import is %s: %+v", got.Status, got.Rows)
		}
		return nil
	})
	return got
}

func (h *harness) exec(query string, args ...any) {
	h.t.Helper()
	err := h.db.TxRepeatable(h.t.Context(), func(ctx context.Context, tx tx) error {
		_, err := tx.ExecContext(ctx, query, args...)
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *harness) rowsOf(o *api.Offer, id ids.Import) []api.ImportRow {
	h.t.Helper()
	return must(h.as(ownerOf(o)), h, api.ListImportRows, api.ImportRowPage{EventID: o.Event.ID, ID: id,
		Page: api.Page{Limit: 200}}).Items
}

// A file is checked row by row before anything is made: each row says all that is wrong with it, in which line and
// column.
func TestImportSaysWhatIsWrong(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		o := h.publish(3, 1000, 0)
		size := api.Question{ID: ids.New[ids.QuestionKind](h.clock.Now()), Label: "Size", Kind: api.AsksChoice,
			Per: api.AskedPerTicket, At: api.AskedAtCheckout, Choices: []api.QuestionChoice{
				{ID: ids.New[ids.ChoiceKind](h.clock.Now()), Label: "M"}}}
		o.Event.Questions = []api.Question{size, {ID: ids.New[ids.QuestionKind](h.clock.Now()), Label: "Born",
			Kind: api.AsksDate, Per: api.AskedPerOrder, At: api.AskedAtCheckout}}
		file := "Mail,Name,Ticket,Anzahl,Preis,Reference,Size,Born,Colour\n" +
			"a@example.org,Ada,type 0,2,\"7,50\",r1,m,2000-01-02,red\n" +
			"nobody,\u0007,type 9,none,,r1,XXL,\n" +
			"b@example.org,Bea,type 0,2,,r2,,,\n" +
			"c@example.org,Cem,type 0,1,99,r3,,tomorrow,,,more\n" +
			"d@example.org,D\"D,type 0\n" +
			"e@example.org,Eve,type 1,0,,r4,,,\n" +
			"f@example.org,Fay,TYPE 1,1,,,,,\n"
		made := h.upload(o, file)
		if made.Status != api.ImportChecked || made.Rows != (api.ImportRows{Ready: 2, Wrong: 5}) ||
			fmt.Sprint(made.Ignored) != "[Colour]" {
			t.Errorf("checked: %+v", made)
		}
		got := ""
		for _, r := range h.rowsOf(o, made.ID) {
			got += fmt.Sprintf("%d %s", r.Line, r.Status)
			for _, p := range r.Problems {
				got += " [" + p.Column + ": " + strings.SplitN(p.Detail, ",", 2)[0] + "]"
			}
			got += "\n"
		}
		want := `2 ready
3 wrong [Mail: must be an email address] [Name: must not contain the character U+0007] [Ticket: is no ticket type of the event] [Anzahl: must be a whole number] [Reference: is the same as in line 2]
4 wrong [Anzahl: must be at most 1: that is what is left]
5 wrong [: has more cells than there are titles] [Preis: must be at most 10.00]
6 wrong [: cannot be read: a quotation mark is missing]
7 wrong [Anzahl: must be a whole number]
8 ready
`
		if got != want {
			t.Errorf("the rows are\n%s", got)
		}
		if n := len(h.published(api.OrderWasPaid.Subject)); n > 0 {
			t.Errorf("%d orders were made by looking", n)
		}
		ref := api.ImportStart{EventID: o.Event.ID, ID: made.ID}
		if _, err := do(h.as(ownerOf(o)), h, api.StartImport, ref); !fault.Is(err, fault.Conflict) {
			t.Errorf("an import with wrong rows begins: %v", err)
		}
		for name, ctx := range map[string]context.Context{"a stranger": h.as(person())} {
			_, err := do(ctx, h, api.CreateImport, api.NewImport{EventID: o.Event.ID, File: []byte(file)})
			if !fault.Is(err, fault.Forbidden) {
				t.Errorf("%s: %v", name, err)
			}
			if _, err := do(ctx, h, api.StartImport, ref); !fault.Is(err, fault.Forbidden) {
				t.Errorf("%s starts it: %v", name, err)
			}
		}
		blob := must(h.as(ownerOf(o)), h, api.GetImportExample, api.EventRef{ID: o.Event.ID})
		o.Event.TicketTypes[0].Quantity++
		if n := h.upload(o, string(blob.Data)); n.Rows != (api.ImportRows{Ready: 2}) || len(n.Ignored) > 0 {
			t.Errorf("the example is read as %+v\n%s", n, blob.Data)
		}
	})
}

// An import makes each order once, however often its file comes and whatever dies meanwhile, by the prices that the
// file says, and tells the buyers or not.
func TestImportMakesEachOrderOnce(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		h.start()
		o := h.publish(100, 1000)
		file := "email,name,quantity,price,complimentary,reference\n" +
			"a@example.org,Ada,2,,yes,r1\n" + "b@example.org,Bea,1,4.00,,r2\n" + "c@example.org,Cem,1,0,,\n"
		first := h.upload(o, file)
		if done := h.imported(o, first.ID, false); done.Rows != (api.ImportRows{Made: 3}) || done.EndedAt == nil {
			t.Fatalf("imported: %+v", done)
		}
		rows := h.rowsOf(o, first.ID)
		if rows[0].Email+rows[0].Name != "" || rows[0].OrderID == "" || rows[0].Quantity != 2 {
			t.Errorf("a row that is made still names its person: %+v", rows[0])
		}
		seller := h.as(ownerOf(o))
		ada := must(seller, h, api.GetOrder, api.OrderRef{ID: rows[0].OrderID})
		bea := must(seller, h, api.GetOrder, api.OrderRef{ID: rows[1].OrderID})
		if ada.Status != api.OrderPaid || ada.Total.Amount != 0 || ada.Discount != eur(2000) ||
			ada.Buyer.Email != "a@example.org" || bea.Status != api.OrderPending || bea.Total != eur(400) {
			t.Errorf("made were %+v and %+v", ada, bea)
		}
		for subject, want := range map[string]string{api.GuestHasOrdered.Subject: "true false true",
			api.OrderWasPaid.Subject: "true true"} {
			var got []string
			testkit.Eventually(t, 10*time.Second, func() error {
				got = nil
				for _, m := range h.published(subject) {
					var said struct{ Quiet bool }
					if err := json.Unmarshal(m.Data, &said); err != nil {
						t.Fatal(err)
					}
					got = append(got, fmt.Sprint(said.Quiet))
				}
				if len(got) < strings.Count(want, " ")+1 {
					return fmt.Errorf("%s: %v", subject, got)
				}
				return nil
			})
			if strings.Join(got, " ") != want {
				t.Errorf("%s: quiet is %v, want %s", subject, got, want)
			}
		}
		again := h.upload(o, file)
		if again.Rows != (api.ImportRows{There: 3}) {
			t.Errorf("the same file again: %+v", again.Rows)
		}
		if _, err := do(seller, h, api.StartImport, api.ImportStart{EventID: o.Event.ID, ID: again.ID}); !fault.Is(err,
			fault.Conflict) {
			t.Errorf("it begins again: %v", err)
		}
		more := h.upload(o, file+"d@example.org,Dan,1,,yes,r2\ne@example.org,Eve,1,,yes,r5\n")
		if more.Rows != (api.ImportRows{There: 2, Ready: 2, Wrong: 1}) { // the row without a reference is of that file
			t.Errorf("a longer file: %+v %+v", more.Rows, h.rowsOf(o, more.ID))
		}
		// An instance that dies after it has made an order has not written so.
		h.exec("UPDATE import_rows SET status = 'ready', data = ? WHERE import_id = ? AND line = 2",
			`{"email":"a@example.org","ticket_type_id":"`+o.Event.TicketTypes[0].ID.String()+`","quantity":2}`, first.ID)
		if done := h.imported(o, first.ID, true); done.Rows != (api.ImportRows{Made: 3}) {
			t.Errorf("after a crash: %+v", done)
		}
		left := must(seller, h, api.GetAvailability, api.AvailabilityQuery{ID: o.Event.ID}).TicketTypes[0]
		if left.Available != 96 {
			t.Errorf("%d are left, want 96", left.Available)
		}
		h.audit()
	})
}

// Two imports at once, at two instances, sell what there is and no more. What finds no seat says so.
func TestImportsNeverOversell(t *testing.T) {
	h := newHarness(t, testkit.Open(t, testkit.Postgres(t), "ticketing", Migrations()))
	h.start()
	h.start()
	const seats, rows = 50, 40
	o := h.publish(seats, 0)
	var list []*api.Import
	for k := range 2 {
		file := "email,reference\n"
		for i := range rows {
			file += fmt.Sprintf("g%d@example.org,%d-%d\n", i, k, i)
		}
		list = append(list, h.upload(o, file))
	}
	twin := h.upload(o, "email,reference\ng0@example.org,0-0\ng1@example.org,0-1\n")
	for _, m := range append(list, twin) {
		must(h.as(ownerOf(o)), h, api.StartImport, api.ImportStart{EventID: o.Event.ID, ID: m.ID})
	}
	h.ended(o, twin.ID)
	made, failed := 0, 0
	for _, m := range list {
		got := h.ended(o, m.ID).Rows
		made, failed = made+got.Made, failed+got.Failed
	}
	if made != seats || failed != 2*rows-seats {
		t.Errorf("%d made and %d failed, want %d and %d", made, failed, seats, 2*rows-seats)
	}
	h.audit()
}

// An import ends when it is stopped, and when who has started it may not go on, and can begin again.
func TestImportsAreStopped(t *testing.T) {
	each(t, func(t *testing.T, h *harness) {
		o := h.publish(100, 0)
		h.start()
		m := h.upload(o, "email\na@example.org\nb@example.org\n")
		ref := api.ImportRef{EventID: o.Event.ID, ID: m.ID}
		boss := ownerOf(o)
		other := person()
		h.exec("UPDATE imports SET status = 'running', caller = ?, due_at = ? WHERE id = ?",
			`{"user":"`+other.String()+`"}`, h.clock.Now(), m.ID)
		if got := h.ended(o, m.ID); got.Status != api.ImportStopped || got.Reason == "" || got.Rows.Ready != 2 {
			t.Errorf("of a person without rights: %+v", got)
		}
		h.exec("UPDATE imports SET status = 'running', due_at = ? WHERE id = ?", h.clock.Now().Add(time.Hour), m.ID)
		if got := must(h.as(boss), h, api.StopImport, ref); got.Status != api.ImportStopped || got.Rows.Ready != 2 {
			t.Errorf("stopped: %+v", got)
		}
		if got := h.imported(o, m.ID, false); got.Status != api.ImportDone || got.Rows.Made != 2 || got.Reason != "" {
			t.Errorf("begun again: %+v", got)
		}
		late := h.upload(o, "email\nz@example.org\n")
		h.clock.Advance(49 * time.Hour)
		s := h.start()
		if err := s.files.Forget(t.Context()); err != nil {
			t.Fatal(err)
		}
		_, err := do(h.as(boss), h, api.GetImport, api.ImportRef{EventID: o.Event.ID, ID: late.ID})
		if !fault.Is(err, fault.NotFound) {
			t.Errorf("what was only checked is kept: %v", err)
		}
		must(h.as(boss), h, api.GetImport, ref)
		h.audit()
	})
}
