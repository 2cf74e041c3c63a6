package browsing_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/system/systemtest"
)

// The site of an organizer shows the tickets of an event by two lines, as high as they are. It frames these and nothing
// else of the shop.
func TestEmbeddedTickets(t *testing.T) {
	t.Parallel()
	s, _, _ := systemtest.Start(t, systemtest.Config(t.TempDir()))
	event := s.Concert(s.Login(systemtest.AdminEmail), 20, 1500)
	b, office := s.Browser(), s.Browser()
	office.Send("/sign-in", "email", systemtest.AdminEmail, "password", systemtest.Password).Must(t, 200)
	office.Get("/office/events/"+event.ID.String()).Must(t, 200, s.URL+"/embed.js", `data-starlight="`+event.ID.String())
	for path, framed := range map[string]bool{"/embed/" + event.ID.String(): true, "/events/" + event.ID.String(): false, "/embed/nothing": false} {
		p := b.Get(path)
		policy, frames := p.Header.Get("Content-Security-Policy"), p.Header.Get("X-Frame-Options")
		if strings.Contains(policy, "frame-ancestors *") != framed || (frames == "") != framed || !strings.Contains(policy, "script-src 'self'") {
			t.Errorf("%s: %q, %q", path, policy, frames)
		}
	}
	b.Get("/embed/"+event.ID.String()).Must(t, 200, `action="/checkout"`, `target="_blank"`, "15.00 EUR", "20 left")
	if p := b.Get("/embed.js").Must(t, 200, "data-starlight"); !strings.HasPrefix(p.Header.Get("Content-Type"), "text/javascript") {
		t.Errorf("the script is %v", p.Header)
	}

	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprintf(w, `<!doctype html><html lang="en"><head><title>The hall</title><link rel="icon" href="data:,"></head><body><main><h1>Come</h1>
<script src="%s/embed.js" async></script>
<div data-starlight="%s"></div></main></body></html>`, s.URL, event.ID)
	}))
	defer site.Close()
	c := s.Chromium()
	c.Run(chromedp.Navigate(site.URL))
	testkit.Eventually(t, 20*time.Second, func() error {
		if h := systemtest.Value[string](c, `document.querySelector("iframe")?.style.height ?? ""`); !strings.HasSuffix(h, "px") {
			return fmt.Errorf("the tickets are %q high", h)
		}
		return nil
	})
	c.Quiet("the site of an organizer")
	c.Picture("embedded.png")
	c.Open("embed", "/embed/"+event.ID.String())
}
