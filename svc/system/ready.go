package system

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/starlightsymphony/starlight/shared/store"
)

const (
	watchEvery = 5 * time.Second  // between two looks at what makes the process ready
	stuckAfter = 30 * time.Second // that an outbox may stand still
	outboxSeen = 100              // of the oldest rows
	diskProbe  = 1 << 20          // bytes
)

// outboxWatch tells when the outbox of a database stands still. It goes by what it saw itself: neither a clock of
// another instance nor a long queue that moves makes it say so.
type outboxWatch struct {
	db  *store.DB
	now func() time.Time

	mu    sync.Mutex
	moved time.Time // when rows last went, or the outbox was last seen empty
	rows  []int64
}

// check is a readiness check: money that is taken is of no use as long as its domain event is not published.
func (w *outboxWatch) check(ctx context.Context) error {
	var rows []int64
	if err := w.db.Read().NewRaw("SELECT seq FROM outbox ORDER BY seq LIMIT ?", outboxSeen).
		Scan(ctx, &rows); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.now()
	if len(rows) == 0 || len(w.rows) == 0 || went(w.rows, rows) {
		w.moved = now
	}
	w.rows = rows
	if still := now.Sub(w.moved); still > stuckAfter {
		return fmt.Errorf("nothing has been published from the outbox for %s", still.Round(time.Second))
	}
	return nil
}

// went reports whether a row of before is not there any more. Both are the oldest rows, in order.
func went(before, after []int64) bool {
	there := make(map[int64]bool, len(after))
	for _, seq := range after {
		there[seq] = true
	}
	for _, seq := range before {
		if !there[seq] {
			return true
		}
	}
	return false
}

// watchStores ends with an error when a stream of the embedded server takes no writes any more although the disk does
// again: the server opens such a store only at its next start, which is the supervisor's part.
func (s *System) watchStores(ctx context.Context) error {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if failed := s.embedded.Failed(); failed != nil && takesWrites(s.cfg.Data) == nil {
			return fmt.Errorf("%w; the disk takes writes again: ending, so that the next start opens what was closed",
				failed)
		}
	}
}

// takesWrites returns why a folder cannot be written to, in words for the person who starts the program.
func takesWrites(dir string) error {
	err := os.MkdirAll(dir, 0o700)
	if err == nil {
		err = writeProbe(dir)
	}
	switch {
	case err == nil:
		return nil
	case DiskFull(err):
		return fmt.Errorf("the disk is full: nothing can be written to %s: %w", dir, err)
	default:
		return fmt.Errorf("the data folder %s cannot be written to: %w", dir, err)
	}
}

func writeProbe(dir string) error {
	f, err := os.CreateTemp(dir, ".probe-*")
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, diskProbe))
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close(), os.Remove(f.Name()))
}

// DiskFull reports whether an error says that a disk is full, also in the words of NATS and SQLite.
func DiskFull(err error) bool {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return true
	}
	text := err.Error()
	return strings.Contains(text, "no space left on device") || strings.Contains(text, "disk is full")
}
