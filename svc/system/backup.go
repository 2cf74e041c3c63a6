package system

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/starlightsymphony/starlight/shared/store"
)

// A backup is the system at one moment. The services of the process share nothing but NATS, so the moment is a cut
// through what they say to each other: for its length, all that they send to the server is held back. The databases are
// pinned within it, each on its own, and the streams are copied when the server has written what it had before. Then
// nothing is in a database or a stream that came of something which is not in the backup, and what was sent and is not
// in it is what a loss of power loses, too: the outbox sends it again, a request fails, a hold ends by itself. No one
// was answered in that moment, so all that was acknowledged before it is in the backup.
//
// The streams are copied once before the moment; in it, only what has changed is copied again.

// BackupSubject is where the process answers an operator who wants a backup.
const BackupSubject = "starlight.backup"

const (
	holdAtMost  = 5 * time.Second // connections of NATS bear ten
	settleAfter = 20 * time.Millisecond
	streamsDir  = "jetstream"
	databases   = "sql"
	BackupFile  = "backup.json" // with what a backup is, in JSON; it is written last
)

// Backup says what a backup is.
type Backup struct {
	Dir     string        `json:"dir,omitempty"` // where it lies, within the data folder
	Version string        `json:"version"`       // of the program
	At      time.Time     `json:"at"`            // the moment
	Held    time.Duration `json:"held"`          // how long it was, in nanoseconds
	Problem string        `json:"problem,omitempty"`
}

// answerBackups makes a backup whenever an operator asks for one.
func (s *System) answerBackups(background context.Context) error {
	if s.embedded == nil || s.cfg.DatabaseURL != "" {
		return nil
	}
	asked := make(chan *nats.Msg, 1)
	sub, err := s.node.ChanSubscribe(BackupSubject, asked)
	if err != nil {
		return err
	}
	s.running.run("backups", func() {
		defer func() { _ = sub.Unsubscribe() }()
		for {
			select {
			case <-background.Done():
				return
			case msg := <-asked:
				made, err := s.Backup(background)
				if err != nil {
					s.log.Error("the backup failed", "error", err)
					made.Problem = err.Error()
				}
				text, err := json.Marshal(made)
				if err == nil {
					err = msg.Respond(text)
				}
				if err != nil {
					s.log.Warn("who asked for a backup is not answered", "error", err)
				}
			}
		}
	})
	return nil
}

// Backup copies the system, as it is at one moment, into a new folder within the data folder. If it fails, nothing is
// left of it.
func (s *System) Backup(ctx context.Context) (made Backup, err error) {
	dir, err := os.MkdirTemp(s.cfg.Data, "backup-")
	if err != nil {
		return made, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
			made.Dir = ""
		}
	}()
	made = Backup{Dir: filepath.Base(dir), Version: s.cfg.Version}
	streams := &mirror{from: filepath.Join(s.cfg.Data, streamsDir), to: filepath.Join(dir, streamsDir),
		have: map[string]fileState{}}
	if _, err := streams.copy(); err != nil {
		return made, err
	}
	pinned := map[string]*store.Pinned{}
	defer func() {
		for _, p := range pinned {
			err = errors.Join(err, p.Close())
		}
	}()
	if made.At, made.Held, err = s.moment(ctx, streams, pinned); err != nil {
		return made, err
	}
	if err := os.MkdirAll(filepath.Join(dir, databases), 0o700); err != nil {
		return made, err
	}
	for name, p := range pinned {
		if err := p.CopyTo(filepath.Join(dir, databases, name+".db")); err != nil {
			return made, fmt.Errorf("the database of %s: %w", name, err)
		}
	}
	for _, keys := range []string{"nats", "creds", "tls"} {
		if err := os.CopyFS(filepath.Join(dir, keys), os.DirFS(filepath.Join(s.cfg.Data, keys))); err != nil &&
			!errors.Is(err, fs.ErrNotExist) {
			return made, err
		}
	}
	text, err := json.Marshal(Backup{Version: made.Version, At: made.At, Held: made.Held})
	if err != nil {
		return made, err
	}
	s.log.Info("a backup was made", "dir", made.Dir, "held", made.Held)
	return made, os.WriteFile(filepath.Join(dir, BackupFile), text, 0o600)
}

// moment pins the databases and finishes the copy of the streams while nothing is sent.
func (s *System) moment(ctx context.Context, streams *mirror, pinned map[string]*store.Pinned) (
	at time.Time, held time.Duration, err error,
) {
	release := s.embedded.Hold()
	defer release()
	began := time.Now()
	at = s.cfg.Now().UTC()
	for _, m := range s.members {
		if m.db == nil {
			continue
		}
		p, err := m.db.Pin(ctx)
		if err != nil {
			return at, 0, fmt.Errorf("the database of %s: %w", m.name, err)
		}
		pinned[m.name] = p
	}
	for calm := 0; calm < 2; { // passes in which nothing was to copy
		if held = time.Since(began); held > holdAtMost {
			return at, held, errors.New("the streams change faster than they are copied: try again")
		}
		changed, err := streams.copy()
		if err != nil {
			return at, held, err
		}
		if calm++; changed > 0 {
			calm = 0
		}
		select {
		case <-time.After(settleAfter): // for what the server is still writing
		case <-ctx.Done():
			return at, held, ctx.Err()
		}
	}
	return at, time.Since(began), nil
}

// mirror is a copy of a folder that is brought up to date.
type mirror struct {
	from, to string
	have     map[string]fileState
}

type fileState struct {
	size    int64
	changed time.Time
}

// copy copies what has changed, removes what is gone, and returns how many files that were.
func (m *mirror) copy() (changed int, err error) {
	seen := map[string]bool{}
	err = filepath.WalkDir(m.from, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it was there a moment ago
		}
		if err != nil || d.IsDir() || !d.Type().IsRegular() || strings.HasSuffix(path, ".tmp") {
			return err
		}
		name, err := filepath.Rel(m.from, path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		seen[name] = true
		is := fileState{info.Size(), info.ModTime()}
		if m.have[name] == is {
			return nil
		}
		changed++
		err = copyFile(path, filepath.Join(m.to, name))
		if errors.Is(err, fs.ErrNotExist) {
			delete(seen, name)
			return nil
		}
		m.have[name] = is
		return err
	})
	if err != nil {
		return changed, err
	}
	for name := range m.have {
		if seen[name] {
			continue
		}
		changed++
		delete(m.have, name)
		if err := os.Remove(filepath.Join(m.to, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return changed, err
		}
	}
	return changed, nil
}

// copyFile copies a file, over one that is there.
func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
