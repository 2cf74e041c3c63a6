package api

// OrderRules are what the organizer of an event asks of its orders. 0 means that there is no such bound, or no other
// than that of all orders. Sales at a counter are bound by max_per_order alone. Products do not count as tickets.
type OrderRules struct {
	// the fewest tickets of an order, of all ticket types together
	MinPerOrder int `json:"min_per_order,omitempty" minimum:"0" maximum:"1000000"`
	// the most tickets of an order, of all ticket types together
	MaxPerOrder int `json:"max_per_order,omitempty" minimum:"0" maximum:"1000000"`
	// the most tickets that one buyer may have, of all orders and ticket types together
	MaxPerPerson int `json:"max_per_person,omitempty" minimum:"0" maximum:"1000000"`
	// what buyers may do about paid orders by themselves; absent: they ask, and the organizer decides
	Cancellation CancellationPolicy `json:"cancellation,omitzero"`
	// for what buyers may exchange tickets by themselves; absent: for nothing
	Exchange ExchangePolicy `json:"exchange,omitzero"`
	// until how long before the event begins buyers may change what they answered
	AnswerMinutesBefore int `json:"answer_minutes_before,omitempty" minimum:"0" maximum:"525600"`
}

// CancellationPolicy is how buyers give paid tickets back.
type CancellationPolicy struct {
	// whether they get their money back by themselves until the time; otherwise, and later, they ask for it
	SelfService bool `json:"self_service,omitempty"`
	// until how long before the event begins
	MinutesBefore int `json:"minutes_before,omitempty" minimum:"0" maximum:"525600"`
	// what the organizer keeps of what the tickets cost
	FeePercent int `json:"fee_percent,omitempty" minimum:"0" maximum:"100"`
	// what the organizer keeps beside that of each ticket, but no product, in minor units of the currency of the order
	FeePerTicket int64 `json:"fee_per_ticket,omitempty" minimum:"0" maximum:"1000000000000"`
}
