package render

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/text"
)

// Message is a message as text and HTML.
type Message struct{ Subject, Text, HTML string }

// Links are the addresses that a message leads to; either may be empty.
type Links struct{ Action, Unsubscribe string }

// draft is a message before it has a form.
type draft struct {
	Lang, Subject, Greeting string
	Paragraphs              [][]string // lines
	Details                 []detail
	Action, Unsubscribe     *anchor
	Footer                  string
}

type detail struct{ Label, Value string }

type anchor struct{ Label, URL string }

// Message writes a message.
func (c *Catalogue) Message(lang, name string, v View, f Facts, links Links) (Message, error) {
	t, ok := c.byName[name]
	if !ok {
		return Message{}, fault.New(fault.Invalid, "there is no message %q", name)
	}
	d := draft{Lang: lang}
	var (
		body, label, unsubscribe string
		err                      error
	)
	for part, to := range map[string]*string{t.Name + ".subject": &d.Subject, t.Name + ".body": &body,
		t.Name + ".action": &label, "hello": &d.Greeting, "footer": &d.Footer, "unsubscribe": &unsubscribe} {
		if *to, err = c.part(lang, part, v); err != nil {
			return Message{}, err
		}
	}
	d.Subject = text.OneLine(d.Subject)
	d.Paragraphs = paragraphs(body)
	if links.Action != "" && label != "" {
		d.Action = &anchor{label, links.Action}
	}
	if links.Unsubscribe != "" {
		d.Unsubscribe = &anchor{unsubscribe, links.Unsubscribe}
	}
	if d.Details, err = c.details(lang, v, f); err != nil {
		return Message{}, err
	}
	var plain, page bytes.Buffer
	if err := c.plain.Execute(&plain, d); err != nil {
		return Message{}, err
	}
	if err := c.mail.Execute(&page, d); err != nil {
		return Message{}, err
	}
	return Message{d.Subject, plain.String(), page.String()}, nil
}

// paragraphs splits a text into paragraphs, and these into lines.
func paragraphs(body string) (all [][]string) {
	for p := range strings.SplitSeq(strings.ReplaceAll(body, "\r\n", "\n"), "\n\n") {
		if p = strings.Trim(p, "\n"); p != "" {
			all = append(all, strings.Split(p, "\n"))
		}
	}
	return all
}

// details lists what a message is about, under its text.
func (c *Catalogue) details(lang string, v View, f Facts) ([]detail, error) {
	all := []detail{{"event", v.Event.Name}, {"when", v.Event.When}, {"where", v.Event.Where}}
	if f.Order != nil {
		all = append(all, detail{"order", f.Order.Called()})
		for _, item := range f.Order.Items {
			if f.Event != nil {
				item = f.Event.Called.Item(lang, item)
			}
			line := fmt.Sprintf("%d × %s, %s", item.Quantity, text.OneLine(item.Title()), item.UnitPrice.In(lang))
			if off := item.Discount; off.Amount > 0 {
				off.Amount = -off.Amount
				line += ", " + off.In(lang)
			}
			all = append(all, detail{"ticket", line})
		}
		var included []detail
		for _, x := range f.Order.Extras() {
			name := text.OneLine(x.Name)
			if x.Rate != "" {
				name += " " + x.Rate + " %"
			}
			d := detail{x.Kind, strings.TrimSpace(name + " " + x.Amount.In(lang))}
			if x.Kind == api.BillIncludedTax {
				included = append(included, d)
				continue
			}
			all = append(all, d)
		}
		all = append(append(all, detail{"total", f.Order.Total.In(lang)}), included...)
	}
	var rows []detail
	for _, d := range all {
		if d.Value == "" {
			continue
		}
		label, err := c.part(lang, "label."+d.Label, v)
		if err != nil {
			return nil, err
		}
		rows = append(rows, detail{label, d.Value})
	}
	return rows, nil
}

// UnsubscribePage writes the page that an unsubscribe link opens: with a button to stop mails, or what became of it.
func (c *Catalogue) UnsubscribePage(lang string, withButton bool) ([]byte, error) {
	page := struct {
		Lang, Subject, Text, Button string
	}{Lang: lang, Subject: c.sender}
	name := "unsubscribed"
	if withButton {
		name = "unsubscribe.ask"
	}
	var err error
	if page.Text, err = c.part(lang, name, View{}); err != nil {
		return nil, err
	}
	if withButton {
		if page.Button, err = c.part(lang, "unsubscribe", View{}); err != nil {
			return nil, err
		}
	}
	var b bytes.Buffer
	err = c.page.Execute(&b, page)
	return b.Bytes(), err
}
