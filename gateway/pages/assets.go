package pages

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"mime"
	"path"

	"github.com/starlightsymphony/starlight/shared/fault"
)

//go:embed assets
var assetFiles embed.FS

const assetPath = "/assets/{hash}/{name}"

// asset is a file that pages load. Its address has a hash of its contents, so browsers keep it for good.
type asset struct {
	hash, contentType string
	plain, zipped     []byte
}

type assets struct{ byName map[string]asset }

func newAssets(zip func([]byte) ([]byte, error)) (*assets, error) {
	a := &assets{byName: map[string]asset{}}
	entries, err := assetFiles.ReadDir("assets")
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		plain, err := assetFiles.ReadFile("assets/" + entry.Name())
		if err != nil {
			return nil, err
		}
		zipped, err := zip(plain)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(plain)
		a.byName[entry.Name()] = asset{hex.EncodeToString(sum[:8]), mime.TypeByExtension(path.Ext(entry.Name())), plain,
			zipped}
	}
	return a, nil
}

// address returns where an asset is.
func (a *assets) address(name string) (string, error) {
	f, ok := a.byName[name]
	if !ok {
		return "", fmt.Errorf("no asset %q", name)
	}
	return "/assets/" + f.hash + "/" + name, nil
}

func (s *Site) asset(v *visit) error {
	f, ok := s.assets.byName[v.Param("name")]
	if !ok || f.hash != v.Param("hash") {
		return fault.New(fault.NotFound, "there is nothing under this address")
	}
	h := &v.RC.Response.Header
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Add("Vary", "Accept-Encoding")
	h.SetContentType(f.contentType)
	if v.RC.Request.Header.HasAcceptEncoding("gzip") {
		h.Set("Content-Encoding", "gzip")
		v.RC.Response.SetBodyRaw(f.zipped)
		return nil
	}
	v.RC.Response.SetBodyRaw(f.plain)
	return nil
}

// compressFrom is the size from which on a page is worth compressing.
const compressFrom = 1 << 10

// write writes a page, compressed if the browser reads that.
func (v *visit) write(page []byte) {
	h := &v.RC.Response.Header
	if len(page) >= compressFrom && v.RC.Request.Header.HasAcceptEncoding("gzip") {
		if zipped, err := v.site.kept.zip(page); err == nil {
			h.Set("Content-Encoding", "gzip")
			v.RC.Response.SetBodyRaw(zipped)
			return
		}
	}
	v.RC.Response.SetBodyRaw(page)
}
