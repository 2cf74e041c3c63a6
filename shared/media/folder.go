package media

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Folder keeps files in a folder: of one machine, or one that several machines mount.
type Folder struct{ dir string }

// NewFolder returns the store in a folder, which is made if need be.
func NewFolder(dir string) (*Folder, error) {
	return &Folder{dir}, os.MkdirAll(dir, 0o700)
}

// newFiles matches the names of files that are being written.
const newFiles = ".new-*"

// path spreads files over folders of about the same size.
func (f *Folder) path(name string) string { return filepath.Join(f.dir, name[:2], name) }

// Put implements Store. A crash leaves the whole file or none.
func (f *Folder) Put(_ context.Context, name string, data []byte) error {
	if err := checkName(name); err != nil {
		return err
	}
	path := f.path(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), newFiles)
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp.Name()) }() // nothing is left to remove after the rename
	_, err = tmp.Write(data)
	if err == nil {
		err = tmp.Sync()
	}
	if err = errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes what was renamed in a folder outlast a loss of power.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Get implements Store.
func (f *Folder) Get(_ context.Context, name string) ([]byte, error) {
	if checkName(name) != nil {
		return nil, ErrNotFound
	}
	data, err := os.ReadFile(f.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotFound
	}
	return data, err
}

// Delete implements Store.
func (f *Folder) Delete(_ context.Context, name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	if err := os.Remove(f.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Sweep implements Store: a Put that was cut off leaves its file under another name.
func (f *Folder) Sweep(ctx context.Context, before time.Time) error {
	left, err := filepath.Glob(filepath.Join(f.dir, "*", newFiles))
	for _, path := range left {
		info, failed := os.Lstat(path)
		if failed == nil && info.ModTime().Before(before) {
			failed = os.Remove(path)
		}
		if failed != nil && !errors.Is(failed, fs.ErrNotExist) { // another instance may sweep, too
			err = errors.Join(err, failed)
		}
	}
	return errors.Join(err, ctx.Err())
}
