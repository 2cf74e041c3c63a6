// Package render writes messages: the templates of each language, times and amounts as a language writes them, the HTML
// of mails, and tickets as PDF and QR codes.
package render

import (
	"cmp"
	"embed"
	"fmt"
	html "html/template"
	"strings"
	plain "text/template"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/document"
	"github.com/starlightsymphony/starlight/shared/layout"
	"github.com/starlightsymphony/starlight/shared/locale"
	"github.com/starlightsymphony/starlight/shared/text"
)

//go:embed templates
var templates embed.FS

// Catalogue is the texts of all messages. It is safe for concurrent use.
type Catalogue struct {
	locale.Matcher

	byName map[string]Template
	texts  map[string]*plain.Template // by language
	plain  *plain.Template
	mail   *html.Template
	page   *html.Template
	zones  locale.Zones
	fonts  *document.Fonts
	sender string
}

// New reads the catalogue. Sender is the name that tickets carry.
func New(fonts *document.Fonts, sender string) (*Catalogue, error) {
	c := &Catalogue{byName: map[string]Template{}, texts: map[string]*plain.Template{},
		Matcher: locale.NewMatcher(), fonts: fonts, sender: sender}
	for _, t := range Templates() {
		c.byName[t.Name] = t
	}
	var err error
	for _, tag := range locale.Languages() {
		lang := tag.String()
		strict := plain.New(lang).Option("missingkey=error")
		if c.texts[lang], err = strict.ParseFS(templates, "templates/"+lang+".tmpl"); err != nil {
			return nil, err
		}
	}
	if c.plain, err = plain.ParseFS(templates, "templates/mail.txt"); err != nil {
		return nil, err
	}
	if c.mail, err = layout.Parse(templates, "templates/mail.html"); err != nil {
		return nil, err
	}
	c.page, err = layout.Parse(templates, "templates/unsubscribe.html")
	return c, err
}

// Template returns a template by its name.
func (c *Catalogue) Template(name string) (Template, bool) {
	t, ok := c.byName[name]
	return t, ok
}

// LanguageOf returns the language of a message to a recipient.
func (c *Catalogue) LanguageOf(recipient api.Contact, f Facts) string {
	if recipient.Language == "" {
		return c.Language(f.Speaks)
	}
	return c.Language(recipient.Language)
}

// View is what the texts are filled with, as a language writes it.
type View struct {
	Name             string // of the recipient
	Event, Was       EventView
	Moved, Relocated bool
	Paid             bool // the order was
	Amount, Reason   string
	Subject, Text    string
	Token, Until     string
	Address          string // that is to replace the recipient's, masked
	Device, From     string // of a login, and the address that it came from
	When             string // it was
	Hours            int
	Left             int    // recovery codes
	Provider         string // of identities
}

// EventView is an event as a language writes it.
type EventView struct{ Name, When, Where string }

// Moment writes a time in a zone.
func (c *Catalogue) Moment(lang string, t time.Time, zone string) string {
	return c.zones.Moment(lang, t, zone)
}

// View returns facts as a language writes them.
func (c *Catalogue) View(lang, name string, f Facts) View {
	v := View{Name: text.OneLine(name), Reason: c.reason(lang, f), Subject: f.Subject, Text: f.Text, Hours: f.Hours,
		Left: f.Left, Provider: text.OneLine(f.Provider)}
	if f.Event != nil {
		v.Event = c.event(lang, f.Event)
	}
	if f.Was != nil && f.Event != nil {
		v.Was = c.event(lang, f.Was)
		v.Moved = !f.Was.StartsAt.Equal(f.Event.StartsAt) || !f.Was.EndsAt.Equal(f.Event.EndsAt) ||
			f.Was.Timezone != f.Event.Timezone
		v.Relocated = f.Was.Place != f.Event.Place
	}
	v.Paid = f.Order != nil && f.Order.PaidAt != nil
	if f.Amount != nil {
		v.Amount = f.Amount.In(lang)
	}
	return v
}

// reason writes why something happened. That is a code of the system, which the language has words for, or what a
// person wrote. A code without words is for programs.
func (c *Catalogue) reason(lang string, f Facts) string {
	words, err := c.part(lang, "reason."+f.Code, View{})
	if err != nil || words == "" {
		return f.Reason
	}
	return words
}

func (c *Catalogue) event(lang string, e *Event) EventView {
	return EventView{Name: text.OneLine(cmp.Or(e.Names[lang], e.Name)),
		When: c.zones.Span(lang, e.StartsAt, e.EndsAt, e.Timezone), Where: text.OneLine(e.Place)}
}

// part is a named piece of a message: subject, short, body, action.
func (c *Catalogue) part(lang, name string, v View) (string, error) {
	t := c.texts[lang].Lookup(name)
	if t == nil {
		return "", nil
	}
	var b strings.Builder
	if err := t.Execute(&b, v); err != nil {
		return "", fmt.Errorf("render: %s in %s: %w", name, lang, err)
	}
	return b.String(), nil
}

// Headline returns the subject of a message and what it says in one sentence, which fits an inbox, an SMS and a push
// message.
func (c *Catalogue) Headline(lang, name string, v View) (subject, short string, err error) {
	const maxShort = 300 // characters
	if subject, err = c.part(lang, name+".subject", v); err != nil {
		return "", "", err
	}
	if short, err = c.part(lang, name+".short", v); err != nil {
		return "", "", err
	}
	return text.OneLine(subject), text.Shorten(short, maxShort), nil
}
