package systemtest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/starlightsymphony/starlight/shared/testkit"
)

const axeVersion = "4.10.3"

// weigh counts what the browser has got for a page, compressed and without pictures. heaviest bounds it, in bytes.
const (
	weigh = `performance.getEntriesByType("navigation").
		concat(performance.getEntriesByType("resource").filter(e => e.initiatorType != "img")).
		reduce((sum, e) => sum + e.encodedBodySize, 0)`
	heaviest = 60_000
)

// Chromium is a real browser, which finds every complaint of its console, and everything that it could not load.
type Chromium struct {
	T    *testing.T
	Site string
	Ctx  context.Context
	axe  string
	dir  string // where pictures go; "" for none

	running bool

	mu        sync.Mutex
	complains []string
}

// Chromium starts a browser. STARLIGHT_PICTURES names a folder for pictures of the pages that it looks at.
func (s *Site) Chromium(more ...chromedp.ExecAllocatorOption) *Chromium {
	s.T.Helper()
	binary, err := exec.LookPath("chromium")
	if err != nil {
		testkit.Missing(s.T, "there is no chromium: "+err.Error())
	}
	axe, err := os.ReadFile(filepath.Join(testkit.NPM(s.T, "axe-core", axeVersion), "axe.min.js"))
	if err != nil {
		s.T.Fatal(err)
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(binary), chromedp.NoSandbox,
		chromedp.UserDataDir(s.T.TempDir()))
	options = append(options, more...)
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	s.T.Cleanup(stop)
	ctx, cancel := chromedp.NewContext(allocator)
	s.T.Cleanup(cancel)
	c := &Chromium{T: s.T, Site: s.URL, Ctx: ctx, axe: string(axe), dir: os.Getenv("STARLIGHT_PICTURES")}
	c.Run(chromedp.Func(c.listen))
	return c
}

// listen notes what no page may cause.
func (c *Chromium) listen(_ context.Context, t *chromedp.Target) error {
	hear(c, t, log.EntryAdded, func(e log.EventEntryAdded) string {
		return fmt.Sprintf("%s: %s %s", e.Entry.Level, e.Entry.Text, e.Entry.URL)
	})
	hear(c, t, runtime.ConsoleAPICalled,
		func(e runtime.EventConsoleAPICalled) string { return "console: " + string(e.Type) })
	hear(c, t, runtime.ExceptionThrown, func(e runtime.EventExceptionThrown) string {
		said := e.ExceptionDetails.Text
		if o := e.ExceptionDetails.Exception; o != nil {
			said += " " + o.Description
		}
		return said
	})
	hear(c, t, network.ResponseReceived, func(e network.EventResponseReceived) string {
		if e.Response.Status < 400 {
			return ""
		}
		return fmt.Sprintf("%d %s", int(e.Response.Status), e.Response.URL)
	})
	if _, err := cdp.Call(c.Ctx, t, network.Enable, network.EnableParams{}); err != nil {
		return err
	}
	if _, err := cdp.Call(c.Ctx, t, runtime.Enable, cdp.Empty{}); err != nil {
		return err
	}
	_, err := cdp.Call(c.Ctx, t, log.Enable, cdp.Empty{})
	return err
}

// hear notes what is said of each event of a kind.
func hear[E any](c *Chromium, t *chromedp.Target, kind cdp.Event[E], say func(E) string) {
	events := cdp.Events(c.Ctx, t, kind)
	go func() {
		for e, err := range events {
			if err != nil {
				return
			}
			if said := say(e); said != "" {
				c.mu.Lock()
				c.complains = append(c.complains, said)
				c.mu.Unlock()
			}
		}
	}()
}

// Run does steps one after the other, and fails the test when one cannot be done.
func (c *Chromium) Run(steps ...chromedp.Action[chromedp.Void]) {
	c.T.Helper()
	ctx, cancel := context.WithTimeout(c.Ctx, 60*time.Second)
	defer cancel()
	if !c.running { // the browser lives as long as the context of the first step
		ctx, c.running = c.Ctx, true
	}
	if err := chromedp.Do(ctx, steps...); err != nil {
		at, _ := chromedp.Run(c.Ctx, chromedp.Location())
		c.T.Fatalf("at %s: %v", at, err)
	}
}

