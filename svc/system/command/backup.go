package command

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/starlightsymphony/starlight/svc/system"
)

type backupCommand struct {
	target
	File string        `arg:"" help:"File to write. It has the keys of the system and all that people have entrusted to it." type:"path"`
	Wait time.Duration `default:"30m" help:"How long the copy may take."`
}

// Run has the running system copy itself, and packs the copy.
func (c backupCommand) Run(s *streams) (err error) {
	if _, err := os.Stat(c.File); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(err, fmt.Errorf("%s is there already", c.File))
	}
	js, done, err := c.connectAs(s.ctx, roleAdmin)
	if err != nil {
		return err
	}
	defer done()
	ctx, cancel := context.WithTimeout(s.ctx, c.Wait)
	defer cancel()
	msg, err := js.Conn().RequestWithContext(ctx, system.BackupSubject, nil)
	if errors.Is(err, nats.ErrNoResponders) {
		return errors.New("the system has outside NATS servers or PostgreSQL: docs/operations.md says how these are " +
			"backed up")
	}
	if err != nil {
		return err
	}
	var made system.Backup
	if err := json.Unmarshal(msg.Data, &made); err != nil {
		return err
	}
	if made.Problem != "" {
		return errors.New(made.Problem)
	}
	dir := filepath.Join(c.Data, made.Dir)
	if _, err := os.Stat(dir); err != nil {
		return fmt.Errorf("the system's folder is not %s: name it with --data: %w", c.Data, err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	size, err := pack(dir, c.File)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.out, "%s: the system of %s, %d bytes; it was held for %s\n", c.File,
		made.At.Format(time.RFC3339), size, made.Held.Round(time.Millisecond))
	fmt.Fprintln(s.out, "keep it where keys are kept, and STARLIGHT_KEY apart from it: it is not in there")
	return nil
}

// pack writes a folder into a file, which is there as a whole or not at all.
func pack(dir, file string) (size int64, err error) {
	f, err := os.CreateTemp(filepath.Dir(file), ".backup-*") // mode 0600
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.Remove(f.Name()) }() // nothing is left to remove after the rename
	zip, err := gzip.NewWriterLevel(f, gzip.BestSpeed)
	if err != nil {
		return 0, err
	}
	archive := tar.NewWriter(zip)
	err = archive.AddFS(os.DirFS(dir))
	if err := errors.Join(err, archive.Close(), zip.Close(), f.Sync(), f.Close()); err != nil {
		return 0, err
	}
	info, err := os.Stat(f.Name())
	if err != nil {
		return 0, err
	}
	return info.Size(), os.Rename(f.Name(), file)
}

type restoreCommand struct {
	File string `arg:"" help:"What starlight backup wrote." type:"existingfile"`
	Data string `default:"./data" help:"Data folder to make. It must not be there, or be empty." type:"path"`
}

// Run unpacks a backup into a new data folder.
func (c restoreCommand) Run(s *streams) error {
	entries, err := os.ReadDir(c.Data)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if len(entries) > 0 {
		return fmt.Errorf("%s is not empty: a backup goes into a new folder", c.Data)
	}
	made, err := unpack(c.File, c.Data)
	if err != nil {
		return errors.Join(fmt.Errorf("%s: %w", c.File, err), os.RemoveAll(c.Data))
	}
	_, err = fmt.Fprintf(s.out, "%s is the system of %s: start it with starlight up --data %s, and STARLIGHT_KEY as "+
		"it was; starlight audit proves it\n", c.Data, made.At.Format(time.RFC3339), c.Data)
	return err
}

// unpack writes what is in a backup into a folder, and syncs it.
func unpack(file, dir string) (made system.Backup, err error) {
	f, err := os.Open(file)
	if err != nil {
		return made, err
	}
	defer f.Close()
	zip, err := gzip.NewReader(f)
	if err != nil {
		return made, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return made, err
	}
	root, err := os.OpenRoot(dir) // nothing is written outside of it, whatever the file says
	if err != nil {
		return made, err
	}
	defer root.Close()
	archive := tar.NewReader(zip)
	for {
		head, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return made, err
		}
		switch head.Typeflag {
		case tar.TypeDir:
			err = root.MkdirAll(head.Name, 0o700)
		case tar.TypeReg:
			err = writeOut(root, head.Name, archive)
		default:
			err = fmt.Errorf("%s is neither a file nor a folder", head.Name)
		}
		if err != nil {
			return made, err
		}
	}
	text, err := root.ReadFile(system.BackupFile)
	if err != nil {
		return made, fmt.Errorf("it is no backup, or not whole: %w", err)
	}
	err = json.Unmarshal(text, &made)
	return made, err
}

func writeOut(root *os.Root, name string, from io.Reader) error {
	if err := root.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	out, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, from)
	return errors.Join(err, out.Sync(), out.Close())
}
