package organizer

import (
	"context"
	"regexp"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
)

var prefixRule = regexp.MustCompile(`^[A-Z0-9-]{0,10}$`)

// sellingOf returns what others have to know of an organizer to sell for it.
func sellingOf(o *api.Organizer) api.SellingTerms {
	return api.SellingTerms{SalesTerms: o.SalesTerms, Country: o.Country}
}

// checkSelling records what breaks a rule of the terms on which an organizer sells.
func checkSelling(c *fault.Check, o *api.Organizer) {
	c.Field(prefixRule.MatchString(o.InvoicePrefix), "invoice_prefix", "must be up to 10 of A-Z, 0-9 and -")
	c.Field(o.TaxRounding == "" || o.TaxRounding == api.RoundPerLine || o.TaxRounding == api.RoundPerDocument,
		"tax_rounding", "must be line or document")
	if o.Invoices {
		const needed = "is needed while the organizer writes invoices"
		c.Field(o.LegalName != "", "legal_name", needed)
		c.Field(o.Address != "", "address", needed)
		c.Field(o.Country != "", "country", needed)
	}
}

func setIf[T any](field *T, value *T) {
	if value != nil {
		*field = *value
	}
}

// republish tells of an organizer whose terms have changed, under the next revision of its team.
func republish(ctx context.Context, tx bun.Tx, id ids.Organizer) error {
	if _, err := tx.ExecContext(ctx, "UPDATE organizers SET team_revision = team_revision + 1 WHERE id = ?",
		id); err != nil {
		return err
	}
	team, err := Team(ctx, tx, id)
	if err != nil {
		return err
	}
	return publish(ctx, tx, team, team)
}
