package notification

import (
	"bytes"
	"embed"
	"fmt"
	html "html/template"
	"strings"
	text "text/template"

	"golang.org/x/text/language"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
)

//go:embed templates
var templates embed.FS

// languages returns those that there are texts in. The first is that of people who speak none of them.
func languages() []language.Tag {
	return []language.Tag{language.English, language.German, language.French, language.Spanish}
}

// catalogue is the texts of all messages.
type catalogue struct {
	letters map[string]letter
	texts   map[string]*text.Template // by language
	plain   *text.Template
	page    *html.Template
	match   language.Matcher
	zones   zones
}

func newCatalogue() (*catalogue, error) {
	c := &catalogue{letters: map[string]letter{}, texts: map[string]*text.Template{}, match: language.NewMatcher(languages())}
	for _, l := range letters() {
		c.letters[l.name] = l
	}
	var err error
	for _, tag := range languages() {
		if c.texts[tag.String()], err = text.New(tag.String()).Option("missingkey=error").ParseFS(templates, "templates/"+tag.String()+".tmpl"); err != nil {
			return nil, err
		}
	}
	if c.plain, err = text.ParseFS(templates, "templates/layout.txt"); err != nil {
		return nil, err
	}
	if c.page, err = html.ParseFS(templates, "templates/layout.html"); err != nil {
		return nil, err
	}
	return c, nil
}

// language returns the language of ours that suits a person best.
func (c *catalogue) language(wanted string) string {
	tags, _, err := language.ParseAcceptLanguage(wanted)
	if err != nil {
		return languages()[0].String()
	}
	_, i, _ := c.match.Match(tags...)
	return languages()[i].String()
}

// speech returns the language in which a person is told something.
func (c *catalogue) speech(person api.Contact, f facts) string {
	if person.Language == "" {
		return c.language(f.Speaks)
	}
	return c.language(person.Language)
}

// view is what the texts are filled with, in the words of a language.
type view struct {
	Name             string // of the person
	Event, Was       eventView
	Moved, Relocated bool
	Amount, Reason   string
	Subject, Text    string
	Token, Until     string
	Hours            int
}

type eventView struct{ Name, When, Where string }

func (c *catalogue) view(lang, name string, f facts) view {
	v := view{Name: oneLine(name), Reason: c.reason(lang, f), Subject: f.Subject, Text: f.Text, Hours: f.Hours}
	if f.Event != nil {
		v.Event = c.event(lang, f.Event)
	}
	if f.Was != nil && f.Event != nil {
		v.Was = c.event(lang, f.Was)
		v.Moved = !f.Was.StartsAt.Equal(f.Event.StartsAt) || !f.Was.EndsAt.Equal(f.Event.EndsAt) || f.Was.Timezone != f.Event.Timezone
		v.Relocated = f.Was.Place != f.Event.Place
	}
	if f.Amount != nil {
		v.Amount = f.Amount.In(lang)
	}
	return v
}

// reason writes why something happened. That is a code of the system, which the language has words for, or what a person
// wrote. A code without words is for programs.
func (c *catalogue) reason(lang string, f facts) string {
	words, err := c.part(lang, "reason."+f.Code, view{})
	if err != nil || words == "" {
		return f.Reason
	}
	return words
}

func (c *catalogue) event(lang string, e *eventFacts) eventView {
	return eventView{Name: oneLine(e.Name), When: c.zones.span(lang, e.StartsAt, e.EndsAt, e.Timezone), Where: oneLine(e.Place)}
}

// part is a named piece of a message: subject, short, body, action.
func (c *catalogue) part(lang, name string, v view) (string, error) {
	t := c.texts[lang].Lookup(name)
	if t == nil {
		return "", nil
	}
	var b strings.Builder
	if err := t.Execute(&b, v); err != nil {
		return "", fmt.Errorf("notification: %s in %s: %w", name, lang, err)
	}
	return b.String(), nil
}

// longestShort is how long, in characters, a message may be in the inbox, as SMS or as push message.
const longestShort = 300

// headline returns the subject of a message and what it says in one sentence.
func (c *catalogue) headline(lang, name string, v view) (subject, short string, err error) {
	if subject, err = c.part(lang, name+".subject", v); err != nil {
		return "", "", err
	}
	if short, err = c.part(lang, name+".short", v); err != nil {
		return "", "", err
	}
	return oneLine(subject), clip(short, longestShort), nil
}

// clip cuts a text at n characters.
func clip(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return strings.TrimSpace(string(r[:n-1])) + "…"
	}
	return s
}

type pair struct{ Label, Value string }

type anchor struct{ Label, URL string }

// draft is a message before it has a form.
type draft struct {
	Lang, Subject, Greeting string
	Paragraphs              [][]string // lines
	Details                 []pair
	Action, Unsubscribe     *anchor
	Footer                  string
}

// written is a message as text and HTML.
type written struct{ subject, text, html string }

// links are the addresses that a message leads to; either may be empty.
type links struct{ action, unsubscribe string }

// write renders a message.
func (c *catalogue) write(lang, name string, v view, f facts, to links) (written, error) {
	l, ok := c.letters[name]
	if !ok {
		return written{}, fault.New(fault.Invalid, "there is no message %q", name)
	}
	d := draft{Lang: lang}
	var (
		body, label, unsubscribe string
		err                      error
	)
	for part, to := range map[string]*string{l.name + ".subject": &d.Subject, l.name + ".body": &body, l.name + ".action": &label,
		"hello": &d.Greeting, "footer": &d.Footer, "unsubscribe": &unsubscribe} {
		if *to, err = c.part(lang, part, v); err != nil {
			return written{}, err
		}
	}
	d.Subject = oneLine(d.Subject)
	for p := range strings.SplitSeq(strings.ReplaceAll(body, "\r\n", "\n"), "\n\n") {
		if p = strings.Trim(p, "\n"); p != "" {
			d.Paragraphs = append(d.Paragraphs, strings.Split(p, "\n"))
		}
	}
	if to.action != "" && label != "" {
		d.Action = &anchor{label, to.action}
	}
	if to.unsubscribe != "" {
		d.Unsubscribe = &anchor{unsubscribe, to.unsubscribe}
	}
	if d.Details, err = c.details(lang, v, f); err != nil {
		return written{}, err
	}
	var plain, page bytes.Buffer
	if err := c.plain.Execute(&plain, d); err != nil {
		return written{}, err
	}
	if err := c.page.Execute(&page, d); err != nil {
		return written{}, err
	}
	return written{d.Subject, plain.String(), page.String()}, nil
}

// details lists what a message is about, under its text.
func (c *catalogue) details(lang string, v view, f facts) ([]pair, error) {
	var rows []pair
	add := func(label, value string) error {
		if value == "" {
			return nil
		}
		text, err := c.part(lang, "label."+label, v)
		rows = append(rows, pair{text, value})
		return err
	}
	type row struct{ label, value string }
	all := []row{{"event", v.Event.Name}, {"when", v.Event.When}, {"where", v.Event.Where}}
	if f.Order != nil {
		all = append(all, row{"order", f.Order.ID.String()})
		for _, item := range f.Order.Items {
			all = append(all, row{"ticket", fmt.Sprintf("%d × %s, %s", item.Quantity, oneLine(item.Name), item.UnitPrice.In(lang))})
		}
		all = append(all, row{"total", f.Order.Total.In(lang)})
	}
	for _, r := range all {
		if err := add(r.label, r.value); err != nil {
			return nil, err
		}
	}
	return rows, nil
}
