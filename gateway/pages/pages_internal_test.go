package pages

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/locale"
)

// Pages are read when they are first shown; each can be read, in each language.
func TestPagesAreRead(t *testing.T) {
	looks, err := new(Site).newLooks()
	if err != nil {
		t.Fatal(err)
	}
	for lang, l := range looks {
		if len(l.pages) != len(pageNames()) {
			t.Errorf("there are %d pages in %s", len(l.pages), lang)
		}
		for name, read := range l.pages {
			if page, err := read(); err != nil || page.Lookup("main") == nil {
				t.Errorf("%s in %s: %v", name, lang, err)
			}
		}
	}
}

// Every language has words for everything that a page says, with the same gaps to fill in.
func TestTexts(t *testing.T) {
	english, err := readTexts("en")
	if err != nil {
		t.Fatal(err)
	}
	gap := regexp.MustCompile(`\{\d\}`)
	gaps := func(words string) string {
		found := gap.FindAllString(words, -1)
		slices.Sort(found)
		return strings.Join(found, "")
	}
	for _, tag := range locale.Languages() {
		words, err := readTexts(tag.String())
		if err != nil {
			t.Fatal(err)
		}
		for key, text := range english.words {
			if other, ok := words.words[key]; !ok || gaps(other) != gaps(text) {
				t.Errorf("%s: %s is %q, in English %q", tag, key, other, text)
			}
		}
		if len(words.words) != len(english.words) {
			t.Errorf("%s has %d texts, English has %d", tag, len(words.words), len(english.words))
		}
	}
	used := usedTexts(t)
	for _, key := range used {
		if _, ok := english.words[key]; !ok {
			t.Errorf("there are no words for %s", key)
		}
	}
	for key := range english.words {
		if !slices.Contains(used, key) {
			t.Errorf("no page says %s", key)
		}
	}
}

