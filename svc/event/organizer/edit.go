package organizer

import (
	"context"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
)

func (s *Organizers) update(ctx context.Context, req *api.PatchOrganizer) (*api.Organizer, error) {
	return s.edit(ctx, req.ID, req.IfMatch, func(next *api.Organizer) error {
		if req.Name != nil {
			next.Name = *req.Name
		}
		if req.Slug != nil {
			next.Slug = *req.Slug
		}
		req.LegalName.Apply(&next.LegalName)
		req.Address.Apply(&next.Address)
		req.Country.Apply(&next.Country)
		req.TaxID.Apply(&next.TaxID)
		req.Email.Apply(&next.Email)
		req.Phone.Apply(&next.Phone)
		req.Website.Apply(&next.Website)
		req.Currency.Apply(&next.Currency)
		req.Language.Apply(&next.Language)
		req.Timezone.Apply(&next.Timezone)
		setIf(&next.TaxRounding, req.TaxRounding)
		setIf(&next.Invoices, req.Invoices)
		setIf(&next.ReverseCharge, req.ReverseCharge)
		setIf(&next.VATUnanswered, req.VATUnanswered)
		req.InvoicePrefix.Apply(&next.InvoicePrefix)
		req.InvoiceNote.Apply(&next.InvoiceNote)
		return check(next)
	})
}

// edit changes what an organizer is, if it still has the ETag that is named.
func (s *Organizers) edit(
	ctx context.Context, id ids.Organizer, ifMatch string, apply func(next *api.Organizer) error,
) (*api.Organizer, error) {
	var next *api.Organizer
	err := s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		// Who has changed the row has it alone until the end.
		if _, err := tx.ExecContext(ctx, "UPDATE organizers SET revision = revision WHERE id = ?", id); err != nil {
			return err
		}
		if _, err := s.as(ctx, tx, id, api.MayEditOrganizer); err != nil {
			return err
		}
		before, err := load(ctx, tx, id)
		if err != nil {
			return err
		}
		if !rpc.MatchETag(ifMatch, before.ETag()) {
			return fault.New(fault.Precondition, "the organizer was changed meanwhile")
		}
		changed := *before
		next = &changed
		if err := apply(next); err != nil || changed == *before {
			return err
		}
		next.Revision++
		next.UpdatedAt = store.Time(s.now())
		_, err = tx.NewUpdate().Model(rowOf(next)).ExcludeColumn("team_revision").WherePK().Exec(ctx)
		if store.IsUnique(err) {
			return errSlugTaken()
		}
		if err != nil {
			return err
		}
		if sellingOf(before) != sellingOf(next) {
			if err := republish(ctx, tx, next.ID); err != nil {
				return err
			}
		}
		return s.auditProfile(ctx, tx, before, next)
	})
	return next, err
}
