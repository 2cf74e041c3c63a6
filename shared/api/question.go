package api

import (
	"strconv"
	"time"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// The kinds of questions, by what answers them.
const (
	AsksText    = "text"    // one line
	AsksNumber  = "number"  // a decimal number
	AsksChoice  = "choice"  // one of its choices
	AsksChoices = "choices" // some of its choices
	AsksDate    = "date"    // a day
	AsksCountry = "country" // ISO 3166-1 alpha-2
	AsksPhone   = "phone"   // a number with the code of its country
	AsksConsent = "consent" // yes or no; if it is required, yes
)

// Whom a question is asked for, and where.
const (
	AskedPerOrder   = "order"    // once
	AskedPerTicket  = "ticket"   // for each ticket
	AskedAtCheckout = "checkout" // of the buyer, before the order is paid
	AskedAtDoor     = "door"     // by those who scan
)

// Answers to questions of the kind consent, as they are counted and written into files.
const (
	ConsentGiven   = "yes"
	ConsentRefused = "no"
)

// Question is what the organizer of an event asks its buyers.
type Question struct {
	ID    ids.Question `json:"id"`
	Label string       `json:"label" maxLength:"300"`           // what is asked, on one line
	Help  string       `json:"help,omitempty" maxLength:"1000"` // what helps to answer it
	// what answers it
	Kind string `json:"kind" enum:"text,number,choice,choices,date,country,phone,consent"`
	Per  string `json:"per" enum:"order,ticket"` // once for an order, or for each ticket
	At   string `json:"at" enum:"checkout,door"` // where it is asked
	// an order that lacks the answer cannot be paid. At the door it stops nobody
	Required bool             `json:"required,omitempty"`
	Choices  []QuestionChoice `json:"choices,omitempty"` // of the kinds choice and choices
	// for whose tickets it is asked, or for whose orders; without any, for all, but for no products
	TicketTypes []ids.TicketType `json:"ticket_type_ids,omitempty"`
	// it is asked only if another one was answered so
	Condition *QuestionCondition `json:"condition,omitempty"`
	// what the answers are used for, as buyers read it
	Purpose string `json:"purpose,omitempty" maxLength:"500"`
	// how many days after the event its answers are kept; 0: as long as the setting ticketing.answer_retention says
	RetentionDays int `json:"retention_days,omitempty" minimum:"0" maximum:"3650"`
	// it is asked no more; what was answered is kept
	Hidden bool `json:"hidden,omitempty"`
	// label, help and purpose in other languages; readers of none of them get those above
	Translations []QuestionTranslation `json:"translations,omitempty"`
}

// Question returns the question with an id, or nil.
func (e *Event) Question(id ids.Question) *Question {
	for i := range e.Questions {
		if e.Questions[i].ID == id {
			return &e.Questions[i]
		}
	}
	return nil
}

// QuestionChoice is something to choose.
type QuestionChoice struct {
	ID    ids.Choice `json:"id"`
	Label string     `json:"label" maxLength:"200"` // on one line
	// it can be chosen no more; who has chosen it has it
	Hidden bool `json:"hidden,omitempty"`
	// the label in other languages; readers of none of them get that above
	Translations []ChoiceTranslation `json:"translations,omitempty"`
}

// QuestionCondition is how a question before was answered.
type QuestionCondition struct {
	QuestionID ids.Question `json:"question_id"`
	// one of them was chosen; of a consent there are none: it was given
	Choices []ids.Choice `json:"choices,omitempty"`
}

// NewQuestion is a question as its organizer writes it.
type NewQuestion struct {
	ID    ids.Question `json:"id,omitempty"`                        // of one that is there already
	Label string       `json:"label" minLength:"1" maxLength:"300"` // what is asked, on one line
	Help  string       `json:"help,omitempty" maxLength:"1000"`     // what helps to answer it
	// what answers it; of one that was published it stays
	Kind string `json:"kind" enum:"text,number,choice,choices,date,country,phone,consent"`
	// once for an order, or for each ticket; of one that was published it stays
	Per string `json:"per,omitempty" enum:"order,ticket" default:"ticket"`
	// where it is asked; at the door it is about a ticket
	At string `json:"at,omitempty" enum:"checkout,door" default:"checkout"`
	// an order that lacks the answer cannot be paid; a consent must be given. At the door it stops nobody
	Required bool `json:"required,omitempty"`
	// of the kinds choice and choices
	Choices []NewChoice `json:"choices,omitempty" maxItems:"50"`
	// for whose tickets it is asked, or for whose orders; without any, for all, but for no products
	TicketTypes []ids.TicketType `json:"ticket_type_ids,omitempty" maxItems:"50"`
	// it is asked only if another one was answered so
	Condition *NewCondition `json:"condition,omitempty"`
	// what the answers are used for, as buyers read it; needed of text, date and phone, which tell who a person is
	Purpose string `json:"purpose,omitempty" maxLength:"500"`
	// how many days after the event its answers are kept; 0: as long as the setting ticketing.answer_retention says
	RetentionDays int  `json:"retention_days,omitempty" minimum:"0" maximum:"3650"`
	Hidden        bool `json:"hidden,omitempty"` // it is asked no more
	// label, help and purpose in other languages, which need the language of the event
	Translations []QuestionTranslation `json:"translations,omitempty" maxItems:"10"`
}

// NewChoice is something to choose, as the organizer writes it.
type NewChoice struct {
	ID     ids.Choice `json:"id,omitempty"`                        // of one that is there already
	Label  string     `json:"label" minLength:"1" maxLength:"200"` // on one line
	Hidden bool       `json:"hidden,omitempty"`                    // it can be chosen no more
	// the label in other languages, which need the language of the event
	Translations []ChoiceTranslation `json:"translations,omitempty" maxItems:"10"`
}

// NewCondition is how a question before must have been answered.
type NewCondition struct {
	Question string `json:"question"` // the id or the label of one before, of the kind choice, choices or consent
	// ids or labels of choices of which one was chosen; of a consent there are none: it was given
	Choices []string `json:"choices,omitempty" maxItems:"50"`
}

// QuestionsOf is the request of PutQuestions.
type QuestionsOf struct {
	EventID ids.Event `json:"-" path:"id"`
	// the ETag of the event that was read; if it is not the present one, nothing is changed
	IfMatch string `json:"-" header:"If-Match"`
	// all of them, in the order in which they are asked
	Questions []NewQuestion `json:"questions" maxItems:"100"`
}

// EventQuestions is what is asked about an event.
type EventQuestions struct {
	EventID   ids.Event  `json:"event_id"`
	Questions []Question `json:"questions"` // in the order in which they are asked
	Revision  int64      `json:"revision"`  // of the event
}

// ETag implements rpc.ETagger. It is that of the event.
func (q EventQuestions) ETag() string { return strconv.FormatInt(q.Revision, 36) }

// Answer answers a question, for an order or for one of its tickets.
type Answer struct {
	QuestionID ids.Question `json:"question_id"`
	// which of the order's tickets it is about, counted from 0 in the order of the items, as attendees are. Absent: the
	// order
	Position *int `json:"position,omitempty" minimum:"0"`
	// a text, a decimal number, a date as in 2031-12-24, a country as in DE, a phone number as in +4930123456; of a
	// consent yes or no
	Value   string       `json:"value,omitempty" maxLength:"1000"`
	Choices []ids.Choice `json:"choices,omitempty" maxItems:"50"` // what was chosen; of the kind choice one
}

// PersonAnswer is an answer as the person takes it away.
type PersonAnswer struct {
	OrderID ids.Order `json:"order_id"`
	// which of the order's tickets it is about, counted from 0; absent: the order
	Position *int   `json:"position,omitempty" minimum:"0"`
	Question string `json:"question"` // what was asked, or the id of a question that is not known any more
	Answer   string `json:"answer"`   // what was answered; choices by their labels
}

// AnswerSheet is what is asked about an order, or about one of its tickets, and what was answered.
type AnswerSheet struct {
	OrderID   ids.Order        `json:"order_id"`
	EventID   ids.Event        `json:"event_id"`
	Tickets   []AnsweredTicket `json:"tickets"`   // whose answers these are
	Questions []Question       `json:"questions"` // what may be asked about them: conditions decide
	Answers   []Answer         `json:"answers"`
	// answers are missing, without which the order cannot be paid
	AnswersDue bool `json:"answers_due,omitempty"`
	// until when the caller may change answers; absent: not, or without end for those who work at the event
	Until *time.Time `json:"until,omitempty"`
	// whether the caller may change them now
	Open bool `json:"open"`
}

// AnsweredTicket is a ticket of an order that questions are asked about.
type AnsweredTicket struct {
	Position     int            `json:"position" minimum:"0"` // in the order, counted from 0
	TicketID     ids.Ticket     `json:"ticket_id,omitempty"`  // once the order is paid
	TicketTypeID ids.TicketType `json:"ticket_type_id"`
	Kind         string         `json:"kind,omitempty" enum:"ticket,product"` // absent: a ticket
	TypeName     string         `json:"ticket_type_name"`                     // what the ticket type is called
	Name         string         `json:"name,omitempty"`                       // who comes with it
}

// OrderAnswers is the request of PutOrderAnswers.
type OrderAnswers struct {
	ID      ids.Order `json:"-" path:"id"`
	Answers []Answer  `json:"answers" maxItems:"2000"` // all of them; what is left out is not answered
}

// TicketAnswers is the request of PutTicketAnswers.
type TicketAnswers struct {
	ID      ids.Ticket `json:"-" path:"id"`
	Answers []Answer   `json:"answers" maxItems:"200"` // all of them; what is left out is not answered
}

// AnswerCounts is how often what was answered, by those who come.
type AnswerCounts struct {
	EventID   ids.Event       `json:"event_id"`
	Questions []QuestionCount `json:"questions"` // in the order in which they are asked, hidden ones too
}

// QuestionCount is how often a question was answered, and how.
type QuestionCount struct {
	Question Question      `json:"question"`
	Answered int           `json:"answered" minimum:"0"` // how many orders or tickets have an answer
	Choices  []ChoiceCount `json:"choices,omitempty"`    // of what can be counted, the most frequent first
}

// ChoiceCount is how often something was chosen.
type ChoiceCount struct {
	Choice string `json:"choice"`            // the id of a choice, a country as in DE, or yes or no
	Label  string `json:"label,omitempty"`   // of a choice
	Count  int    `json:"count" minimum:"0"` // by how many orders or tickets
}

// RefusedAnswer is an answer that a venue has taken at its doors without a line, and that could not be kept.
type RefusedAnswer struct {
	TicketID ids.Ticket `json:"ticket_id"`
	Answer   Answer     `json:"answer"` // without a position: it is about the ticket
	Reason   string     `json:"reason"` // in words
	VenueID  ids.Venue  `json:"venue_id"`
	By       string     `json:"by"` // who gave it: a user, or the pass of a device
	At       time.Time  `json:"at"` // by the venue's clock
}

const answersClosed = "the order has ended, the ticket was revoked, or the time to change answers is over"

// The endpoints about questions: the event service has the questions, ticketing the answers.
var (
	GetQuestions = rpc.Endpoint[EventRef, EventQuestions]{Spec: rpc.Spec{Service: "event", Scopes: anyKey,
		Name: "questions", Method: "GET", Path: "/v1/events/{id}/questions", Access: rpc.Optional,
		Summary: "What buyers of an event are asked",
		Faults:  public()}}
	PutQuestions = rpc.Endpoint[QuestionsOf, EventQuestions]{Spec: rpc.Spec{Service: "event", Name: "set_questions",
		Method: "PUT", Path: "/v1/events/{id}/questions", Access: rpc.User, Headers: []string{"If-Match"},
		MaxBody: 256 << 10, Audited: true,
		Summary: "Set what buyers of an event are asked",
		Detail: "A question with an id stays the same one. Once the event was published, a question or choice that " +
			"is left out is hidden, so that its answers keep their meaning.",
		Faults: forManagers(rpc.Faults{fault.Conflict: cancelled + "; or " + busyEvent})}}

	GetOrderAnswers = rpc.Endpoint[OrderRef, AnswerSheet]{Spec: rpc.Spec{Service: "ticketing", Scopes: readKeys,
		Name: "order_answers", Method: "GET", Path: "/v1/orders/{id}/answers", Access: rpc.User, Guests: true,
		Summary: "What is asked about an order and its tickets, and what was answered",
		Detail:  "Of tickets that were given away their owners answer.",
		Faults:  hidden(noOrder, "")}}
	PutOrderAnswers = rpc.Endpoint[OrderAnswers, AnswerSheet]{Spec: rpc.Spec{Service: "ticketing",
		Name: "set_order_answers", Method: "PUT", Path: "/v1/orders/{id}/answers", Access: rpc.User, Guests: true,
		Audited: true, MaxBody: 256 << 10,
		Summary: "Answer what is asked at checkout about an order and its tickets",
		Detail: "Before the order is paid, and later until the organizer's deadline. errors names each answer that " +
			"is missing or wrong. Those who may edit orders are bound neither by the deadline nor by what is required.",
		Faults: rpc.Faults{fault.NotFound: noOrder, fault.Forbidden: "the caller may see the order, but is not " +
			"allowed to do this", fault.Conflict: answersClosed}}}
	GetTicketAnswers = rpc.Endpoint[TicketRef, AnswerSheet]{Spec: rpc.Spec{Service: "ticketing", Scopes: doorKeys,
		Name: "ticket_answers", Method: "GET", Path: "/v1/tickets/{id}/answers", Access: rpc.User, Guests: true,
		Summary: "What is asked about a ticket, and what was answered",
		Detail:  "Those at the door see what is asked there.",
		Faults:  hidden(noTicket, "")}}
	PutTicketAnswers = rpc.Endpoint[TicketAnswers, AnswerSheet]{Spec: rpc.Spec{Service: "ticketing", Scopes: doorKeys,
		Name: "set_ticket_answers", Method: "PUT", Path: "/v1/tickets/{id}/answers", Access: rpc.User, Guests: true,
		Audited: true, MaxBody: 64 << 10,
		Summary: "Answer what is asked about a ticket",
		Detail: "Its owner answers what is asked at checkout, until the organizer's deadline. Those at the door " +
			"answer what is asked there.",
		Faults: rpc.Faults{fault.NotFound: noTicket, fault.Forbidden: "the caller may see the ticket, but is not " +
			"allowed to do this", fault.Conflict: answersClosed}}}
	ListRefusedAnswers = rpc.Endpoint[EventPage, List[RefusedAnswer]]{Spec: rpc.Spec{Service: "ticketing",
		Scopes: readKeys, Name: "refused_answers", Method: "GET", Path: "/v1/events/{id}/refused-answers",
		Access:  rpc.User,
		Summary: "Answers that venues have taken at the door and that were not kept, newest first",
		Detail: "Without a line a venue asks what it last knew. An answer is not kept if the question or the ticket " +
			"was gone when it arrived. It is erased when other answers are.",
		Faults: forManagers(nil)}}
	GetAnswerCounts = rpc.Endpoint[EventRef, AnswerCounts]{Spec: rpc.Spec{Service: "ticketing", Scopes: readKeys,
		Name: "answer_counts", Method: "GET", Path: "/v1/events/{id}/answer-counts", Access: rpc.User,
		Summary: "How often what was answered, for those who may read the orders of an event",
		Detail:  "Of paid orders, and of tickets that were not revoked.",
		Faults:  forManagers(nil)}}
)

func questionEndpoints() []rpc.Descriptor {
	return []rpc.Descriptor{GetQuestions.Describe(), PutQuestions.Describe(), GetOrderAnswers.Describe(),
		PutOrderAnswers.Describe(), GetTicketAnswers.Describe(), PutTicketAnswers.Describe(),
		GetAnswerCounts.Describe(), ListRefusedAnswers.Describe()}
}
