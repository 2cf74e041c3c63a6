package natsconf_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/starlightsymphony/starlight/natsconf"
	"github.com/starlightsymphony/starlight/shared/api"
)

// A server that cannot make the folder of a stream may be able to a moment later: many processes that start together on
// an empty server see that.
func TestEnsureTriesAgain(t *testing.T) {
	dir := t.TempDir()
	srv := start(t, natsconf.Config{Dir: dir})
	js := ensured(t, srv)
	folder := ""
	if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && d.Name() == api.ProbeStream {
			folder = path
		}
		return err
	}); err != nil || folder == "" {
		t.Fatalf("no folder of the stream: %v", err)
	}
	if err := jetStream(t, connect(t, srv, "admin")).DeleteStream(t.Context(), api.ProbeStream); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the folder is gone", func() bool { _, err := os.Stat(folder); return os.IsNotExist(err) })
	if err := os.WriteFile(folder, nil, 0o600); err != nil { // nobody can make a folder where a file is
		t.Fatal(err)
	}
	if err := natsconf.Ensure(t.Context(), js, api.Streams(), 1); err != nil { // the server clears away what is left of the first try
		t.Error(err)
	}
	if _, err := js.Stream(t.Context(), api.ProbeStream); err != nil {
		t.Error(err)
	}
}
