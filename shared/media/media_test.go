package media_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/starlightsymphony/starlight/shared/media"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

const name = "0123456789abcdef0123456789abcdef-480.jpg"

// stores are two instances of each kind that see the same.
func stores(t *testing.T) map[string][2]media.Store {
	t.Helper()
	dir := t.TempDir()
	var folders [2]media.Store
	for i := range folders {
		f, err := media.NewFolder(filepath.Join(dir, "media"))
		if err != nil {
			t.Fatal(err)
		}
		folders[i] = f
	}
	js, err := jetstream.New(testkit.NATS(t).Connect())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateObjectStore(t.Context(), jetstream.ObjectStoreConfig{Bucket: media.Bucket}); err != nil {
		t.Fatal(err)
	}
	return map[string][2]media.Store{"folder": folders,
		"objects": {media.NewObjects(js), media.NewObjects(js)}}
}

func TestStores(t *testing.T) {
	t.Parallel()
	for kind, of := range stores(t) {
		t.Run(kind, func(t *testing.T) {
			ctx, here, there := t.Context(), of[0], of[1]
			if _, err := here.Get(ctx, name); !errors.Is(err, media.ErrNotFound) {
				t.Fatalf("before: %v", err)
			}
			if err := here.Delete(ctx, name); err != nil {
				t.Fatalf("nothing cannot be deleted: %v", err)
			}
			file := bytes.Repeat([]byte("picture "), 50_000) // several chunks
			for range 2 {                                    // again, as after a crash
				if err := here.Put(ctx, name, file); err != nil {
					t.Fatal(err)
				}
			}
			got, err := there.Get(ctx, name)
			if err != nil || !bytes.Equal(got, file) {
				t.Fatalf("%d bytes, %v", len(got), err)
			}
			if err := there.Delete(ctx, name); err != nil {
				t.Fatal(err)
			}
			if _, err := here.Get(ctx, name); !errors.Is(err, media.ErrNotFound) {
				t.Fatalf("after: %v", err)
			}
		})
	}
}

// No name leads out of the store.
func TestNames(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "secret"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := media.NewFolder(filepath.Join(dir, "media"))
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "..", "../secret", "a/../../secret", "..%2fsecret", name + "/..", "/" + name,
		name + "\x00", "A" + name, ".new-1", "0123456789abcdef0123456789abcdef"} {
		if media.IsName(bad) {
			t.Errorf("%q is a name", bad)
		}
		if _, err := f.Get(t.Context(), bad); !errors.Is(err, media.ErrNotFound) {
			t.Errorf("%q: %v", bad, err)
		}
		if f.Put(t.Context(), bad, nil) == nil || f.Delete(t.Context(), bad) == nil {
			t.Errorf("%q can be written", bad)
		}
	}
}
