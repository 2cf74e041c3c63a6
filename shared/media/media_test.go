package media_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
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

// What a crash has left in the middle of a Put or of a Delete is swept once it is old, and no file is.
func TestSweep(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	folder, err := media.NewFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(testkit.NATS(t).Connect())
	if err != nil {
		t.Fatal(err)
	}
	bucket, err := js.CreateObjectStore(t.Context(), jetstream.ObjectStoreConfig{Bucket: media.Bucket})
	if err != nil {
		t.Fatal(err)
	}
	const deleted = "fedcba9876543210fedcba9876543210-480.jpg"
	chunks := strings.TrimSuffix(media.Chunks, ">")
	messages := func() uint64 {
		s, err := js.Stream(t.Context(), media.Stream)
		if err != nil {
			t.Fatal(err)
		}
		info, err := s.Info(t.Context(), jetstream.WithSubjectFilter(media.Chunks))
		if err != nil {
			t.Fatal(err)
		}
		var n uint64
		for _, of := range info.State.Subjects {
			n += of
		}
		return n
	}
	for kind, c := range map[string]struct {
		store media.Store
		leave func() error // what crashes leave
		left  func() int
	}{
		"folder": {folder, func() error {
			return os.WriteFile(filepath.Join(dir, name[:2], ".new-17"), []byte("half"), 0o600)
		}, func() int {
			all, err := filepath.Glob(filepath.Join(dir, "*", ".*"))
			if err != nil {
				t.Fatal(err)
			}
			return len(all)
		}},
		"objects": {media.NewObjects(js), func() error {
			if _, err := js.Publish(t.Context(), chunks+"cutoff", []byte("half")); err != nil {
				return err
			}
			info, err := bucket.PutBytes(t.Context(), deleted, []byte("one chunk"))
			if err != nil {
				return err
			}
			info.Deleted, info.Size, info.Chunks, info.Digest = true, 0, 0, "" // as Delete does before it purges
			mark, err := json.Marshal(info)
			if err != nil {
				return err
			}
			m := nats.NewMsg(strings.TrimSuffix(media.Metadata, ">") + base64.URLEncoding.EncodeToString([]byte(deleted)))
			m.Data = mark
			m.Header.Set(jetstream.MsgRollup, jetstream.MsgRollupSubject)
			_, err = js.PublishMsg(t.Context(), m)
			return err
		}, func() int { return int(messages()) - 1 }},
	} {
		t.Run(kind, func(t *testing.T) {
			file := []byte("a picture")
			if err := c.store.Put(t.Context(), name, file); err != nil {
				t.Fatal(err)
			}
			if err := c.leave(); err != nil {
				t.Fatal(err)
			}
			left := c.left()
			if left == 0 {
				t.Fatal("nothing is left")
			}
			if err := c.store.Sweep(t.Context(), time.Now().Add(-time.Hour)); err != nil {
				t.Fatal(err)
			}
			if got := c.left(); got != left {
				t.Errorf("%d of %d are left of what may be under way", got, left)
			}
			for range 2 {
				if err := c.store.Sweep(t.Context(), time.Now().Add(time.Hour)); err != nil {
					t.Fatal(err)
				}
			}
			if got := c.left(); got != 0 {
				t.Errorf("%d are left", got)
			}
			if got, err := c.store.Get(t.Context(), name); err != nil || !bytes.Equal(got, file) {
				t.Errorf("the file is %q, %v", got, err)
			}
		})
	}
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
