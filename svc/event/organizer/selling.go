package organizer

import (
	"context"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
)

// checkSelling records what breaks a rule of the terms on which an organizer sells.
func checkSelling(c *fault.Check, o *api.Organizer) {
	c.Field(o.TaxRounding == "" || o.TaxRounding == api.RoundPerLine || o.TaxRounding == api.RoundPerDocument,
		"tax_rounding", "must be line or document")
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