// usedTexts returns the keys that templates name, and those that they put together.
func usedTexts(t *testing.T) (keys []string) {
	t.Helper()
	whole, counted := regexp.MustCompile(`\bt "([a-z_.]+)"`), regexp.MustCompile(`\bn "([a-z_.]+)"`)
	files, err := filepath.Glob("templates/*.html")
	if err != nil || len(files) < len(pageNames()) {
		t.Fatal(files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range whole.FindAllStringSubmatch(string(text), -1) {
			keys = append(keys, m[1])
		}
		for _, m := range counted.FindAllStringSubmatch(string(text), -1) {
			keys = append(keys, m[1]+".one", m[1]+".other")
		}
	}
	for _, code := range fault.Codes() {
		keys = append(keys, "problem."+string(code))
	}
	for _, status := range []string{api.OrderPending, api.OrderPaid, api.OrderExpired, api.OrderCancelled, api.OrderRefunding, api.OrderRefunded} {
		keys = append(keys, "order.title_"+status, "state."+status)
		if status != api.OrderPending {
			keys = append(keys, "order.text_"+status)
		}
	}
	for _, status := range []string{api.TicketValid, api.TicketAdmitted, api.TicketHandedOut, api.TicketRevoked} {
		keys = append(keys, "ticket."+status)
	}
	for _, provider := range []string{"sandbox", "stripe", "manual"} {
		keys = append(keys, "provider."+provider)
	}
	for _, status := range []string{api.EventPublished, api.EventDraft, api.EventCancelled} {
		keys = append(keys, "office."+status)
	}
	for _, code := range findingCodes() {
		keys = append(keys, "ready."+code)
	}
	for _, status := range []string{"pending", "succeeded", "failed"} {
		keys = append(keys, "refund."+status)
	}
	for _, result := range []string{api.Admitted, api.AlreadyAdmitted, api.InvalidCode, api.WrongEvent, api.RevokedTicket, api.NotYetValid,
		api.ExpiredTicket, api.NoReentry, api.Exited, api.NotInside, api.HandedOut, api.AlreadyHandedOut, "undecided", "unnoted"} {
		keys = append(keys, "scan."+result)
	}
	for _, status := range []string{api.ImportChecked, api.ImportRunning, api.ImportStopped, api.ImportDone} {
		keys = append(keys, "import."+status, "import.head_"+status)
	}
	for _, status := range []string{api.RowReady, api.RowWrong, api.RowThere, api.RowMade, api.RowFailed} {
		keys = append(keys, "import.state_"+status)
	}
	for _, column := range importColumns() {
		keys = append(keys, "import.column_"+column)
	}
	for _, kind := range questionKinds() {
		keys = append(keys, "asks."+kind)
	}
	keys = append(keys, "answer."+api.ConsentGiven, "answer."+api.ConsentRefused)
	for _, name := range categories() {
		keys = append(keys, "category."+name)
	}
	for _, role := range api.Roles() {
		keys = append(keys, "role."+role)
	}
	for _, kind := range []string{api.AboutOrders, api.AboutChanges, api.AboutReminders, api.AboutAnnouncements} {
		keys = append(keys, "kind."+kind)
	}
	for _, p := range api.Permissions() {
		keys = append(keys, "may."+string(p))
	}
	for _, scope := range api.Scopes() {
		keys = append(keys, "scope."+scope)
	}
	keys = append(keys, "secret.text_webhook", "secret.text_key")
	for _, kind := range []api.DriftKind{api.DriftAbsent, api.DriftMissing, api.DriftUndeclared, api.DriftDiffers, api.DriftVersions, api.DriftUnhealthy} {
		keys = append(keys, "drift."+string(kind))
	}
	for _, state := range []string{"hub", "handing_over", "venue", "returning"} {
		keys = append(keys, "doors."+state)
	}
	for _, minutes := range logPeriods() {
		keys = append(keys, fmt.Sprintf("logs.minutes_%d", minutes))
	}
	return append(keys, "event.free", "event.from")
}

// The requests that a browser sends at the same time share a renewal; one that failed is tried again.
func TestRenewalsAreShared(t *testing.T) {
	now := time.Unix(1000, 0)
	r := &renewals{now: func() time.Time { return now }, running: map[string]*renewal{}}
	var asked atomic.Int32
	gate := make(chan struct{})
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			tokens, err := r.do("old", func() (*api.Tokens, error) {
				<-gate
				asked.Add(1)
				return &api.Tokens{AccessToken: "new"}, nil
			})
			if err != nil || tokens.AccessToken != "new" {
				t.Error(tokens, err)
			}
		})
	}
	close(gate)
	wg.Wait()
	if asked.Load() != 1 {
		t.Errorf("the session was renewed %d times", asked.Load())
	}
	for range 2 {
		if _, err := r.do("other", func() (*api.Tokens, error) { asked.Add(1); return nil, errors.New("away") }); err == nil {
			t.Error("a failure was kept")
		}
	}
	if asked.Load() != 3 {
		t.Errorf("asked %d times", asked.Load())
	}
	now = now.Add(time.Hour)
	r.sweep()
	if len(r.running) != 0 {
		t.Errorf("%d renewals are kept for good", len(r.running))
	}
}

func TestAddresses(t *testing.T) {
	id := ids.New[ids.EventKind](time.Now())
	for name, want := range map[string]string{"Jazz & Blues!": "jazz-blues-", "  ": "", "Ünïcode Nacht": "n-code-nacht-", "../../x": "x-",
		strings.Repeat("long ", 40): strings.Repeat("long-", 12)} {
		e := &api.Event{ID: id, Name: name}
		if got := eventPath(e); got != "/events/"+want+id.String() {
			t.Errorf("%q is at %s", name, got)
		}
		if got, err := eventOf(strings.TrimPrefix(eventPath(e), "/events/")); got != id || err != nil {
			t.Errorf("%s leads to %s, %v", eventPath(e), got, err)
		}
	}
	for to, want := range map[string]string{"/account": "/account", "/checkout?event=x&y=2": "/checkout?event=x&y=2", "": "/", "//evil.example": "/",
		"https://evil.example/": "/", "/\\evil.example": "/", "evil": "/", "/a\r\nSet-Cookie: x": "/"} {
		rc := &fasthttp.RequestCtx{}
		rc.QueryArgs().Set("next", to)
		if got := (&visit{Request: &Request{RC: rc}}).next(); got != want {
			t.Errorf("next=%q leads to %q", to, got)
		}
	}
}

