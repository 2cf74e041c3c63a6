package command

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"path/filepath"
	"strconv"
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
		write = func(e any) error { return writeCSV(out, e.(api.AuditEntry)) }
		if err := writeLine(out, "number", "id", "at", "act", "object", "event_id", "refused", "user_id", "session_id",
			"service", "address", "request_id", "device", "before", "after", "hash"); err != nil {
			return err
		}
	}
	err = audit.Each(s.ctx, db, c.From, c.To, func(e api.AuditEntry) error { return write(e) })
	return errors.Join(err, out.Flush())
}

// writeCSV writes a line of the log.
func writeCSV(out io.Writer, e api.AuditEntry) error {
	object := func(m map[string]json.RawMessage) string {
		if m == nil {
			return ""
		}
		text, err := json.Marshal(m)
		if err != nil { // it was decoded from such a text
			return ""
		}
		return string(text)
	}
	by := e.By
	return writeLine(out, strconv.FormatInt(e.Number, 10), e.ID.String(), e.At.Format(time.RFC3339Nano), e.Act,
		e.Object, e.EventID.String(), strconv.FormatBool(e.Refused), by.UserID.String(), by.SessionID.String(),
		by.Service, by.Address, by.RequestID, by.Device, object(e.Before), object(e.After), e.Hash)
}

func writeLine(out io.Writer, cells ...string) error {
	text, err := sheet.Lines([][]string{cells})
	if err == nil {
		_, err = out.Write(text)
	}
	return err
}