// Value runs a script and returns what it returns, or what its promise becomes.
func Value[T any](c *Chromium, script string) T {
	c.T.Helper()
	got, err := chromedp.Run(c.Ctx, chromedp.Evaluate[T](script, func(p *runtime.EvaluateParams) {
		wait := true
		p.AwaitPromise = &wait
	}))
	if err != nil {
		c.T.Fatal(err)
	}
	return got
}

// Open goes to a page, and looks at it.
func (c *Chromium) Open(name, path string) {
	c.T.Helper()
	c.Run(chromedp.Navigate(c.Site + path))
	c.Look(name)
}

// Look proves that a page is usable for everybody, at the size of a telephone and of a desktop, and takes pictures.
func (c *Chromium) Look(name string) {
	c.T.Helper()
	for _, size := range []struct {
		name          string
		width, height int64
	}{{"phone", 390, 844}, {"desktop", 1280, 900}} {
		for _, scheme := range []string{"light", "dark"} {
			c.Run(
				chromedp.EmulateViewport(size.width, size.height),
				chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
					media := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
						{Name: "prefers-color-scheme", Value: scheme},
						{Name: "prefers-reduced-motion", Value: "reduce"},
					}}
					_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, media)
					return err
				}),
				chromedp.WaitReady("main"),
				chromedp.Evaluate[chromedp.Void](c.axe),
			)
			wider := Value[bool](c, `document.documentElement.scrollWidth > innerWidth`)
			if weight := Value[int](c, weigh); weight > heaviest {
				c.T.Errorf("%s has %d bytes, without pictures", name, weight)
			}
			violations := Value[[]string](c,
				`axe.run(document, {resultTypes: ["violations"]}).then(r => r.violations.map(v => v.id + ": " +
				v.nodes.map(n => n.html.slice(0, 150) + " " + n.any.map(a => a.message).join("; ")).join(" | ")))`)
			if wider {
				c.T.Errorf("%s on a %s is wider than the screen", name, size.name)
			}
			for _, v := range violations {
				c.T.Errorf("%s, %s, %s: %s", name, size.name, scheme, v)
			}
			c.Picture(fmt.Sprintf("%s-%s-%s.png", name, size.name, scheme))
		}
	}
	c.Quiet(name)
}

// Picture keeps a picture of the page as it is, if pictures are asked for.
func (c *Chromium) Picture(name string) {
	c.T.Helper()
	if c.dir == "" {
		return
	}
	var png []byte
	testkit.Eventually(c.T, 20*time.Second, func() (err error) {
		// A page that is being left gives none, and never says so.
		ctx, cancel := context.WithTimeout(c.Ctx, 5*time.Second)
		defer cancel()
		png, err = chromedp.Run(ctx, chromedp.CaptureScreenshot())
		return err
	})
	if err := os.WriteFile(filepath.Join(c.dir, name), png, 0o644); err != nil {
		c.T.Fatal(err)
	}
}

// Quiet fails the test for what the browser has complained of, unless that was expected here.
func (c *Chromium) Quiet(name string, but ...string) {
	c.T.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, said := range c.complains {
		if !slices.ContainsFunc(but, func(b string) bool { return strings.Contains(said, b) }) {
			c.T.Errorf("%s: the browser says %s", name, said)
		}
	}
	c.complains = nil
}

// Says waits until a page shows some words.
func (c *Chromium) Says(words string) {
	c.T.Helper()
	testkit.Eventually(c.T, 20*time.Second, func() error {
		text, err := chromedp.Run(c.Ctx, chromedp.Text("main"))
		if err != nil || !strings.Contains(text, words) {
			return fmt.Errorf("the page says %q, %v", text, err)
		}
		return nil
	})
}

// Installable fails the test unless the browser would put the page that it shows beside its apps.
func (c *Chromium) Installable() {
	c.T.Helper()
	testkit.Eventually(c.T, 20*time.Second, func() (err error) {
		c.Run(chromedp.Func(func(_ context.Context, t *chromedp.Target) error {
			got, failed := cdp.Call(c.Ctx, t, page.GetInstallabilityErrors, cdp.Empty{})
			if failed == nil && len(got.InstallabilityErrors) > 0 {
				failed = fmt.Errorf("the page cannot be installed: %+v", got.InstallabilityErrors)
			}
			err = failed
			return nil
		}))
		return err
	})
}
