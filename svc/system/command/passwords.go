package command

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/starlightsymphony/starlight/svc/user/passwords"
)

type passwordsCommand struct {
	From  string `arg:"" help:"A file of passwords, one a line, as they are or as SHA-1 with :COUNT; or a folder of such files, also of range files." type:"path"`
	Out   string `default:"passwords.filter" help:"The file to write." type:"path"`
	Least int    `help:"Leave out those that were seen less often than this."`
}

// Run makes the file that --passwords of up and run takes.
func (c passwordsCommand) Run(s *streams) (err error) {
	filter, n, err := passwords.Make(c.From, c.Least)
	if err != nil {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(c.Out), filepath.Base(c.Out))
	if err != nil {
		return err
	}
	defer os.Remove(file.Name()) // unless it has its name by then
	if err := filter.Write(file); err != nil {
		file.Close()
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	if err := os.Rename(file.Name(), c.Out); err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.out, "%d passwords are in %s\n", n, c.Out)
	return err
}
