package notification

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	gomail "github.com/wneessen/go-mail"
)

// outbox is the post office of a system without a mail provider: a folder, in which each mail is a file that mail
// programs open.
type outbox struct{ dir string }

func newOutbox(dir string) (*outbox, error) {
	if dir == "" {
		return nil, errors.New("an outbox folder is needed")
	}
	return &outbox{dir}, os.MkdirAll(dir, 0o700)
}

func (o *outbox) close() {}

// send writes the mail into the folder: all of it or nothing, readable by the owner alone. The same mail again replaces
// the file.
func (o *outbox) send(_ context.Context, m *gomail.Msg, id string) error {
	f, err := os.CreateTemp(o.dir, ".new-*") // of mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails once it is renamed
	_, err = m.WriteTo(f)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	if err := os.Rename(f.Name(), filepath.Join(o.dir, stamp(m)+"_"+id+".eml")); err != nil {
		return err
	}
	return syncDir(o.dir)
}

// stamp returns the time of a mail as the beginning of a file name, so that a listing is in order.
func stamp(m *gomail.Msg) string {
	if date := m.GetGenHeader(gomail.HeaderDate); len(date) == 1 {
		if at, err := time.Parse(time.RFC1123Z, date[0]); err == nil {
			return at.UTC().Format("20060102T150405Z")
		}
	}
	return "undated"
}

// syncDir makes a rename in the folder last.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
