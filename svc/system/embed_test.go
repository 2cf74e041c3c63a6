package system_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/starlightsymphony/starlight/shared/testkit"
)

// The site of an organizer shows the tickets of an event by two lines, as high as they are. It frames these and nothing
// else of the shop.
func TestEmbeddedTickets(t *testing.T) {
	t.Parallel()
	s, _, _ := start(t, config(t.TempDir()))
	event := s.concert(s.login(adminEmail), 20, 1500)
	b, office := s.browser(), s.browser()
	office.send("/sign-in", "email", adminEmail, "password", password).must(t, 200)
	office.get("/office/events/"+event.ID.String()).must(t, 200, s.url+"/embed.js", `data-starlight="`+event.ID.String())
	for path, framed := range map[string]bool{"/embed/" + event.ID.String(): true, "/events/" + event.ID.String(): false, "/embed/nothing": false} {
		p := b.get(path)
		policy, frames := p.header.Get("Content-Security-Policy"), p.header.Get("X-Frame-Options")
		if strings.Contains(policy, "frame-ancestors *") != framed || (frames == "") != framed || !strings.Contains(policy, "script-src 'self'") {
			t.Errorf("%s: %q, %q", path, policy, frames)
		}
	}
	b.get("/embed/"+event.ID.String()).must(t, 200, `action="/checkout"`, `target="_blank"`, "15.00 EUR", "20 left")
	if p := b.get("/embed.js").must(t, 200, "data-starlight"); !strings.HasPrefix(p.header.Get("Content-Type"), "text/javascript") {
		t.Errorf("the script is %v", p.header)
	}

	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprintf(w, `<!doctype html><html lang="en"><head><title>The hall</title><link rel="icon" href="data:,"></head><body><main><h1>Come</h1>
<script src="%s/embed.js" async></script>
<div data-starlight="%s"></div></main></body></html>`, s.url, event.ID)
	}))
	defer site.Close()
	c := s.chromium()
	c.run(chromedp.Navigate(site.URL))
	testkit.Eventually(t, 20*time.Second, func() error {
		if h := value[string](c, `document.querySelector("iframe")?.style.height ?? ""`); !strings.HasSuffix(h, "px") {
			return fmt.Errorf("the tickets are %q high", h)
		}
		return nil
	})
	c.quiet("the site of an organizer")
	c.picture("embedded.png")
	c.open("embed", "/embed/"+event.ID.String())
}
