package command

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"path/filepath"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/sheet"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/svc/audit"
)

type auditLogCommand struct {
	database
	Data   string    `default:"./data" help:"Data folder, for the embedded SQLite." type:"path"`
	Format string    `default:"json" enum:"json,csv" help:"A JSON object a line, or CSV: ${enum}."`
	From   time.Time `format:"2006-01-02" help:"Day of the first lines, in UTC."`
	To     time.Time `format:"2006-01-02" help:"Day after the last lines, in UTC."`
}

// Run writes the lines, oldest first. The system may run.
func (c auditLogCommand) Run(s *streams) (err error) {
	url, err := c.url()
	if err != nil {
		return err
	}
	db, err := store.Open(s.ctx, cmp.Or(url, "sqlite:"+filepath.Join(c.Data, "sql")), "audit", audit.Migrations(), nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	out := bufio.NewWriter(s.out)
	write := json.NewEncoder(out).Encode
	if c.Format == "csv" {
		write = func(e any) error {
			line := e.(api.AuditEntry)
			return writeLine(out, audit.Cells(&line)...)
		}
		if err := writeLine(out, audit.Header()...); err != nil {
			return err
		}
	}
	err = audit.Each(s.ctx, db, c.From, c.To, func(e api.AuditEntry) error { return write(e) })
	return errors.Join(err, out.Flush())
}

func writeLine(out io.Writer, cells ...string) error {
	text, err := sheet.Lines([][]string{cells})
	if err == nil {
		_, err = out.Write(text)
	}
	return err
}
