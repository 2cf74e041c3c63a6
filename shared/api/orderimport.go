package api

import (
	"time"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// MostImportRows is how many rows a file has at most from which orders are made.
const MostImportRows = 10_000

// importBytes is how large such a file is at most: it travels in one message.
const importBytes = 960 << 10

// The states of imports.
const (
	ImportChecked = "checked" // nothing is made of it yet
	ImportRunning = "running"
	ImportStopped = "stopped" // by a person, or because it could not go on
	ImportDone    = "done"
)

// The states of rows.
const (
	RowReady  = "ready"  // an order will be made of it
	RowWrong  = "wrong"  // none can be made of it
	RowThere  = "there"  // an order was made of it before
	RowMade   = "made"   // its order was made by this import
	RowFailed = "failed" // its order could not be made any more
)

// The columns of a file, beside one for each question of the event.
const (
	ImportEmail         = "email"
	ImportName          = "name"
	ImportTicketType    = "ticket_type"
	ImportQuantity      = "quantity"
	ImportPrice         = "price"
	ImportComplimentary = "complimentary"
	ImportReference     = "reference"
	ImportLanguage      = "language"
)

// NewImport is the request of CreateImport.
type NewImport struct {
	EventID ids.Event `json:"-" path:"id"`
	// which column of the file is which, where it is called otherwise: email:E-mail of the guest. Columns are email,
	// name, ticket_type, quantity, price, complimentary, reference and language
	Columns []string `json:"-" query:"column"`
	File    []byte   `json:"-" body:"raw"` // CSV, with a line of titles first
}

// Import is a file of which orders are made, a row each.
type Import struct {
	ID      ids.Import `json:"id"`
	EventID ids.Event  `json:"event_id"`
	// of one that is only checked, nothing is made yet
	Status    string     `json:"status" enum:"checked,running,stopped,done"`
	Rows      ImportRows `json:"rows"`               // how many of them are in which state
	Ignored   []string   `json:"ignored_columns"`    // titles of columns that mean nothing here
	Mail      bool       `json:"mail"`               // whether those who pay nothing are told, too
	Reason    string     `json:"reason,omitempty"`   // why it was stopped, if no person did
	CreatedBy ids.User   `json:"created_by"`         // who has sent the file
	CreatedAt time.Time  `json:"created_at"`         // when it was checked
	EndedAt   *time.Time `json:"ended_at,omitempty"` // when it was done, or stopped
}

// ImportRows is how many rows of an import are in which state.
type ImportRows struct {
	Ready  int `json:"ready" minimum:"0"`  // of which an order will be made
	Wrong  int `json:"wrong" minimum:"0"`  // of which none can be made
	There  int `json:"there" minimum:"0"`  // of which an order was made before
	Made   int `json:"made" minimum:"0"`   // whose orders were made by it
	Failed int `json:"failed" minimum:"0"` // whose orders could not be made any more
}

// ImportRow is a row of an import. What it says of a person is kept until its order is made, or the import goes.
type ImportRow struct {
	Line       int             `json:"line" minimum:"2"`                            // in the file, counted from 1
	Status     string          `json:"status" enum:"ready,wrong,there,made,failed"` // what becomes of it
	OrderID    ids.Order       `json:"order_id,omitempty"`                          // that was made of it
	Email      string          `json:"email,omitempty"`                             // of the buyer
	Name       string          `json:"name,omitempty"`                              // of the buyer, who comes
	TicketType string          `json:"ticket_type,omitempty"`                       // what it is called
	Quantity   int             `json:"quantity,omitempty" minimum:"0"`              // how many tickets
	Problems   []ImportProblem `json:"problems,omitempty"`                          // all that is wrong with it
}

// ImportProblem is something that is wrong with a row.
type ImportProblem struct {
	Column string `json:"column,omitempty"` // its title in the file; absent: it is about the whole row
	Detail string `json:"detail"`           // what is wrong
}

// ImportRef names an import in a path.
type ImportRef struct {
	EventID ids.Event  `json:"-" path:"id"`
	ID      ids.Import `json:"-" path:"import_id"`
}

// ImportStart is the request of StartImport.
type ImportStart struct {
	EventID ids.Event  `json:"-" path:"id"`
	ID      ids.Import `json:"-" path:"import_id"`
	// those who pay nothing are told by mail, too; who has something to pay always gets the link by mail
	Mail bool `json:"mail,omitempty"`
	// rows that are wrong are left out; otherwise an import that has some does not begin
	SkipWrong bool `json:"skip_wrong,omitempty"`
}

// ImportRowPage is the request of ListImportRows.
type ImportRowPage struct {
	Page
	EventID ids.Event  `json:"-" path:"id"`
	ID      ids.Import `json:"-" path:"import_id"`
	// only rows in this state
	Status string `json:"-" query:"status" enum:"ready,wrong,there,made,failed"`
}

const noImport = "there is no such import; what was only checked is kept for two days, all else for 30"

// The endpoints by which orders are made from a file, which the ticketing service serves.
var (
	CreateImport = rpc.Endpoint[NewImport, Import]{Spec: rpc.Spec{Service: "ticketing", Name: "create_import",
		Method: "POST", Path: "/v1/events/{id}/imports", Access: rpc.User, Status: 201, Raw: true,
		MaxBody: importBytes, Audited: true, Workers: 2, Queue: 16, OwnQueue: true, Timeout: 20 * time.Second,
		Summary: "Check a CSV file of orders, and make none of them yet",
		Detail: "A row is an order of one ticket type, which the organizer makes: see `GET " +
			"/v1/events/{id}/import-example.csv`. UTF-8, UTF-16 with a mark, and Windows-1252 are read, with " +
			"commas, semicolons or tabs, at most 10,000 rows. What is wrong with a row stands with the row. A row " +
			"whose reference has an order already makes no other one; without a reference that is so for the same " +
			"row of the same file. `POST /v1/events/{id}/imports/{import_id}/start` makes the orders.",
		Faults: forManagers(rpc.Faults{fault.Invalid: "the file cannot be read as CSV, has too many rows, or lacks a " +
			"column", fault.Conflict: "the event is not on sale, cancelled or over"})}}
	ListImports = rpc.Endpoint[EventPage, List[Import]]{Spec: rpc.Spec{Service: "ticketing", Name: "imports",
		Method: "GET", Path: "/v1/events/{id}/imports", Access: rpc.User,
		Summary: "The files from which orders of an event were made, newest first", Faults: forManagers(nil)}}
	GetImport = rpc.Endpoint[ImportRef, Import]{Spec: rpc.Spec{Service: "ticketing", Name: "get_import",
		Method: "GET", Path: "/v1/events/{id}/imports/{import_id}", Access: rpc.User, Summary: "How far an import is",
		Faults: forManagers(rpc.Faults{fault.NotFound: noEvent + "; or " + noImport})}}
	ListImportRows = rpc.Endpoint[ImportRowPage, List[ImportRow]]{Spec: rpc.Spec{Service: "ticketing",
		Name: "import_rows", Method: "GET", Path: "/v1/events/{id}/imports/{import_id}/rows", Access: rpc.User,
		Summary: "The rows of an import, what becomes of them and what is wrong with them, in the order of the file",
		Faults:  forManagers(rpc.Faults{fault.NotFound: noEvent + "; or " + noImport})}}
	StartImport = rpc.Endpoint[ImportStart, Import]{Spec: rpc.Spec{Service: "ticketing", Name: "start_import",
		Method: "POST", Path: "/v1/events/{id}/imports/{import_id}/start", Access: rpc.User, Status: 202, Audited: true,
		Sensitive: true, Summary: "Make the orders of an import, or go on with one that was stopped",
		Detail: "In the background, one after the other. Their seats are from the pool like all others: a row that " +
			"finds none left fails. To start again changes nothing.",
		Faults: forManagers(rpc.Faults{fault.NotFound: noEvent + "; or " + noImport,
			fault.Conflict: "rows are wrong and are not to be left out, or no row is left"})}}
	StopImport = rpc.Endpoint[ImportRef, Import]{Spec: rpc.Spec{Service: "ticketing", Name: "stop_import",
		Method: "POST", Path: "/v1/events/{id}/imports/{import_id}/stop", Access: rpc.User, Audited: true,
		Summary: "Make no more orders of an import; those that were made stay",
		Faults:  forManagers(rpc.Faults{fault.NotFound: noEvent + "; or " + noImport, fault.Conflict: ""})}}
	GetImportExample = rpc.Endpoint[EventRef, rpc.Blob]{Spec: rpc.Spec{Service: "ticketing", Name: "import_example",
		Method: "GET", Path: "/v1/events/{id}/import-example.csv", Access: rpc.User,
		Summary: "A file as CreateImport reads it, with the ticket types and questions of the event",
		Faults:  forManagers(nil)}}
)

func importEndpoints() []rpc.Descriptor {
	return []rpc.Descriptor{CreateImport.Describe(), ListImports.Describe(), GetImport.Describe(),
		ListImportRows.Describe(), StartImport.Describe(), StopImport.Describe(), GetImportExample.Describe()}
}
