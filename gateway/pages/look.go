package pages

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"html/template"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/locale"
)

//go:embed templates
var templates embed.FS

// look is the pages in one language. Each is read when it is shown first: all of them are 60 MB and half a second, and
// hardly anybody sees half of them.
type look struct {
	texts texts
	pages map[string]func() (*template.Template, error)
}

// pageNames are the pages. Each defines "title" and "main", which the frame stands around.
func pageNames() []string {
	return []string{"home", "event", "embed", "program", "addons", "checkout", "order", "account", "signin", "signup",
		"code", "proof", "leave", "away", "problem", "office", "editor", "dashboard", "attendees", "orders",
		"officeorder",
		"doors", "door", "guests", "scans", "pair", "staff", "messages", "codes", "imports", "import", "selling",
		"tickettype",
		"questions", "answers", "exchange", "organizer", "team", "organizerlog", "invoices", "earnings", "webhooks",
		"webhook",
		"apikeys", "secret", "mesh", "settings", "setting", "logs", "deadletters", "users", "user", "auditlog",
		"duepayouts", "payouts",
		"money", "checkin", "device", "profile", "enrol", "recovery", "forgot", "reset", "confirm"}
}

// doorNames are the pages that the computer of a venue has.
func doorNames() []string {
	return []string{"doors", "door", "guests", "scans", "pair", "staff", "problem"}
}

func (s *Site) newLooks() (map[string]*look, error) {
	looks, names := map[string]*look{}, pageNames()
	if s.cfg.Here != nil {
		names = doorNames()
	}
	for _, tag := range locale.Languages() {
		lang := tag.String()
		words, err := readTexts(lang)
		if err != nil {
			return nil, err
		}
		l := &look{texts: words, pages: map[string]func() (*template.Template, error){}}
		frame := template.New("frame.html").Funcs(s.functions(lang, words)).Option("missingkey=error")
		if frame, err = frame.ParseFS(templates, "templates/frame.html", "templates/parts.html"); err != nil {
			return nil, err
		}
		for _, name := range names {
			l.pages[name] = sync.OnceValues(func() (*template.Template, error) {
				page, err := frame.Clone()
				if err != nil {
					return nil, err
				}
				return page.ParseFS(templates, "templates/"+name+".html")
			})
		}
		looks[lang] = l
	}
	return looks, nil
}

// functions are what templates can do.
func (s *Site) functions(lang string, words texts) template.FuncMap {
	return template.FuncMap{
		"t": words.text,
		"n": words.counted,
		"category": func(name string) string {
			if slices.Contains(categories(), name) {
				return words.words["category."+name]
			}
			return name
		},
		"role": func(name string) string { // one of the organizer's own is called as it calls it
			if slices.Contains(api.Roles(), name) {
				return words.words["role."+name]
			}
			return name
		},
		"asset": s.assets.address,
		"money": func(m api.Money) string { return m.In(lang) },
		"times": func(m api.Money, n int) api.Money {
			return api.Money{Amount: m.Amount * int64(n), Currency: m.Currency}
		},
		"span": func(e *api.Event) string {
			return s.zones.Span(lang, e.StartsAt, e.EndsAt, e.Timezone)
		},
		"day":       func(t time.Time, zone string) string { return s.zones.In(t, zone).Format("2") },
		"month":     func(t time.Time, zone string) string { return shortMonth(lang, s.zones.In(t, zone)) },
		"moment":    func(t time.Time, zone string) string { return s.zones.Moment(lang, t, zone) },
		"iso":       func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"lines":     func(text string) []string { return strings.Split(strings.TrimSpace(text), "\n\n") },
		"plainJSON": plainJSON,
		"int":       func(n int64) int { return int(n) },
		"choosable": choosable,
		"answer":    answerLine,
		"countries": func() []country { return countries(lang) },
		"lowest":    func(e *api.Event) (string, error) { return lowest(lang, words, e) },
		"hue":       hue,
		"eventPath": eventPath,
		"srcset":    srcset,
		"isWide":    isWide,
		"mapOf":     mapOf,
		"geoOf":     geoOf,
		"linked":    s.linked,
		"shortened": shortened,
		"public":    func() string { return s.cfg.PublicURL },
		"languages": languageNames,
	}
}