// Forms count only if a page of this site has sent them.
func TestSameSite(t *testing.T) {
	for _, c := range []struct {
		site, origin string
		want         bool
	}{{"same-origin", "", true}, {"none", "", true}, {"cross-site", "", false}, {"same-site", "", false}, {"", "https://shop.example", true},
		{"", "https://evil.example", false}, {"", "null", false}, {"", "", true}, {"cross-site", "https://shop.example", false}} {
		rc := &fasthttp.RequestCtx{}
		rc.Request.SetHost("shop.example")
		if c.site != "" {
			rc.Request.Header.Set("Sec-Fetch-Site", c.site)
		}
		if c.origin != "" {
			rc.Request.Header.Set("Origin", c.origin)
		}
		if got := sameSite(rc); got != c.want {
			t.Errorf("%+v: %t", c, got)
		}
	}
}

// No script reads a cookie, no form of another site sends one, and with TLS browsers keep it to this host.
func TestCookies(t *testing.T) {
	for _, secure := range []bool{true, false} {
		v := &visit{Request: &Request{RC: &fasthttp.RequestCtx{}, Secure: secure}}
		v.enter(&api.Tokens{AccessToken: "a", RefreshToken: "r", DeviceToken: "d", ExpiresIn: 900})
		v.keepOrder("ord_1", "ot_x")
		n := 0
		for name, value := range v.RC.Response.Header.Cookies() {
			n++
			var c fasthttp.Cookie
			if err := c.ParseBytes(value); err != nil {
				t.Error(err)
			}
			if !c.HTTPOnly() || c.SameSite() != fasthttp.CookieSameSiteLaxMode || string(c.Path()) != "/" || len(c.Domain()) > 0 ||
				c.Secure() != secure || strings.HasPrefix(string(name), "__Host-") != secure {
				t.Errorf("with TLS %t: %s", secure, value)
			}
		}
		if n < 4 {
			t.Errorf("%d cookies", n)
		}
	}
}

// A category that the pages have no words for is shown as it is, and kept when its event is edited.
func TestCategoryOfAnothersChoice(t *testing.T) {
	words, err := readTexts("de")
	if err != nil {
		t.Fatal(err)
	}
	category := (&Site{}).functions("de", words)["category"].(func(string) string)
	if got := category("theatre") + " " + category("jazz"); got != words.words["category.theatre"]+" jazz" {
		t.Errorf("the categories are %q", got)
	}
	if got := categoriesWith("jazz"); !slices.Contains(got, "jazz") || len(got) != len(categories())+1 {
		t.Errorf("an event with its own category can be one of %q", got)
	}
	if got := categoriesWith("film"); len(got) != len(categories()) {
		t.Errorf("an event can be one of %q", got)
	}
}

// What an event costs at least, in a few words.
func TestLowestPrice(t *testing.T) {
	words, err := readTexts("de")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		want   string
		prices []int64
	}{{"", nil}, {"Kostenlos", []int64{0}}, {"12,50 EUR", []int64{1250, 1250}}, {"ab 12,50 EUR", []int64{3000, 1250}}, {"Kostenlos – 30,00 EUR", []int64{0, 3000, 1250}}} {
		e := &api.Event{}
		for _, p := range c.prices {
			e.TicketTypes = append(e.TicketTypes, api.TicketType{Price: api.Money{Amount: p, Currency: "EUR"}})
		}
		got, err := lowest("de", words, e)
		if err != nil || strings.ReplaceAll(got, "\u00a0", " ") != c.want {
			t.Errorf("%v: %q, want %q (%v)", c.prices, got, c.want, err)
		}
	}
}
