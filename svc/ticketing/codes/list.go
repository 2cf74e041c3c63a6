package codes

import (
	"context"
	"strconv"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/auditlog"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/idempotency"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/sheet"
	"github.com/starlightsymphony/starlight/shared/store"
)

func (c *Codes) get(ctx context.Context, req *api.PromoCodeRef) (*api.PromoCode, error) {
	o, err := c.ofEvent(ctx, req.EventID)
	if err != nil {
		return nil, err
	}
	row, err := c.of(ctx, c.db.Read(), o.scope, req.ID, false)
	if err != nil {
		return nil, err
	}
	return c.shown(ctx, row)
}

// shown returns a code with its uses.
func (c *Codes) shown(ctx context.Context, row Row) (*api.PromoCode, error) {
	used, err := c.used(ctx, []Row{row})
	code := row.code(used[row.ID])
	return &code, err
}

// used returns how many orders use each code.
func (c *Codes) used(ctx context.Context, rows []Row) (map[ids.PromoCode]int, error) {
	out := map[ids.PromoCode]int{}
	if len(rows) == 0 {
		return out, nil
	}
	id := make([]ids.PromoCode, len(rows))
	for i, r := range rows {
		id[i] = r.ID
	}
	var counts []struct {
		PromoCodeID ids.PromoCode
		N           int
	}
	err := c.db.Read().NewRaw(`SELECT promo_code_id, COUNT(*) AS n FROM orders WHERE promo_code_id IN (?)
		AND promo_code_id <> '' AND status IN ('pending', 'paid') GROUP BY promo_code_id`, bun.List(id)).Scan(ctx, &counts)
	for _, k := range counts {
		out[k.PromoCodeID] = k.N
	}
	return out, err
}

func (c *Codes) list(ctx context.Context, req *api.PromoCodeQuery) (*api.List[api.PromoCode], error) {
	o, err := c.ofEvent(ctx, req.EventID)
	if err != nil {
		return nil, err
	}
	return c.page(ctx, o, req.Page, req.Code, req.Batch)
}

func (c *Codes) listForAll(ctx context.Context, req *api.OrganizerCodeQuery) (*api.List[api.PromoCode], error) {
	o, err := c.ofOrganizer(ctx, req.OrganizerID)
	if err != nil {
		return nil, err
	}
	return c.page(ctx, o, req.Page, req.Code, "")
}

func (c *Codes) page(
	ctx context.Context, o owner, page api.Page, code, batch string,
) (*api.List[api.PromoCode], error) {
	limit, err := store.Limit(page.Limit)
	if err != nil {
		return nil, err
	}
	rows, next, err := c.rows(ctx, o, code, batch, page.Cursor, limit)
	if err != nil {
		return nil, err
	}
	used, err := c.used(ctx, rows)
	if err != nil {
		return nil, err
	}
	list := &api.List[api.PromoCode]{Items: make([]api.PromoCode, len(rows)), NextCursor: next}
	for i := range rows {
		list.Items[i] = rows[i].code(used[rows[i].ID])
	}
	return list, nil
}

// rows returns codes, newest first, and where the next page begins: "" after the last.
func (c *Codes) rows(
	ctx context.Context, o owner, code, batch, cursor string, limit int,
) (rows []Row, next string, err error) {
	at, after, err := store.DecodeTimeCursor(cursor)
	if err != nil {
		return nil, "", err
	}
	q := c.db.Read().NewSelect().Model(&rows).Where("scope = ? AND NOT deleted", o.scope).
		OrderExpr("created_at DESC, id DESC").Limit(int64(limit) + 1)
	if code != "" {
		q = q.Where("word = ?", normalize(code))
	}
	if batch != "" {
		q = q.Where("batch = ?", batch)
	}
	if cursor != "" {
		q = q.Where("(created_at, id) < (?, ?)", at, after)
	}
	if err := q.Scan(ctx); err != nil {
		return nil, "", store.OrNotFound(err, noCode)
	}
	if len(rows) > limit {
		rows = rows[:limit]
		last := rows[limit-1]
		next = store.EncodeTimeCursor(last.CreatedAt, last.ID.String())
	}
	return rows, next, nil
}

