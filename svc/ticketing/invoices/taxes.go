package invoices

import (
	"context"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/store"
)

// taxQuery sums up what the documents of an organizer's year say of each rate. The parts of a document are read as each
// database does it.
func taxQuery(db *store.DB) string {
	from, month := "json_each(i.document, '$.taxes') AS t", "json_extract(i.document, '$.issued_on')"
	text := func(path string) string { return "json_extract(t.value, '$." + path + "')" }
	amount := func(of string) string { return text(of + ".amount") }
	currency := text("gross.currency")
	if db.Postgres() {
		from = "jsonb_array_elements(i.document::jsonb -> 'taxes') AS t (value)"
		month, currency = "i.document::jsonb ->> 'issued_on'", "t.value -> 'gross' ->> 'currency'"
		text = func(name string) string { return "t.value ->> '" + name + "'" }
		amount = func(of string) string { return "(t.value -> '" + of + "' ->> 'amount')::bigint" }
	}
	sum := func(of string) string {
		return "CAST(SUM(CASE i.kind WHEN '" + api.CreditNote + "' THEN -1 ELSE 1 END * " + amount(of) + ") AS BIGINT)"
	}
	return "SELECT substr(" + month + ", 1, 7) AS month, COALESCE(" + text("name") + ", '') AS name, " +
		text("rate") + " AS rate, " + currency + " AS currency, " + sum("net") + " AS net, " + sum("tax") +
		" AS tax, " + sum("gross") + " AS gross FROM invoices AS i, " + from +
		" WHERE i.organizer_id = ? AND i.year = ? GROUP BY 1, 2, 3, 4 ORDER BY 1, 4, 3, 2"
}

// Taxes returns what the invoices of an organizer's year say of each rate, less credit notes, by month.
func Taxes(ctx context.Context, db *store.DB, id ids.Organizer, year int) ([]api.TaxMonth, error) {
	var rows []struct {
		Month, Name, Rate, Currency string
		Net, Tax, Gross             int64
	}
	if err := db.Read().NewRaw(taxQuery(db), id, year).Scan(ctx, &rows); err != nil {
		return nil, store.FaultOf(ctx, err)
	}
	out := make([]api.TaxMonth, len(rows))
	for i, r := range rows {
		money := func(n int64) api.Money { return api.Money{Amount: n, Currency: r.Currency} }
		out[i] = api.TaxMonth{Month: r.Month, TaxTotal: api.TaxTotal{Name: r.Name, Rate: r.Rate, Net: money(r.Net),
			Tax: money(r.Tax), Gross: money(r.Gross)}}
	}
	return out, nil
}
