package pages

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"sync"

	"github.com/valyala/fasthttp"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// kept are pages as strangers saw them last. One is shown again only while all that it is made of is the same: that is
// asked for each time, so a page is never older than the answers of the endpoints behind it.
type kept struct {
	zips sync.Pool // of *gzip.Writer, each of which has a megabyte

	mu    sync.RWMutex
	pages map[string]*keptPage // by language and address
	bytes int
}

// keptPage is a page that is ready to be sent. It is not changed.
type keptPage struct {
	of            string // what it was made of
	plain, zipped []byte
	etag          string // without quotes; of the plain page
}

const (
	mostKept     = 2048     // pages
	mostKeptSize = 16 << 20 // bytes of all of them
	longestKept  = 200      // bytes of an address; a longer one is nobody's bookmark
)

// showKept is show for a page that is the same for all who are not signed in. What it shows is data, and beside that
// only what version names: an event by its revision, for example.
func (v *visit) showKept(name, version string, data map[string]any, but ...string) error {
	uri := v.RC.RequestURI()
	if v.access != "" || v.guest != "" || v.name != "" || len(uri) > longestKept {
		return v.show(name, data)
	}
	shown := maps.Clone(data)
	for _, key := range but {
		delete(shown, key)
	}
	made, err := json.Marshal(shown)
	if err != nil {
		return fault.Wrap(fmt.Errorf("pages: %s: %w", name, err), fault.Internal, "the page cannot be shown")
	}
	k, key, of := &v.site.kept, v.lang+" "+string(uri), name+" "+version+" "+string(made)
	p := k.get(key)
	if p == nil || p.of != of {
		plain, err := v.render(name, maps.Clone(data))
		if err != nil {
			return err
		}
		zipped, err := k.zip(plain)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(plain)
		p = &keptPage{of: of, plain: plain, zipped: zipped, etag: hex.EncodeToString(sum[:8])}
		k.put(key, p)
	}
	v.send(p)
	return nil
}

// send sends a kept page, or says that the browser has the same.
func (v *visit) send(p *keptPage) {
	h := &v.RC.Response.Header
	zipped := len(p.plain) >= compressFrom && v.RC.Request.Header.HasAcceptEncoding("gzip")
	etag := p.etag
	if zipped { // the bytes are others
		etag += "-gzip"
	}
	h.Set(rpc.HeaderETag, `"`+etag+`"`)
	if known := v.RC.Request.Header.Peek(rpc.IfNoneMatch); len(known) > 0 && rpc.NoneMatch(string(known), etag) {
		v.RC.Response.SetStatusCode(fasthttp.StatusNotModified)
		return
	}
	h.SetContentType("text/html; charset=utf-8")
	if zipped {
		h.Set("Content-Encoding", "gzip")
		v.RC.Response.SetBodyRaw(p.zipped)
		return
	}
	v.RC.Response.SetBodyRaw(p.plain)
}

func (k *kept) get(key string) *keptPage {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.pages[key]
}

// put keeps a page in the place of the one before. If there is no room, others go, whichever they are.
func (k *kept) put(key string, p *keptPage) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.drop(key)
	for other := range k.pages {
		if len(k.pages) < mostKept && k.bytes+p.size() <= mostKeptSize {
			break
		}
		k.drop(other)
	}
	if k.pages == nil {
		k.pages = map[string]*keptPage{}
	}
	k.pages[key] = p
	k.bytes += p.size()
}

func (p *keptPage) size() int { return len(p.of) + len(p.plain) + len(p.zipped) }

// drop takes a page away, if it is there. mu is held.
func (k *kept) drop(key string) {
	if p := k.pages[key]; p != nil {
		k.bytes -= p.size()
		delete(k.pages, key)
	}
}

// zip compresses a page.
func (k *kept) zip(page []byte) ([]byte, error) {
	var out bytes.Buffer
	w, used := k.zips.Get().(*gzip.Writer)
	if used {
		w.Reset(&out)
	} else {
		w = gzip.NewWriter(&out)
	}
	defer k.zips.Put(w)
	if _, err := w.Write(page); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