// createBatch makes random codes, all in one transaction.
func (c *Codes) createBatch(ctx context.Context, req *api.NewPromoBatch) (*api.PromoBatch, error) {
	o, err := c.ofEvent(ctx, req.EventID)
	if err != nil {
		return nil, err
	}
	t := req.PromoTerms
	clean(&t)
	var wrong fault.Check
	check(&wrong, &t, o.event)
	wrong.Field(req.Count >= 1 && req.Count <= 10_000, "count", "must be from 1 to 10000")
	wrong.Field(!t.Auto, "automatic", "is not for many")
	wrong.Field(t.Reserve == nil, "reserve", "is not for many")
	checkCode(&wrong, "prefix", req.Prefix+"2222222222")
	if err := wrong.Err(); err != nil {
		return nil, err
	}
	batch := random("")
	rows := make([]Row, req.Count)
	for i := range rows {
		rows[i] = c.newRow(o, random(normalize(req.Prefix)), t)
		rows[i].Batch = batch
	}
	made := &api.PromoBatch{Batch: batch, Count: len(rows)}
	err = c.db.TxRepeatable(ctx, func(ctx context.Context, tx bun.Tx) error {
		if err := idempotency.KeepFor(ctx, tx, api.CreatePromoBatch.Success(), made); err != nil {
			return err
		}
		for from := 0; from < len(rows); from += batchSize {
			some := rows[from:min(from+batchSize, len(rows))]
			if _, err := tx.NewInsert().Model(&some).Exec(ctx); err != nil {
				return err
			}
		}
		return auditlog.Add(ctx, tx, "ticketing", auditlog.Act{Object: o.scope, Event: o.eventID(),
			After: map[string]any{"batch": batch, "count": len(rows), "terms": logged(&rows[0])}})
	})
	return made, err
}

// batchSize is how many codes one statement writes, and how many a part of a file has.
const batchSize = 500

// csv gives the codes of an event as lines of a file.
func (c *Codes) csv(ctx context.Context, req *api.PromoExport, at string) (rpc.Part, error) {
	o, err := c.ofEvent(ctx, req.EventID)
	if err != nil {
		return rpc.Part{}, err
	}
	rows, next, err := c.rows(ctx, o, "", req.Batch, at, batchSize)
	if err != nil {
		return rpc.Part{}, err
	}
	used, err := c.used(ctx, rows)
	if err != nil {
		return rpc.Part{}, err
	}
	var lines [][]string
	if at == "" {
		lines = append(lines, []string{"code", "name", "kind", "value", "max_uses", "used", "valid_from", "valid_until",
			"batch", "code_id", "created_at"})
	}
	for _, r := range rows {
		t := r.Terms
		lines = append(lines, []string{r.Code, t.Name, t.Kind, value(&t), strconv.Itoa(t.MaxUses),
			strconv.Itoa(used[r.ID]), stamp(t.ValidFrom), stamp(t.ValidUntil), r.Batch, r.ID.String(),
			stamp(&r.CreatedAt)})
	}
	body, err := sheet.Lines(lines)
	return rpc.Part{Body: body, Next: next, ContentType: sheet.TypeCSV, Filename: "codes.csv"}, err
}

// value is what a code does to prices, in a cell.
func value(t *api.PromoTerms) string {
	switch t.Kind {
	case api.PromoPercent:
		return t.Percent
	case api.PromoAmount:
		return t.Amount.String()
	case api.PromoPrice:
		return t.Price.String()
	case api.PromoBundle:
		return strconv.Itoa(t.Buy) + " for " + strconv.Itoa(t.Pay)
	}
	return ""
}

func stamp(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}
