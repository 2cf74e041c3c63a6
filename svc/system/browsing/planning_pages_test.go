package browsing_test

import (
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/svc/system/systemtest"
)

// An organizer sees what a draft lacks, repeats and copies it, and says it in two languages; buyers find the dates.
func TestPlanningInTheBrowser(t *testing.T) {
	t.Parallel()
	s, _, _ := systemtest.Start(t, systemtest.Config(t.TempDir()))
	b := s.Browser()
	b.Send("/sign-up", "name", "Mina", "email", "mina@example.org", "password", systemtest.Password, "next", "/office").Must(t, 200)
	day := time.Now().AddDate(0, 0, 20).Format(time.DateOnly)
	nasty := `Lamps <script>alert(1)</script>`
	event := []string{"name", nasty, "description", "", "category", "concert", "starts", day + "T20:00", "ends", day + "T23:30",
		"timezone", "Europe/Berlin", "place", "", "address", "", "city", "Berlin", "country", "DE", "language", "en",
		"name_de", "Lampen <b>x</b>", "description_de", "Viele Lampen."}
	draft := b.Send("/office/events", event...).Must(t, 200, "Add at least one ticket type", "in which hall", "recommended")
	if strings.Contains(draft.Text, "/publication") || strings.Contains(draft.Text, "<script>alert") {
		t.Error("what cannot be published yet has a button, or a name is markup")
	}
	ready := b.Send(draft.At+"/ticket-types", "name", "Standard", "price", "0", "currency", "EUR", "quantity", "30").Must(t, 200, "/publication")

	repeat := []string{"every", "1", "unit", "WEEKLY", "count", "3", "key", ready.Field(t, "key")}
	b.Send(draft.At+"/series", append(repeat, "do", "preview")...).Must(t, 200, "Create these dates")
	b.Send(draft.At+"/series", "every", "1", "unit", "SECONDLY", "count", "3", "key", ready.Field(t, "key")).Must(t, 400, "rule: must be of FREQ")
	made := b.Send(draft.At+"/series", append(repeat, "do", "create")...).Must(t, 200, "Dates of this series", "For which dates")
	b.Send(draft.At+"/series", append(repeat, "do", "create")...).Must(t, 200) // sent twice
	b.Send(draft.At+"/publication", "scope", "all").Must(t, 200, "Published")
	edit := []string{"name", nasty, "scope", "later", "place", "Old Hall"}
	for i := 2; i < len(event); i += 2 {
		if event[i] != "place" {
			edit = append(edit, event[i], event[i+1])
		}
	}
	b.Get(draft.At+"/edit").Must(t, 200, "Viele Lampen.", "For which dates")
	b.Send(draft.At+"/edit", edit...).Must(t, 200, "Old Hall")
	found := systemtest.Call[api.List[api.Event]](s, 200, "GET", "/v1/events?q="+url.QueryEscape("lampen hall"), "", nil)
	if len(found.Items) != 3 || found.Items[2].Location.Name != "Old Hall" || len(found.Items[2].Translations) != 1 {
		t.Errorf("found are %+v", found.Items)
	}
	if made.Status != 200 {
		t.Error(made.Status)
	}

	// The shop lists the next date alone, and leads to the others.
	guest := s.Browser()
	front := guest.Get("/").Must(t, 200, "More dates")
	if n := strings.Count(front.Text, `class="card"`); n != 1 {
		t.Errorf("%d cards", n)
	}
	page := guest.Get(regexp.MustCompile(`href="(/events/[^"]+)"`).FindStringSubmatch(front.Text)[1]).Must(t, 200, "Other dates")
	if strings.Contains(page.Text, "<script>alert") {
		t.Error("a name is markup")
	}
	guest.Send("/language", "language", "de", "next", "/").Must(t, 200, "Lampen &lt;b&gt;x&lt;/b&gt;", "Weitere Termine")

	b.Send(draft.At+"/copies", "starts", "someday", "key", "abcdefgh").Must(t, 400, "starts: must be a day and a time")
	b.Send(draft.At+"/copies", "starts", day+"T10:00", "key", ready.Field(t, "key")).Must(t, 200, "Draft", "10:00")
	b.Send(draft.At+"/cancellation", "scope", "all", "reason", "rain", "sure", "yes").Must(t, 200, "Cancelled")
	if left := systemtest.Call[api.List[api.Event]](s, 200, "GET", "/v1/events", "", nil); len(left.Items) != 0 {
		t.Errorf("on sale are %+v", left.Items)
	}
	s.Validate()
}
