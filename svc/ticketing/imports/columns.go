package imports

import (
	"slices"
	"strings"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/text"
)

// titlesOf returns what a column may be called, as it is compared: in the languages of the pages, and in our exports.
func titlesOf(column string) []string {
	switch column {
	case api.ImportEmail:
		return []string{"email", "e-mail", "mail", "email address", "e-mail-adresse", "adresse e-mail", "courriel",
			"correo", "correo electronico"}
	case api.ImportName:
		return []string{"name", "buyer", "attendee", "attendee name", "full name", "vor- und nachname", "teilnehmer",
			"nom", "nombre"}
	case api.ImportTicketType:
		return []string{"ticket_type", "ticket type", "ticket_type_name", "ticket", "product", "ticketart", "kategorie",
			"type de billet", "tipo de entrada"}
	case api.ImportQuantity:
		return []string{"quantity", "tickets", "number", "anzahl", "menge", "quantite", "nombre de billets", "cantidad"}
	case api.ImportPrice:
		return []string{"price", "unit price", "preis", "einzelpreis", "prix", "precio"}
	case api.ImportComplimentary:
		return []string{"complimentary", "free", "freikarte", "kostenlos", "gratis", "gratuit", "invitation"}
	case api.ImportReference:
		return []string{"reference", "external reference", "order_id", "order", "id", "referenz", "bestellnummer",
			"referencia"}
	case api.ImportLanguage:
		return []string{"language", "locale", "sprache", "langue", "idioma"}
	}
	return nil
}

// columnNames are all columns that are no questions.
func columnNames() []string {
	return []string{api.ImportEmail, api.ImportName, api.ImportTicketType, api.ImportQuantity, api.ImportPrice,
		api.ImportComplimentary, api.ImportReference, api.ImportLanguage}
}

// columns says where in a file is what.
type columns struct {
	titles  []string
	at      map[string]int        // of columnNames
	answers map[int]*api.Question // by the column
	ignored []string
}

// columnsOf finds the columns of a file. What the caller says goes before what they are called.
func columnsOf(titles, said []string, e *api.Event) (columns, error) {
	c := columns{titles: titles, at: map[string]int{}, answers: map[int]*api.Question{}, ignored: []string{}}
	folded := make([]string, len(titles))
	for i, t := range titles {
		folded[i] = text.Fold(t)
	}
	used := map[int]bool{}
	var check fault.Check
	for _, s := range said {
		name, title, ok := strings.Cut(s, ":")
		if !ok || !slices.Contains(columnNames(), name) {
			check.Field(false, "column", "must be a column and its title, such as email:Mail of the guest; columns "+
				"are %s", strings.Join(columnNames(), ", "))
			continue
		}
		at := slices.Index(folded, text.Fold(title))
		check.Field(at >= 0, "column", "%q is the title of no column", title)
		c.at[name], used[at] = at, true
	}
	for _, name := range columnNames() {
		if _, known := c.at[name]; known {
			continue
		}
		for _, title := range titlesOf(name) {
			if at := slices.Index(folded, text.Fold(title)); at >= 0 && !used[at] {
				c.at[name], used[at] = at, true
				break
			}
		}
	}
	for i := range e.Questions {
		q := &e.Questions[i]
		at := slices.IndexFunc(folded, func(t string) bool { return t == text.Fold(q.Label) || t == q.ID.String() })
		if at >= 0 && !used[at] && asked(q) {
			c.answers[at], used[at] = q, true
		}
	}
	for i, t := range titles {
		if !used[i] && t != "" {
			c.ignored = append(c.ignored, t)
		}
	}
	_, email := c.at[api.ImportEmail]
	check.Field(email, "file", "has no column %s: its titles are %s", api.ImportEmail, strings.Join(titles, ", "))
	_, typ := c.at[api.ImportTicketType]
	check.Field(typ || len(e.Tickets()) == 1, "file", "has no column %s: its titles are %s", api.ImportTicketType,
		strings.Join(titles, ", "))
	return c, check.Err()
}

// of returns what a record has in a column, "" if there is none.
func (c *columns) of(r record, name string) string {
	at, ok := c.at[name]
	if !ok || at >= len(r.cells) {
		return ""
	}
	return r.cells[at]
}

// title returns what a column is called in the file.
func (c *columns) title(name string) string {
	if at, ok := c.at[name]; ok {
		return c.titles[at]
	}
	return name
}

// asked reports whether a question is answered at checkout, and so in a file.
func asked(q *api.Question) bool { return !q.Hidden && q.At == api.AskedAtCheckout }
