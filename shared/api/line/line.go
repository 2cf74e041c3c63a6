// Package line is what a venue's computer, the edge, and the system, the hub, say to each other over the line between
// them. Both are in the venue's own account on NATS, in which there is nothing else.
//
// The edge is the one that asks: it says hello, asks what has changed, fetches manifests page after page, and hands its
// journal up. Nothing rests on a message that nobody acknowledges, and everything may be sent twice. What the hub asks
// of the edge are the few things that a person waits for.
package line

import (
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// The names under which both sides serve in the venue's account.
const (
	Hub  = "hub"
	Edge = "edge"

	// Poke is the subject on which the hub tells the edge that something has changed. It may be lost: the edge asks by
	// itself every few seconds.
	Poke = "line.poke"
)

// Session says which edge asks. A venue has one: after the hello of a second one the first is refused with
// precondition_failed, and with it a copy of its folder.
type Session struct {
	VenueID ids.Venue `json:"venue_id,omitempty"` // the hub takes it from the account, whatever is said here
	Edge    string    `json:"edge"`               // random name of the edge's data folder, made with it
	Number  int64     `json:"number"`             // of the hello; it grows with each of that folder
}

// Hello is the first request of an edge over a new connection.
type Hello struct {
	Session
	Version  string `json:"version"`           // of the program
	Key      Key    `json:"key"`               // that signs the tickets sold at the venue
	Holds    []Hold `json:"holds"`             // the events that the edge admits for, as its disk says
	Journal  int64  `json:"journal"`           // the number of its last entry
	Accepted int64  `json:"accepted"`          // the number up to which the hub has acknowledged the journal
	Replace  bool   `json:"replace,omitempty"` // take the place of another edge that an administrator has released
}

// Hold is an event whose doors the edge has taken over.
type Hold struct {
	EventID ids.Event `json:"event_id"`
	Epoch   int64     `json:"epoch"` // of the hand-over
	// Position of the newest change of a ticket that the edge has. If the hub has none of it, the hub was restored
	// from a backup, and the event gets another Generation.
	Position int64 `json:"position,omitempty"`
}

// Key is a public Ed25519 key that signs codes of tickets.
type Key struct {
	ID     string `json:"id"`
	Public []byte `json:"public"` // 32 bytes
}

// Welcome is the answer to Hello.
type Welcome struct {
	Venue   api.Venue `json:"venue,omitzero"`
	Now     time.Time `json:"now"`     // of the hub's clock
	Journal int64     `json:"journal"` // the number up to which the hub has the journal; the edge sends what follows
}

// Ask is the regular request of an edge: what is new?
type Ask struct {
	Session
	Status Status  `json:"status"`
	Known  []Known `json:"known"` // what the edge has, so that only what differs is sent
}

// Known is how far the edge knows an event.
type Known struct {
	EventID  ids.Event `json:"event_id"`
	Revision int64     `json:"revision"` // of the event
	Team     int64     `json:"team"`     // the revision of its organizer's team
}

// State is the state of the whole venue, in the answer to Ask. An event that is not in it is not the venue's any more.
type State struct {
	Now     time.Time `json:"now"`     // of the hub's clock
	Journal int64     `json:"journal"` // the number up to which the hub has the journal, read before the leases
	Keys    []Key     `json:"keys"`    // of the hub and of this venue: those that sign codes
	Events  []Event   `json:"events"`
}

// The states of the doors of an event. Under the policy venue the hub admits only in DoorsHub, and the venue only after
// it has written DoorsVenue to its disk and before it has written that it returns them.
const (
	DoorsHub         = "hub"
	DoorsHandingOver = "handing_over"
	DoorsVenue       = "venue"
	DoorsReturning   = "returning"
)

// Who admits while the doors are handed over.
const (
	PolicyVenue  = "venue"  // the venue alone
	PolicyShared = "shared" // both; what both have admitted is flagged
)

// What the venue does with a genuine ticket that its manifest does not have, as one bought after the line was cut.
const (
	UnknownAdmit  = "admit"  // and flags it
	UnknownRefuse = "refuse" // as invalid, and says that the manifest is old
)

// Event is an event whose doors are handed over to the venue, or are on the way.
type Event struct {
	EventID  ids.Event `json:"event_id"`
	State    string    `json:"state"` // DoorsHandingOver, DoorsVenue or DoorsReturning
	Epoch    int64     `json:"epoch"` // of the hand-over; each has another, greater than those before
	Policy   string    `json:"policy"`
	Unknown  string    `json:"unknown"`
	Position int64     `json:"position"` // of the newest change of a ticket, from 1
	// Generation of the positions. When it is another than that of the edge's manifest, the edge reads the manifest
	// anew from the beginning, and keeps what it has until it is complete.
	Generation int64 `json:"generation"`
	// MaxPerOrder is the most tickets of one sale, whatever their types. 0: the hub does not say so yet.
	MaxPerOrder int        `json:"max_per_order,omitempty"`
	Opens       *time.Time `json:"opens,omitempty"`  // when the doors open; absent: at any time
	Closes      *time.Time `json:"closes,omitempty"` // when they close; absent: never
	Offer       *api.Offer `json:"offer,omitempty"`  // the event and its team, unless the edge knows the revision
	Passes      []Pass     `json:"passes"`           // devices that may scan; one that is missing is revoked
	Leases      []Lease    `json:"leases"`           // seats that the venue may sell
}

// Pass is the right of a device to scan at one event.
type Pass struct {
	ID   ids.Pass `json:"id"`
	Hash []byte   `json:"hash"` // SHA-256 of the secret that the device shows
	Name string   `json:"name"` // of the device
	Gate string   `json:"gate,omitempty"`
}

// Lease is a number of seats of one type that only the venue sells. While the edge has given seats back by an entry
// that Journal of the State does not include, it goes on with its own Quantity and takes nothing but Closing from here.
// From a lease that is not in the State any more nothing is sold.
type Lease struct {
	ID           ids.Lease      `json:"id"`
	TicketTypeID ids.TicketType `json:"ticket_type_id"`
	Quantity     int            `json:"quantity"` // all that were ever leased less those returned; sold ones included
	// Target is what the hub wants Quantity to be. If it is less, the edge gives back what it has not sold above it.
	Target   int   `json:"target"`
	Revision int64 `json:"revision"` // grows with each change
	Closing  bool  `json:"closing"`  // the hub wants the unsold ones back: sell no more, and say so
}

// Manifest asks for a page of an event's tickets: first all of them, from After on; then, with Since, those that have
// changed, in the order of their changes.
type Manifest struct {
	Session
	EventID ids.Event  `json:"event_id"`
	Since   int64      `json:"since"`           // position; 0 asks for all
	After   ids.Ticket `json:"after,omitempty"` // the last ticket of the page before
	Limit   int        `json:"limit"`           // at most ManifestLimit

	// Accepted is up to which number the hub had the journal when the edge asked. The hub does not need it.
	Accepted int64 `json:"-"`
}

// ManifestLimit is the largest page of a manifest, in tickets. It fits into one message.
const ManifestLimit = 2500

// Page is a page of a manifest.
type Page struct {
	Tickets []Ticket `json:"tickets"`
	// Position: with Since 0, that of the event before the first ticket of this page was read: what has changed since
	// the first page comes again if the edge goes on from the position of its first page. Otherwise that of the last
	// ticket of the page, or Since if it has none. The edge asks for the next page from there, After that ticket.
	Position int64 `json:"position"`
	More     bool  `json:"more"`
}

// Ticket is a ticket as a door needs it. The names are short because there are many.
type Ticket struct {
	ID       ids.Ticket     `json:"i"`
	Type     ids.TicketType `json:"t"`
	Order    ids.Order      `json:"o,omitempty"`
	Name     string         `json:"n,omitempty"` // of the holder
	Revision int64          `json:"r"`
	Status   string         `json:"s"` // of api.Ticket
	Admitted *time.Time     `json:"a,omitempty"`
	Gate     string         `json:"g,omitempty"` // of the first admission
	Outside  bool           `json:"x,omitempty"` // admitted, and gone out again
	Position int64          `json:"p,omitempty"` // of its last change
	Asked    *Asked         `json:"q,omitempty"` // absent where there is nothing to know
}

// Taken says that the edge has written to its disk that it admits for an event. Returned says that it has written that
// it does so no more, and that its journal up to Journal is all there is.
type (
	Taken struct {
		Session
		Hold
	}
	Returned struct {
		Session
		Hold
		Journal int64 `json:"journal"`
	}
)

// Journal hands entries up, in their order and without a gap. The hub keeps each once, however often it comes.
type Journal struct {
	Session
	Entries []Entry `json:"entries"`
}

// Receipt says up to which number the hub has the journal on its disk.
type Receipt struct {
	Journal int64 `json:"journal"`
}

// Entry is something that the venue has decided. Exactly one of Scan, Sale, Reversal, Answers, LeaseCut
// and LeaseDone is there.
type Entry struct {
	Number  int64     `json:"number"` // 1, 2, 3, ... of the venue's edge
	EventID ids.Event `json:"event_id"`
	Epoch   int64     `json:"epoch"`
	At      time.Time `json:"at"` // by the venue's clock, set right by the hub's when there was a line
	Scan    *Scan     `json:"scan,omitempty"`
	Sale    *Sale     `json:"sale,omitempty"`
	// Reversal takes back a sale that stands before.
	Reversal *Reversal `json:"reversal,omitempty"`
	// Answers are to what is asked at the door about a ticket.
	Answers *Answers `json:"answers,omitempty"`
	// LeaseCut gives unsold seats of a lease back.
	LeaseCut *LeaseCut `json:"lease_cut,omitempty"`
	// LeaseDone says that the venue sells no more from a closing lease; all of its sales stand before.
	LeaseDone ids.Lease `json:"lease_done,omitempty"`
}

// What a scan is about.
const (
	ScanEntry = "entry" // a person comes in
	ScanExit  = "exit"  // goes out; it had no Result once, which stands for exited
	ScanUndo  = "undo"  // a supervisor takes an admission back
)

// Scan is a reading of a code at a door of the venue, with the verdict that the person got.
type Scan struct {
	ID       ids.Admission `json:"id"`
	Kind     string        `json:"kind"`
	TicketID ids.Ticket    `json:"ticket_id,omitempty"`
	Revision int64         `json:"revision,omitempty"`
	Result   string        `json:"result"` // of api.AdmissionResult or, of an exit, of api.ExitResult; an undo has none
	Unknown  bool          `json:"unknown,omitempty"`
	Gate     string        `json:"gate,omitempty"`
	By       string        `json:"by"` // a user or a pass
}

// Sale is a sale at the box office of the venue. The seats are from its leases.
type Sale struct {
	OrderID ids.Order     `json:"order_id"`
	Lines   []SaleLine    `json:"lines"`
	Payment SalePayment   `json:"payment"`
	Buyer   *api.Attendee `json:"buyer,omitempty"`
	Tickets []SoldTicket  `json:"tickets"`
	Total   api.Money     `json:"total"`
	By      string        `json:"by"` // a user or a pass
}

// Reversal takes a sale back that was made by mistake: its tickets are revoked, its seats are the lease's again, and
// the money was handed back.
type Reversal struct {
	OrderID ids.Order    `json:"order_id"`
	Tickets []ids.Ticket `json:"tickets"` // that are good no more, by what the venue knew
	Reason  string       `json:"reason"`
	By      string       `json:"by"` // a user or a pass
}

// LeaseCut says that the venue sells so many seats of a lease no more, because the hub wants them back.
type LeaseCut struct {
	LeaseID  ids.Lease `json:"lease_id"`
	Quantity int       `json:"quantity"` // the seats given back, at least 1
}

// SaleLine is a line of a sale.
type SaleLine struct {
	LeaseID      ids.Lease      `json:"lease_id"`
	TicketTypeID ids.TicketType `json:"ticket_type_id"`
	Quantity     int            `json:"quantity"`
	UnitPrice    api.Money      `json:"unit_price"`
}

// SalePayment is how a sale was paid.
type SalePayment struct {
	Method    string `json:"method"`              // cash, card or free
	Reference string `json:"reference,omitempty"` // of the card terminal
}

// SoldTicket is a ticket of a sale. Its code is signed with the venue's key.
type SoldTicket struct {
	ID           ids.Ticket     `json:"id"`
	TicketTypeID ids.TicketType `json:"ticket_type_id"`
	Holder       api.Attendee   `json:"holder"`
}

// SignIn asks whether a person is staff of the venue's events.
type SignIn struct {
	Session
	Email    string `json:"email"`
	Password string `json:"password"`
	api.FactorProof
}

// Staff is a person who has signed in, with what they may do.
type Staff struct {
	UserID ids.User    `json:"user_id"`
	Name   string      `json:"name"`
	Admin  bool        `json:"admin,omitempty"`
	Roles  []StaffRole `json:"roles"`

	Generation int64 `json:"generation"` // of the account at this moment: see SignedIn

	SessionID ids.Session `json:"session_id,omitempty"` // that has begun, unless the person has no part there
}

// StaffRole is the role of a person at an event of the venue.
type StaffRole struct {
	EventID ids.Event `json:"event_id"`
	Role    string    `json:"role"` // such as manager or door
}

// Status is the state of an edge, as it sees it.
type Status struct {
	Version  string `json:"version"`
	Waiting  int64  `json:"waiting"`        // entries of the journal that the hub does not have
	Manifest int64  `json:"manifest_age"`   // seconds since the oldest manifest was known to be current
	Tickets  int64  `json:"tickets"`        // in all manifests
	Admitted int64  `json:"admitted"`       // since the edge has started
	Skew     int64  `json:"skew_ms"`        // the venue's clock less the hub's
	Disk     string `json:"disk,omitempty"` // what is wrong with the disk, if something is
}

// Logs hands lines of the edge's log up. They are worth no second try: those that are lost are lost.
type Logs struct {
	Session
	Lines   []string `json:"lines"`             // each the JSON that slog writes; at most LogsLimit
	Dropped int64    `json:"dropped,omitempty"` // lines that were not sent since the last request
}

// The most lines of a request, and the most bytes of a line. A longer one stays where it was written.
const (
	LogsLimit    = 200
	LogLineLimit = 16 << 10
)

// Admit asks the edge to decide on a code that was shown to the hub.
type Admit struct {
	Edge    string    `json:"edge,omitempty"` // that serves the venue; another one refuses with precondition_failed
	EventID ids.Event `json:"event_id"`
	Code    string    `json:"code"`
	Gate    string    `json:"gate,omitempty"`
	Exit    bool      `json:"exit,omitempty"` // the person goes out
	By      string    `json:"by"`             // a user or a key
	// Until is when nobody waits for the answer any more, by the hub's clock. A message may be on its way for longer
	// than its line is cut: a ticket must not be used up when its holder has long been sent away.
	Until time.Time `json:"until"`
}

// The endpoints of the hub in the venue's account. Precondition means that another edge serves the venue.
var (
	SayHello = rpc.Endpoint[Hello, Welcome]{Spec: hub("hello", "Begin to talk, as the one edge of the venue")}
	AskState = rpc.Endpoint[Ask, State]{Spec: hub("state", "What is the venue's, and what has changed")}
	GetPage  = rpc.Endpoint[Manifest, Page]{Spec: hub("manifest", "A page of the tickets of an event")}
	Take     = rpc.Endpoint[Taken, rpc.None]{Spec: hub("take", "The venue admits now")}
	Return   = rpc.Endpoint[Returned, rpc.None]{Spec: hub("return", "The venue admits no more")}
	HandUp   = rpc.Endpoint[Journal, Receipt]{Spec: hub("journal", "Keep entries of the venue's journal")}
	Login    = rpc.Endpoint[SignIn, Staff]{Spec: hub("sign_in", "Check who a person is")}
	HandLogs = rpc.Endpoint[Logs, rpc.None]{Spec: hub("logs", "Keep lines of the venue's log")}
)

// The endpoints of the edge in the venue's account.
var (
	AdmitThere = rpc.Endpoint[Admit, api.AdmissionResult]{Spec: edge("admit", "Decide on a code shown to the hub")}
	AskStatus  = rpc.Endpoint[rpc.None, Status]{Spec: edge("status", "How the edge is")}
)

// A line may take half a second each way, and lose packets.
const patience = 10 * time.Second

func hub(name, summary string) rpc.Spec {
	return rpc.Spec{Service: Hub, Name: name, Access: rpc.Internal, Callers: []string{Edge}, Timeout: patience,
		Summary: summary}
}

func edge(name, summary string) rpc.Spec {
	return rpc.Spec{Service: Edge, Name: name, Access: rpc.Internal, Callers: []string{Hub}, Timeout: patience,
		Summary: summary}
}
