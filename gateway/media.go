package gateway

import (
	"context"
	"errors"
	"mime"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/media"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

const (
	mediaWithin  = 5 * time.Second  // for the store to give a file
	mediaAge     = 10 * time.Minute // how long a file that may be gone by now is served from memory
	mostMedia    = 64 << 20         // bytes of files in memory
	mostMediaAsk = 16               // files that are asked for at a time
)

// mediaCache has the files in memory that were asked for lately.
type mediaCache struct {
	store media.Store
	now   func() time.Time
	asks  chan struct{} // a place for each file that is asked for

	mu    sync.Mutex
	files map[string]*mediaFile
	bytes int
}

// mediaFile is a file, or one that is being asked for. It is not changed once done is closed.
type mediaFile struct {
	done chan struct{}
	data []byte
	err  error
	at   time.Time
}

func newMediaCache(store media.Store, now func() time.Time) *mediaCache {
	return &mediaCache{store: store, now: now, asks: make(chan struct{}, mostMediaAsk), files: map[string]*mediaFile{}}
}

// get returns a file. Who asks for one that is being asked for waits for the same answer.
func (c *mediaCache) get(name string) ([]byte, error) {
	c.mu.Lock()
	f := c.files[name]
	if f != nil && c.now().Sub(f.at) > mediaAge {
		c.drop(name)
		f = nil
	}
	if f != nil {
		c.mu.Unlock()
		<-f.done
		return f.data, f.err
	}
	f = &mediaFile{done: make(chan struct{}), at: c.now()}
	c.files[name] = f
	c.mu.Unlock()
	data, err := c.ask(name)
	c.mu.Lock()
	defer c.mu.Unlock()
	f.data, f.err = data, err
	close(f.done)
	if c.files[name] != f {
		return f.data, f.err
	}
	if f.err != nil {
		delete(c.files, name)
		return nil, f.err
	}
	c.bytes += len(f.data)
	for other, o := range c.files { // whichever they are
		if c.bytes <= mostMedia {
			break
		}
		if o != f && o.data != nil {
			c.drop(other)
		}
	}
	return f.data, nil
}

// drop takes a file out of memory. mu is held.
func (c *mediaCache) drop(name string) {
	c.bytes -= len(c.files[name].data)
	delete(c.files, name)
}

func (c *mediaCache) ask(name string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), mediaWithin)
	defer cancel()
	select {
	case c.asks <- struct{}{}:
		defer func() { <-c.asks }()
	case <-ctx.Done():
		return nil, fault.New(fault.Unavailable, "too many pictures are being asked for").After(time.Second)
	}
	data, err := c.store.Get(ctx, name)
	if errors.Is(err, media.ErrNotFound) {
		return nil, fault.New(fault.NotFound, "there is no such file")
	}
	if err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "the file cannot be read at the moment").After(time.Second)
	}
	return data, nil
}

// mountMedia serves the files that pictures name. They never change, so browsers keep them for good; any page and mail
// may show them.
func (g *Gateway) mountMedia() {
	if g.cfg.Media == nil {
		return
	}
	cache := newMediaCache(g.cfg.Media, g.cfg.Now)
	g.handle("GET", api.MediaPath+"{name}", func(x *exchange) error {
		if err := g.limitAddress(x, rpc.GeneralLimit); err != nil {
			return err
		}
		name := x.fiber.Params("name")
		h := &x.rc.Response.Header
		if !media.IsName(name) {
			h.Set("Cache-Control", "no-store")
			return fault.New(fault.NotFound, "there is no such file")
		}
		etag := strings.TrimSuffix(name, path.Ext(name))
		data, err := cache.get(name)
		if err != nil {
			h.Set("Cache-Control", "no-store")
			return err
		}
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
		h.Set("Cross-Origin-Resource-Policy", "cross-origin")
		h.Set(rpc.HeaderETag, `"`+etag+`"`)
		if known := x.rc.Request.Header.Peek(rpc.IfNoneMatch); len(known) > 0 && rpc.NoneMatch(string(known), etag) {
			x.rc.Response.SetStatusCode(fasthttp.StatusNotModified)
			return nil
		}
		h.SetContentType(mime.TypeByExtension(path.Ext(name)))
		x.rc.Response.SetBodyRaw(data)
		return nil
	})
}
