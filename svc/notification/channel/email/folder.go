package email

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// Folder is where mails go that no mail server takes: each is a file that mail programs open.
type Folder struct {
	dir     string
	buffers sync.Pool // of *bytes.Buffer
}

// NewFolder returns the sender to a folder, which is made if it is missing.
func NewFolder(dir string) (*Folder, error) {
	if dir == "" {
		return nil, errors.New("an outbox folder is needed")
	}
	f := &Folder{dir: dir}
	f.buffers.New = func() any { return new(bytes.Buffer) }
	return f, os.MkdirAll(dir, 0o700)
}

// Close implements Sender.
func (f *Folder) Close() {}

// Send writes a mail into the folder: all of it or nothing, readable by the owner alone. The same mail again replaces
// the file.
func (f *Folder) Send(_ context.Context, m *Mail) error {
	msg, err := m.compose()
	if err != nil {
		return err
	}
	text := f.buffers.Get().(*bytes.Buffer)
	defer f.buffers.Put(text)
	text.Reset()
	if _, err := msg.WriteTo(text); err != nil {
		return err
	}
	file, err := os.CreateTemp(f.dir, ".new-*") // of mode 0600
	if err != nil {
		return err
	}
	if err = errors.Join(write(file, text.Bytes()), file.Close()); err == nil {
		err = os.Rename(file.Name(), filepath.Join(f.dir, m.fileName()))
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return syncDir(f.dir)
}

// write writes a mail to the disk.
func write(file *os.File, text []byte) error {
	if _, err := file.Write(text); err != nil {
		return err
	}
	return file.Sync()
}

// fileName begins with the time of a mail, so that a listing is in order.
func (m *Mail) fileName() string {
	return m.Date.UTC().Format("20060102T150405Z") + "_" + strings.ReplaceAll(m.ID, "/", "_") + ".eml"
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
