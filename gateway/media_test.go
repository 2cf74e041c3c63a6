package gateway_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/gateway"
	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/media"
	"github.com/starlightsymphony/starlight/shared/picture"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// counting counts what is read from a store.
type counting struct {
	media.Store
	mu   sync.Mutex
	gets int
}

func (c *counting) Get(ctx context.Context, name string) ([]byte, error) {
	c.mu.Lock()
	c.gets++
	c.mu.Unlock()
	return c.Store.Get(ctx, name)
}

func (c *counting) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.gets
}

// Pictures are served from memory, for good, and as nothing but pictures.
func TestMedia(t *testing.T) {
	folder, err := media.NewFolder(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	store := &counting{Store: folder}
	d := open(t, func(c *gateway.Config) { c.Media = store })
	const name = "0123456789abcdef0123456789abcdef-480.jpg"
	file := bytes.Repeat([]byte("<script>"), 5000)
	if got := d.do("GET", "/media/"+name, ""); got.StatusCode != 404 || got.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("before: %d %s", got.StatusCode, got.Header.Get("Cache-Control"))
	}
	if err := folder.Put(t.Context(), name, file); err != nil {
		t.Fatal(err)
	}
	before := store.count()
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if got := d.do("GET", "/media/"+name, ""); got.StatusCode != 200 || got.body != string(file) {
				t.Errorf("%d, %d bytes", got.StatusCode, len(got.body))
			}
		})
	}
	all.Wait()
	if n := store.count() - before; n != 1 {
		t.Errorf("the store was asked %d times", n)
	}
	got := d.do("GET", "/media/"+name, "")
	for header, want := range map[string]string{"Content-Type": "image/jpeg", "X-Content-Type-Options": "nosniff",
		"Cache-Control": "public, max-age=31536000, immutable", "Cross-Origin-Resource-Policy": "cross-origin",
		"ETag": `"0123456789abcdef0123456789abcdef-480"`} {
		if got.Header.Get(header) != want {
			t.Errorf("%s: %q, want %q", header, got.Header.Get(header), want)
		}
	}
	if policy := got.Header.Get("Content-Security-Policy"); !strings.HasPrefix(policy, "default-src 'none'") {
		t.Errorf("the policy is %q", policy)
	}
	if again := d.do("GET", "/media/"+name, "", "If-None-Match", got.Header.Get("ETag")); again.StatusCode != 304 || again.body != "" {
		t.Errorf("a browser that has it gets %d", again.StatusCode)
	}
	if err := folder.Delete(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	d.clock.Set(d.clock.Now().Add(11 * time.Minute))
	if got := d.do("GET", "/media/"+name, ""); got.StatusCode != 404 {
		t.Errorf("after it was taken away: %d", got.StatusCode)
	}
	for _, bad := range []string{"..%2f..%2fetc%2fpasswd", "x", name + ".svg", "%00", strings.ToUpper(name)} {
		if got := d.do("GET", "/media/"+bad, ""); got.StatusCode != 404 {
			t.Errorf("%s: %d", bad, got.StatusCode)
		}
	}
}

// A large body is read where a file is uploaded, and nowhere else; and of one address not for ever.
func TestUploads(t *testing.T) {
	d := open(t)
	s := d.server("event")
	rpc.Handle(s, api.PutEventImage, func(_ context.Context, req *api.NewEventImage) (*api.Event, error) {
		return &api.Event{ID: req.ID, Description: fmt.Sprint(len(req.Data))}, nil
	})
	testkit.Serve(t, s)
	token := "Bearer " + d.token(person())
	path := "/v1/events/evt_01k3q8v5z7m2n4p6r8s9t0w1xy/image?alt=x"
	put := func(n int) answer {
		return d.do("PUT", path, strings.Repeat("x", n), "Authorization", token, "Content-Type", "image/jpeg")
	}
	if got := put(900_000); got.StatusCode != 200 || !strings.Contains(got.body, `"900000"`) {
		t.Errorf("%d %.200s", got.StatusCode, got.body)
	}
	for _, path := range []string{"/v1/sessions", "/v1/events", "/v1/events/evt_01k3q8v5z7m2n4p6r8s9t0w1xy/images", "/none"} {
		resp := send(t, d, "PUT "+path+" HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n"+strings.Repeat("x", 1000))
		if len(resp) != 1 || resp[0].StatusCode != 413 {
			t.Errorf("%s: %v", path, resp)
		}
	}
	resp := send(t, d, fmt.Sprintf("PUT %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\nxxx", path, picture.MostBytes+1<<20))
	if len(resp) != 1 || resp[0].StatusCode != 413 {
		t.Errorf("more than a picture has: %v", resp)
	}
	limited := false
	for range 40 {
		limited = limited || put(300_000).StatusCode == 429
	}
	if !limited {
		t.Error("one address may upload any number of files")
	}
}