// plainJSON writes a value for people: a text without its quotes.
func plainJSON(value json.RawMessage) string {
	var text string
	if json.Unmarshal(value, &text) == nil {
		return text
	}
	return string(value)
}

// lowest writes from what price on one can come to an event: nothing if it sells nothing.
func lowest(lang string, words texts, e *api.Event) (string, error) {
	tickets := e.Tickets()
	if len(tickets) == 0 {
		return "", nil
	}
	least, most := tickets[0].Price, tickets[0].Price
	for _, t := range tickets[1:] {
		least.Amount, most.Amount = min(least.Amount, t.Price.Amount), max(most.Amount, t.Price.Amount)
	}
	switch {
	case least.Amount == 0:
		free, err := words.text("event.free")
		if most.Amount > 0 {
			free += " – " + most.In(lang)
		}
		return free, err
	case least == most:
		return least.In(lang), nil
	}
	return words.text("event.from", least.In(lang))
}

// languageNames are the languages as those who speak them call them.
func languageNames() [][2]string {
	return [][2]string{{"en", "English"}, {"de", "Deutsch"}, {"fr", "Français"}, {"es", "Español"}}
}

func shortMonth(lang string, t time.Time) string {
	name := []rune(locale.Months(lang)[t.Month()-1])
	return string(name[:min(3, len(name))])
}

// hue returns which of the twelve colours of the style sheet something without a picture has.
func hue(id fmt.Stringer) string {
	h := fnv.New32a()
	h.Write([]byte(id.String()))
	return fmt.Sprintf("hue-%d", h.Sum32()%12)
}

// eventPath returns the address of an event's page: what it is called, for people, and its id.
func eventPath(e *api.Event) string { return "/events/" + url.PathEscape(slug(e.Name)+e.ID.String()) }

// slug writes a name for an address: letters and digits of any script, with - between words.
func slug(name string) string {
	const longest = 60
	var b strings.Builder
	for _, r := range strings.ToLower(name) {
		switch {
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
			b.WriteRune(r)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
		if b.Len() >= longest {
			break
		}
	}
	if s := strings.Trim(b.String(), "-"); s != "" {
		return s + "-"
	}
	return ""
}

// eventOf reads the id at the end of an event's address.
func eventOf(slug string) (ids.Event, error) {
	at := strings.LastIndex(slug, "evt_")
	if at < 0 {
		return "", fault.New(fault.NotFound, "there is no such event")
	}
	id, err := ids.Parse[ids.EventKind](slug[at:])
	if err != nil {
		return "", fault.New(fault.NotFound, "there is no such event")
	}
	return id, nil
}

// show writes a page. Its data has what the frame needs, too.
func (v *visit) show(name string, data map[string]any) error {
	page, err := v.render(name, data)
	if err != nil {
		return err
	}
	v.RC.Response.Header.SetContentType("text/html; charset=utf-8")
	v.write(page)
	return nil
}

// render makes a page.
func (v *visit) render(name string, data map[string]any) ([]byte, error) {
	l := v.site.looks[v.lang]
	if data == nil {
		data = map[string]any{}
	}
	data["Lang"], data["Person"], data["SignedIn"] = v.lang, v.name, v.access != ""
	data["Site"], data["Path"], data["Page"] = v.site.cfg.Name, string(v.RC.RequestURI()), name
	data["Here"], data["Staff"] = v.site.cfg.Here != nil, v.staff
	data["Office"] = strings.HasPrefix(string(v.RC.Path()), "/office")
	if _, given := data["Fault"]; !given {
		data["Fault"] = (*fault.Error)(nil)
	}
	var b bytes.Buffer
	page, err := l.pages[name]()
	if err == nil {
		err = page.Execute(&b, data)
	}
	if err != nil {
		return nil, fault.Wrap(fmt.Errorf("pages: %s in %s: %w", name, v.lang, err), fault.Internal,
			"the page cannot be shown")
	}
	return b.Bytes(), nil
}
