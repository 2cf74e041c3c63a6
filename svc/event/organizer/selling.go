package organizer

import (
	"context"
	"regexp"
	"slices"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/text"
	"github.com/starlightsymphony/starlight/shared/vatid"
)

const maxNote = 500

var prefixRule = regexp.MustCompile(`^[A-Z0-9-]{0,20}$`)

// checkSelling records what breaks a rule of the terms on which an organizer sells.
func checkSelling(c *fault.Check, o *api.Organizer) {
	c.Field(o.TaxRounding == "" || o.TaxRounding == api.RoundPerLine || o.TaxRounding == api.RoundPerDocument,
		"tax_rounding", "must be line or document")
	c.Field(prefixRule.MatchString(o.InvoicePrefix), "invoice_prefix", "must be up to 20 of A-Z, 0-9 and -")
	o.InvoiceNote = text.CleanLines(o.InvoiceNote)
	text.CheckLines(c, "invoice_note", o.InvoiceNote, 0, maxNote)
	if o.Invoices {
		const needed = "must be given for invoices"
		c.Field(o.LegalName != "", "legal_name", needed)
		c.Field(o.Address != "", "address", needed)
		c.Field(o.Country != "", "country", needed)
	}
	checkReverseCharge(c, o)
}

// checkReverseCharge records what an organizer lacks whose buyers owe the tax: the law wants an invoice with both VAT
// numbers.
func checkReverseCharge(c *fault.Check, o *api.Organizer) {
	known := []string{"", api.UnansweredTax, api.UnansweredRefuse, api.UnansweredAccept}
	c.Field(slices.Contains(known, o.VATUnanswered), "vat_unanswered", "must be tax, refuse or accept")
	switch o.ReverseCharge {
	case "", api.ReverseOff:
	case api.ReverseConfirmed, api.ReverseFormat:
		c.Field(o.Invoices, "invoices", "must be made for reverse charge")
		c.Field(vatid.Country(vatid.Clean(o.TaxID)) != "", "tax_id",
			"must be a VAT number of a member state of the EU for reverse charge")
	default:
		c.Field(false, "reverse_charge", "must be off, confirmed or format")
	}
}

// sellingOf returns how an organizer sells, as services that sell know it.
func sellingOf(o *api.Organizer) api.Selling {
	s := api.Selling{SalesTerms: o.SalesTerms, Logo: o.Logo}
	if o.Invoices {
		s.Seller = api.Seller{LegalName: o.LegalName, Address: o.Address, Country: o.Country, TaxID: o.TaxID,
			Email: o.Email, Language: o.Language, Timezone: o.Timezone}
	}
	return s
}

// HasLegalData reports whether an organizer says what documents about tax need: who it is, where, and its tax number.
func (s *Organizers) HasLegalData(ctx context.Context, id ids.Organizer) (has bool, err error) {
	err = s.db.Read().NewRaw(`SELECT EXISTS (SELECT 1 FROM organizers WHERE id = ? AND legal_name <> '' AND address <> ''
		AND tax_id <> '')`, id).Scan(ctx, &has)
	return has, err
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
