package system_test

import (
	"strings"
	"testing"

	"github.com/starlightsymphony/starlight/shared/api"
)

// The office writes ticket types, products and questions in another language without scripts, and buyers get them in
// theirs: in the shop, on the organizer's own site, at the checkout and with the order.
func TestShopInTheBuyersLanguage(t *testing.T) {
	t.Parallel()
	s, _, _ := start(t, config(t.TempDir()))
	s.unlimited(s.login(adminEmail))
	b := s.browser()
	b.send("/sign-up", "name", "Mina", "email", "mina@example.org", "password", password).must(t, 200)
	mina := s.login("mina@example.org")
	event := s.concert(mina, 20, 0)
	id, typ := event.ID.String(), event.TicketTypes[0]
	at, name := "/office/events/"+id, typ.Name
	types, asks := at+"/ticket-types/"+typ.ID.String(), at+"/questions"
	b.get(types).must(t, 200, at+"/edit") // of an event that does not say its language there are no others
	call[api.Event](s, 200, "PATCH", "/v1/events/"+id, mina, map[string]any{"language": "en",
		"translations": []map[string]any{{"language": "de", "name": "Konzert"}}})
	b.get(types).must(t, 200, `name="name_de"`, `name="name_fr"`)

	whole := []string{"do", "whole", "name", name, "price", "0", "quantity", "20"}
	b.send(types, append(whole, "name_de", "Stehplatz <b>", "stage.0.name", "Early", "stage.0.price", "0", "stage.0.quantity",
		"5", "stage.0.name_de", "Frühbucher")...).must(t, 200)
	b.get(types).must(t, 200, `value="Stehplatz &lt;b&gt;"`, `value="Frühbucher"`)
	b.send(types, append(whole, "name_de", strings.Repeat("x", 201))...).must(t, 400, "translations[0].name")
	b.send(at+"/ticket-types", "kind", "product", "name", "Large", "group", "T-shirt", "price", "0", "currency", "EUR",
		"quantity", "9").must(t, 200)
	shirt := call[api.Event](s, 200, "GET", "/v1/events/"+id, mina, nil).TicketTypes[1]
	b.send(at+"/ticket-types/"+shirt.ID.String(), "do", "whole", "name", "Large", "price", "0", "quantity", "9", "group", "T-shirt",
		"per", "order", "group_de", "Hemd").must(t, 200)
	b.send(asks, "revision", b.get(asks).field(t, "revision"), "q.0.label", "Food", "q.0.kind", "choice", "q.0.required", "yes",
		"q.0.help", "At the break", "q.0.choices", "All\nNo meat", "q.0.place", "1", "q.0.label_de", "Essen", "q.0.choices_de",
		"\nOhne Fleisch").must(t, 200)
	asked := b.get(asks).must(t, 200, `value="Essen"`, "\n\nOhne Fleisch</textarea>")
	b.send(asks, "revision", asked.field(t, "revision"), "q.0.id", asked.field(t, "q.0.id"), "q.0.label", "Food", "q.0.kind", "choice",
		"q.0.help", "At the break", "q.0.choices", "All\nNo meat", "q.0.required", "yes", "q.0.place", "1", "q.0.label_de", "Essen",
		"q.0.choices_de", "\nOhne Fleisch").must(t, 200)
	e := call[api.Event](s, 200, "GET", "/v1/events/"+id, mina, nil)
	q := e.Questions[0]
	if len(e.TicketTypes[0].Translations) != 1 || e.TicketTypes[1].Translations[0] != (api.TypeTranslation{Language: "de", Name: "Large", Group: "Hemd"}) ||
		len(q.Choices[0].Translations) != 0 || len(q.Choices[1].Translations) != 1 {
		t.Fatalf("%+v", e)
	}

	guest := s.browser()
	guest.send("/language", "language", "de", "next", "/").must(t, 200)
	guest.get("/events/"+id).must(t, 200, "Stehplatz &lt;b&gt;", "Frühbucher", "Hemd, Large")
	guest.get("/embed/"+id).must(t, 200, "Stehplatz &lt;b&gt;", "Frühbucher")
	s.browser().get("/events/"+id).must(t, 200, name, "Early", "T-shirt, Large")
	tickets := "/checkout?event=" + id + "&" + typ.ID.String() + "=1"
	guest.get(tickets).must(t, 200, "Hemd")
	key := guest.get(tickets+"&addons=yes&"+shirt.ID.String()+"=1").must(t, 200, "1 × Stehplatz", "Frühbucher", "1 × Hemd, Large").
		field(t, "key")
	form := []string{"event", id, typ.ID.String(), "1", shirt.ID.String(), "1", "key", key, "name", "Kim", "email", "kim@example.org"}
	guest.send("/checkout", form...).must(t, 200, "Essen", "At the break", "All", "Ohne Fleisch", "Stehplatz &lt;b&gt;")
	made := guest.send("/checkout", append(form, "asked", "yes", "a."+q.ID.String()+".0", q.Choices[1].ID.String())...).
		must(t, 200, "Konzert", "1 × Stehplatz &lt;b&gt;, Frühbucher", "1 × Hemd, Large", "<h3>Hemd, Large</h3>")
	guest.get(made.at+"/answers").must(t, 200, "Essen", "selected>Ohne Fleisch", "Stehplatz &lt;b&gt;")

	// The organizer reads the event's own words.
	b.get(at+"/attendees").must(t, 200, "Food – No meat", name)
	b.get(at+made.at).must(t, 200, "1 × "+name+", Early", "Food – No meat")
	if file := b.get(at + "/files/orders.csv"); strings.Contains(file.text, "Stehplatz") || !strings.Contains(file.text, name) {
		t.Errorf("the file has\n%s", file.text)
	}
	s.validate()
}
