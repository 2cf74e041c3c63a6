package openapi

import (
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc/codec"
)

const aPromoCode ids.PromoCode = "pcd_01k3q8v5z7m2n4p6r8s9t0w1xy"

// promo are the examples of promo codes, for an event that is on sale.
func promo() []Example {
	until := time.Date(2030, 6, 1, 22, 0, 0, 0, time.UTC)
	bundle := api.PromoTerms{Name: "Four for three", Kind: api.PromoBundle, Buy: 4, Pay: 3, Auto: true}
	members := api.PromoTerms{Name: "Members", Kind: api.PromoPercent, Percent: "15", MaxUses: 100, MaxPerPerson: 2,
		ValidUntil: &until, TicketTypeIDs: []ids.TicketType{aType},
		Reserve: &api.PromoReserve{TicketTypeID: aType, Quantity: 20}}
	press := api.PromoTerms{Name: "Press", Kind: api.PromoPercent, Percent: "100", MaxUses: 1, MaxTickets: 1}
	friends := api.PromoTerms{Kind: api.PromoAmount, Amount: &api.Money{Amount: 500, Currency: "EUR"}, MinTotal: 2000}
	return []Example{
		example(api.CreatePromoCode, api.NewPromoCode{EventID: anEvent, Code: "MEMBERS", PromoTerms: members}),
		example(api.GetPromoCode, api.PromoCodeRef{EventID: anEvent, ID: aPromoCode}),
		example(api.GetAvailability, api.AvailabilityQuery{ID: anEvent, Code: "members"}),
		example(api.UpdatePromoCode, api.PatchPromoCode{EventID: anEvent, ID: aPromoCode,
			PromoChanges: api.PromoChanges{MaxUses: codec.To(200), Reserve: codec.Clear[api.PromoReserve]()}}),
		example(api.CreatePromoCode, api.NewPromoCode{EventID: anEvent, PromoTerms: bundle}),
		example(api.CreatePromoBatch, api.NewPromoBatch{EventID: anEvent, Count: 5, Prefix: "PRESS-",
			PromoTerms: press}),
		example(api.ListPromoCodes, api.PromoCodeQuery{EventID: anEvent, Page: api.Page{Limit: 10}}),
		example(api.GetPromoCodesCSV, api.PromoExport{EventID: anEvent}),
		example(api.DeletePromoCode, api.PromoCodeRef{EventID: anEvent, ID: aPromoCode}),
		example(api.CreateOrganizerCode, api.NewOrganizerCode{OrganizerID: anOrganizer, Code: "FRIENDS",
			PromoTerms: friends}),
		example(api.UpdateOrganizerCode, api.PatchOrganizerCode{OrganizerID: anOrganizer, ID: aPromoCode,
			PromoChanges: api.PromoChanges{MaxPerPerson: codec.To(1)}}),
		example(api.ListOrganizerCodes, api.OrganizerCodeQuery{OrganizerID: anOrganizer, Page: api.Page{Limit: 10}}),
		example(api.DeleteOrganizerCode, api.OrganizerCodeRef{OrganizerID: anOrganizer, ID: aPromoCode}),
	}
}
