package line

import (
	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// PassPrefix begins the secrets of devices: what turns up somewhere tells what it is good for.
const PassPrefix = "dp_"

// Pair exchanges a code for the secret of a pass.
type Pair struct {
	Session
	Code string `json:"code"`
}

// Device is a code of a ticket that a device has shown to a venue whose doors are the hub's.
type Device struct {
	Session
	EventID ids.Event `json:"event_id"`
	Secret  string    `json:"secret"` // of the device's pass
	Code    string    `json:"code"`
	Gate    string    `json:"gate,omitempty"`
	Exit    bool      `json:"exit,omitempty"` // the person goes out
}

// DeviceAnswers are what a device at a venue answers about a ticket that is not the venue's to ask about.
type DeviceAnswers struct {
	Session
	Secret   string       `json:"secret"` // of the device's pass
	TicketID ids.Ticket   `json:"ticket_id"`
	Answers  []api.Answer `json:"answers"` // as in api.PassAnswers; null: it reads what is asked
}

// The endpoints of the hub in the venue's account for the devices at its doors.
var (
	// PairDevice answers as api.PairDevice.
	PairDevice = rpc.Endpoint[Pair, api.PairedDevice]{Spec: hub("pair", "The secret of a device's pass")}
	// ScanAtHub decides as a door of the hub does, while the doors are the hub's: otherwise Unavailable. A pass that is
	// not one of the event is Unauthenticated.
	ScanAtHub = rpc.Endpoint[Device, api.AdmissionResult]{Spec: hub("scan", "A scan at a door of the hub")}
	// AnswerAtHub answers as api.AnswerWithPass. A pass that is not one of the ticket's event is NotFound.
	AnswerAtHub = rpc.Endpoint[DeviceAnswers, api.AnswerSheet]{Spec: hub("answer", "What is asked about a ticket at a "+
		"door of the hub")}
)
