package api

import "github.com/starlightsymphony/starlight/shared/ids"

// OrderItem is a line of an order. Its tickets cost quantity times unit_price less the discount.
type OrderItem struct {
	TicketTypeID ids.TicketType `json:"ticket_type_id"`
	Name         string         `json:"name"`                 // of the ticket type, when the order was made
	Quantity     int            `json:"quantity" minimum:"1"` // how many tickets
	UnitPrice    Money          `json:"unit_price"`
	Discount     Money          `json:"discount,omitzero"` // off all tickets of the line together
}

// Cost returns what the tickets of the line cost together, in minor units.
func (i OrderItem) Cost() int64 { return i.UnitPrice.Amount*int64(i.Quantity) - i.Discount.Amount }

// CostOf returns what the nth ticket of the line, counted from 0, costs in minor units: the costs of all are that of
// the line, and no two differ by more than one unit.
func (i OrderItem) CostOf(n int) int64 {
	each, rest := i.Cost()/int64(i.Quantity), i.Cost()%int64(i.Quantity)
	if int64(n) < rest {
		return each + 1
	}
	return each
}
