package browsing_test

import (
	"strings"
	"testing"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/svc/system/systemtest"
)

// The office writes ticket types, products and questions in another language without scripts, and buyers get them in
// theirs: in the shop, on the organizer's own site, at the checkout and with the order.
func TestShopInTheBuyersLanguage(t *testing.T) {
	t.Parallel()
	s, _, _ := systemtest.Start(t, systemtest.Config(t.TempDir()))
	s.Unlimited(s.Login(systemtest.AdminEmail))
	b := s.Browser()
	b.Send("/sign-up", "name", "Mina", "email", "mina@example.org", "password", systemtest.Password).Must(t, 200)
	mina := s.Login("mina@example.org")
	event := s.Concert(mina, 20, 0)
	id, typ := event.ID.String(), event.TicketTypes[0]
	at, name := "/office/events/"+id, typ.Name
	types, asks := at+"/ticket-types/"+typ.ID.String(), at+"/questions"
	b.Get(types).Must(t, 200, at+"/edit") // of an event that does not say its language there are no others
	systemtest.Call[api.Event](s, 200, "PATCH", "/v1/events/"+id, mina, map[string]any{"language": "en",
		"translations": []map[string]any{{"language": "de", "name": "Konzert"}}})
	b.Get(types).Must(t, 200, `name="name_de"`, `name="name_fr"`)

	whole := []string{"do", "whole", "name", name, "price", "0", "quantity", "20"}
	b.Send(types, append(whole, "name_de", "Stehplatz <b>", "stage.0.name", "Early", "stage.0.price", "0", "stage.0.quantity",
		"5", "stage.0.name_de", "Frühbucher")...).Must(t, 200)
	b.Get(types).Must(t, 200, `value="Stehplatz &lt;b&gt;"`, `value="Frühbucher"`)
	b.Send(types, append(whole, "name_de", strings.Repeat("x", 201))...).Must(t, 400, "translations[0].name")
	b.Send(at+"/ticket-types", "kind", "product", "name", "Large", "group", "T-shirt", "price", "0", "currency", "EUR",
		"quantity", "9").Must(t, 200)
	shirt := systemtest.Call[api.Event](s, 200, "GET", "/v1/events/"+id, mina, nil).TicketTypes[1]
	b.Send(at+"/ticket-types/"+shirt.ID.String(), "do", "whole", "name", "Large", "price", "0", "quantity", "9", "group", "T-shirt",
		"per", "order", "group_de", "Hemd").Must(t, 200)
	b.Send(asks, "revision", b.Get(asks).Field(t, "revision"), "q.0.label", "Food", "q.0.kind", "choice", "q.0.required", "yes",
		"q.0.help", "At the break", "q.0.choices", "All\nNo meat", "q.0.place", "1", "q.0.label_de", "Essen", "q.0.choices_de",
		"\nOhne Fleisch").Must(t, 200)
	asked := b.Get(asks).Must(t, 200, `value="Essen"`, "\n\nOhne Fleisch</textarea>")
	b.Send(asks, "revision", asked.Field(t, "revision"), "q.0.id", asked.Field(t, "q.0.id"), "q.0.label", "Food", "q.0.kind", "choice",
		"q.0.help", "At the break", "q.0.choices", "All\nNo meat", "q.0.required", "yes", "q.0.place", "1", "q.0.label_de", "Essen",
		"q.0.choices_de", "\nOhne Fleisch").Must(t, 200)
	e := systemtest.Call[api.Event](s, 200, "GET", "/v1/events/"+id, mina, nil)
	q := e.Questions[0]
	if len(e.TicketTypes[0].Translations) != 1 || e.TicketTypes[1].Translations[0] != (api.TypeTranslation{Language: "de", Name: "Large", Group: "Hemd"}) ||
		len(q.Choices[0].Translations) != 0 || len(q.Choices[1].Translations) != 1 {
		t.Fatalf("%+v", e)
	}

	guest := s.Browser()
	guest.Send("/language", "language", "de", "next", "/").Must(t, 200)
	guest.Get("/events/"+id).Must(t, 200, "Stehplatz &lt;b&gt;", "Frühbucher", "Hemd, Large")
	guest.Get("/embed/"+id).Must(t, 200, "Stehplatz &lt;b&gt;", "Frühbucher")
	s.Browser().Get("/events/"+id).Must(t, 200, name, "Early", "T-shirt, Large")
	tickets := "/checkout?event=" + id + "&" + typ.ID.String() + "=1"
	guest.Get(tickets).Must(t, 200, "Hemd")
	key := guest.Get(tickets+"&addons=yes&"+shirt.ID.String()+"=1").Must(t, 200, "1 × Stehplatz", "Frühbucher", "1 × Hemd, Large").
		Field(t, "key")
	form := []string{"event", id, typ.ID.String(), "1", shirt.ID.String(), "1", "key", key, "name", "Kim", "email", "kim@example.org"}
	guest.Send("/checkout", form...).Must(t, 200, "Essen", "At the break", "All", "Ohne Fleisch", "Stehplatz &lt;b&gt;")
	made := guest.Send("/checkout", append(form, "asked", "yes", "a."+q.ID.String()+".0", q.Choices[1].ID.String())...).
		Must(t, 200, "Konzert", "1 × Stehplatz &lt;b&gt;, Frühbucher", "1 × Hemd, Large", "<h3>Hemd, Large</h3>")
	guest.Get(made.At+"/answers").Must(t, 200, "Essen", "selected>Ohne Fleisch", "Stehplatz &lt;b&gt;")

	// The organizer reads the event's own words.
	b.Get(at+"/attendees").Must(t, 200, "Food – No meat", name)
	b.Get(at+made.At).Must(t, 200, "1 × "+name+", Early", "Food – No meat")
	if file := b.Get(at + "/files/orders.csv"); strings.Contains(file.Text, "Stehplatz") || !strings.Contains(file.Text, name) {
		t.Errorf("the file has\n%s", file.Text)
	}
	s.Validate()
}
