package audit

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/store"
)

// log is the chain of lines.
type log struct{ db *store.DB }

// row is a line as it is kept.
type row struct {
	bun.BaseModel `bun:"table:lines,alias:l"`

	Number  int64 `bun:",pk"`
	ID      ids.Audit
	At      time.Time
	Act     string
	Object  string
	EventID ids.Event
	UserID  string // of the person or the API key
	Data    string
	Hash    string

	OrganizerID string // whose log has it: see assign
}

// newRow returns the row of a line, without its place in the chain.
func newRow(data []byte) (row, error) {
	var line api.AuditLine
	if err := json.Unmarshal(data, &line); err != nil {
		return row{}, err
	}
	return row{ID: line.ID, At: store.Time(line.At), Act: line.Act, Object: line.Object, EventID: line.EventID,
		UserID: cmp.Or(line.By.UserID.String(), line.By.KeyID.String()), Data: string(data),
		OrganizerID: organizerOf(&line)}, nil
}

// entry returns what a caller reads.
func (r row) entry() (api.AuditEntry, error) {
	var line api.AuditLine
	err := json.Unmarshal([]byte(r.Data), &line)
	return api.AuditEntry{ID: line.ID, Number: r.Number, At: line.At, Act: line.Act, Object: line.Object,
		EventID: line.EventID, Refused: line.Refused, By: line.By, Before: line.Before, After: line.After,
		Hash: r.Hash}, err
}

// chain returns the hash of a line whose predecessor has the hash before.
func chain(before, data string) string {
	sum := sha256.Sum256([]byte(before + "\n" + data))
	return hex.EncodeToString(sum[:])
}

// head is the end of the chain, and where it begins since older lines were deleted.
type head struct {
	bun.BaseModel `bun:"table:head"`

	ID            int `bun:",pk"`
	Number        int64
	Hash          string
	DeletedNumber int64
	DeletedHash   string
}

// readHead returns the head.
func readHead(ctx context.Context, db bun.IDB) (h head, err error) {
	err = db.NewSelect().Model(&h).Where("id = 1").Scan(ctx)
	return h, err
}

// lockHead returns the head, which nobody else moves until tx has ended.
func lockHead(ctx context.Context, tx bun.Tx) (head, error) {
	if _, err := tx.ExecContext(ctx, "UPDATE head SET number = number WHERE id = 1"); err != nil {
		return head{}, err
	}
	return readHead(ctx, tx)
}

// has reports whether a line is there.
func (l log) has(ctx context.Context, id ids.Audit) (bool, error) { return has(ctx, l.db.Read(), id) }

func has(ctx context.Context, db bun.IDB, id ids.Audit) (bool, error) {
	return db.NewSelect().Model((*row)(nil)).Where("id = ?", id).Exists(ctx)
}

// append adds a line, unless it is there.
func (l log) append(ctx context.Context, r row) error {
	return l.db.TxRepeatable(ctx, func(ctx context.Context, tx bun.Tx) error {
		h, err := lockHead(ctx, tx)
		if err != nil {
			return err
		}
		there, err := has(ctx, tx, r.ID)
		if err != nil || there {
			return err
		}
		r.Number, r.Hash = h.Number+1, chain(h.Hash, r.Data)
		if _, err := tx.NewInsert().Model(&r).Exec(ctx); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, "UPDATE head SET number = ?, hash = ? WHERE id = 1", r.Number, r.Hash)
		return err
	})
}

// deletedRows are deleted in one transaction.
const deletedRows = 500

// deleteBefore deletes the first lines of the chain that are older than a time, and returns how many. note makes the
// line that says so, which is added with the deletion.
func (l log) deleteBefore(ctx context.Context, before time.Time, note func(first, last row) (row, error),
) (n int, err error) {
	err = l.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		n = 0
		h, err := lockHead(ctx, tx)
		if err != nil {
			return err
		}
		var rows []row
		if err := tx.NewSelect().Model(&rows).OrderExpr("number").Limit(deletedRows).Scan(ctx); err != nil {
			return err
		}
		for n < len(rows) && rows[n].At.Before(before) {
			n++
		}
		if n == 0 {
			return nil
		}
		last := rows[n-1]
		said, err := note(rows[0], last)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM lines WHERE number <= ?", last.Number); err != nil {
			return err
		}
		said.Number, said.Hash = h.Number+1, chain(h.Hash, said.Data)
		if _, err := tx.NewInsert().Model(&said).Exec(ctx); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx,
			"UPDATE head SET number = ?, hash = ?, deleted_number = ?, deleted_hash = ? WHERE id = 1",
			said.Number, said.Hash, last.Number, last.Hash)
		return err
	})
	return n, err
}

// filter says which lines are read.
type filter struct {
	user, act, object, event, organizer string

	from, to time.Time
	before   int64 // number; 0 means no bound
	after    int64 // number
	limit    int

	ascending bool // oldest first
}

// list returns lines, newest first unless the filter says otherwise.
func (l log) list(ctx context.Context, f filter) ([]row, error) {
	var rows []row
	q := l.db.Read().NewSelect().Model(&rows).Limit(int64(f.limit))
	if f.ascending {
		q = q.OrderExpr("number").Where("number > ?", f.after)
	} else {
		q = q.OrderExpr("number DESC")
	}
	for column, value := range map[string]string{"user_id": f.user, "act": f.act, "object": f.object,
		"event_id": f.event, "organizer_id": f.organizer} {
		if value != "" {
			q = q.Where("? = ?", bun.Ident(column), value)
		}
	}
	if !f.from.IsZero() {
		q = q.Where("at >= ?", f.from)
	}
	if !f.to.IsZero() {
		q = q.Where("at < ?", f.to)
	}
	if f.before > 0 {
		q = q.Where("number < ?", f.before)
	}
	err := q.Scan(ctx)
	return rows, store.FaultOf(ctx, err)
}
