package line

import (
	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
)

// Asked is what a door needs to know of a ticket to ask about it what is asked there. What was answered to other
// questions is not in it.
type Asked struct {
	Position int `json:"p,omitempty"` // in its order, counted from 0
	// Met are the questions that are asked because of what was answered before. Those that hang on nothing, or on
	// another question at the door, are not in it.
	Met     []ids.Question `json:"m,omitempty"`
	Answers []api.Answer   `json:"a,omitempty"` // to what is asked at the door
}

// Answers are what was changed of the answers about a ticket. Their positions are absent: they are about the ticket.
type Answers struct {
	TicketID ids.Ticket     `json:"ticket_id"`
	Given    []api.Answer   `json:"given,omitempty"`
	Cleared  []ids.Question `json:"cleared,omitempty"` // whose answers were taken away
	By       string         `json:"by"`                // a user or a pass
}
