package system_test

import (
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
)

// An organizer sees what a draft lacks, repeats and copies it, and says it in two languages; buyers find the dates.
func TestPlanningInTheBrowser(t *testing.T) {
	t.Parallel()
	s, _, _ := start(t, config(t.TempDir()))
	b := s.browser()
	b.send("/sign-up", "name", "Mina", "email", "mina@example.org", "password", password, "next", "/office").must(t, 200)
	day := time.Now().AddDate(0, 0, 20).Format(time.DateOnly)
	nasty := `Lamps <script>alert(1)</script>`
	event := []string{"name", nasty, "description", "", "category", "concert", "starts", day + "T20:00", "ends", day + "T23:30",
		"timezone", "Europe/Berlin", "place", "", "address", "", "city", "Berlin", "country", "DE", "language", "en",
		"name_de", "Lampen <b>x</b>", "description_de", "Viele Lampen."}
	draft := b.send("/office/events", event...).must(t, 200, "Add at least one ticket type", "in which hall", "recommended")
	if strings.Contains(draft.text, "/publication") || strings.Contains(draft.text, "<script>alert") {
		t.Error("what cannot be published yet has a button, or a name is markup")
	}
	ready := b.send(draft.at+"/ticket-types", "name", "Standard", "price", "0", "currency", "EUR", "quantity", "30").must(t, 200, "/publication")

	repeat := []string{"every", "1", "unit", "WEEKLY", "count", "3", "key", ready.field(t, "key")}
	b.send(draft.at+"/series", append(repeat, "do", "preview")...).must(t, 200, "Create these dates")
	b.send(draft.at+"/series", "every", "1", "unit", "SECONDLY", "count", "3", "key", ready.field(t, "key")).must(t, 400, "rule: must be of FREQ")
	made := b.send(draft.at+"/series", append(repeat, "do", "create")...).must(t, 200, "Dates of this series", "For which dates")
	b.send(draft.at+"/series", append(repeat, "do", "create")...).must(t, 200) // sent twice
	b.send(draft.at+"/publication", "scope", "all").must(t, 200, "Published")
	edit := []string{"name", nasty, "scope", "later", "place", "Old Hall"}
	for i := 2; i < len(event); i += 2 {
		if event[i] != "place" {
			edit = append(edit, event[i], event[i+1])
		}
	}
	b.get(draft.at+"/edit").must(t, 200, "Viele Lampen.", "For which dates")
	b.send(draft.at+"/edit", edit...).must(t, 200, "Old Hall")
	found := call[api.List[api.Event]](s, 200, "GET", "/v1/events?q="+url.QueryEscape("lampen hall"), "", nil)
	if len(found.Items) != 3 || found.Items[2].Location.Name != "Old Hall" || len(found.Items[2].Translations) != 1 {
		t.Errorf("found are %+v", found.Items)
	}
	if made.status != 200 {
		t.Error(made.status)
	}

	// The shop lists the next date alone, and leads to the others.
	guest := s.browser()
	front := guest.get("/").must(t, 200, "More dates")
	if n := strings.Count(front.text, `class="card"`); n != 1 {
		t.Errorf("%d cards", n)
	}
	page := guest.get(regexp.MustCompile(`href="(/events/[^"]+)"`).FindStringSubmatch(front.text)[1]).must(t, 200, "Other dates")
	if strings.Contains(page.text, "<script>alert") {
		t.Error("a name is markup")
	}
	guest.send("/language", "language", "de", "next", "/").must(t, 200, "Lampen &lt;b&gt;x&lt;/b&gt;", "Weitere Termine")

	b.send(draft.at+"/copies", "starts", "someday", "key", "abcdefgh").must(t, 400, "starts: must be a day and a time")
	b.send(draft.at+"/copies", "starts", day+"T10:00", "key", ready.field(t, "key")).must(t, 200, "Draft", "10:00")
	b.send(draft.at+"/cancellation", "scope", "all", "reason", "rain", "sure", "yes").must(t, 200, "Cancelled")
	if left := call[api.List[api.Event]](s, 200, "GET", "/v1/events", "", nil); len(left.Items) != 0 {
		t.Errorf("on sale are %+v", left.Items)
	}
	s.validate()
}
