package api

import (
	"strings"
	"time"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/text"
	"github.com/starlightsymphony/starlight/shared/vatid"
)

// The kinds of invoices.
const (
	InvoiceIssued = "invoice"     // of what was paid for an order
	CreditNote    = "credit_note" // of what goes back of it: it cancels an invoice, or a part of one
)

// Seller is who sells, as invoices have it.
type Seller struct {
	LegalName string `json:"legal_name"`         // of the person or company
	Address   string `json:"address"`            // several lines
	Country   string `json:"country"`            // ISO 3166-1 alpha-2
	TaxID     string `json:"tax_id,omitempty"`   // such as a VAT number
	Email     string `json:"email,omitempty"`    // for questions
	Language  string `json:"language,omitempty"` // BCP 47; in which invoices are written
	// from the IANA database: whose day is the date of an invoice, and whose year that of its number
	Timezone string `json:"timezone,omitempty"`
}

// Billing is whom an invoice is made out to.
type Billing struct {
	Company  string `json:"company,omitempty" maxLength:"200"` // either this or name, or both
	Name     string `json:"name,omitempty" maxLength:"200"`    // of a person
	Street   string `json:"street" maxLength:"300"`            // with the number; several lines
	Postcode string `json:"postcode,omitempty" maxLength:"20"` // of the town
	City     string `json:"city" maxLength:"200"`              // the town
	Country  string `json:"country" maxLength:"2"`             // ISO 3166-1 alpha-2
	// a VAT number, in the form of its country and with its check digits
	VATID string `json:"vat_id,omitempty" maxLength:"30"`
}

// Check normalizes an address, and records what breaks a rule: of fields within another, such as "billing.".
func (b *Billing) Check(c *fault.Check, within string) {
	for _, s := range []*string{&b.Company, &b.Name, &b.Postcode, &b.City, &b.Country} {
		*s = text.Clean(*s)
	}
	b.Street, b.Country, b.VATID = text.CleanLines(b.Street), strings.ToUpper(b.Country), vatid.Clean(b.VATID)
	c.Field(b.Company != "" || b.Name != "", within+"name", "must be given, or the company")
	text.CheckLine(c, within+"company", b.Company, 0, 200)
	text.CheckLine(c, within+"name", b.Name, 0, 200)
	text.CheckLines(c, within+"street", b.Street, 1, 300)
	text.CheckLine(c, within+"postcode", b.Postcode, 0, 20)
	text.CheckLine(c, within+"city", b.City, 1, 200)
	c.Field(text.Country(b.Country), within+"country", "must be a country code of ISO 3166-1, such as DE")
	c.Field(b.VATID == "" || vatid.Valid(b.VATID), within+"vat_id",
		"is no VAT number of its country, such as DE123456788, or is mistyped")
}

// On which word an organizer sells without tax to businesses of other member states of the EU.
const (
	ReverseOff       = "off"
	ReverseConfirmed = "confirmed" // VIES has said that the VAT number was given out
	ReverseFormat    = "format"    // the number has the form and the check digits of its country
)

// What becomes of an order if VIES gives no answer.
const (
	UnansweredTax    = "tax"    // it is sold with tax
	UnansweredRefuse = "refuse" // it is not made
	UnansweredAccept = "accept" // the form and check digits of the number are enough
)

// What was found out of a VAT number.
const (
	VATConfirmed  = "confirmed"  // VIES knows it
	VATUnknown    = "unknown"    // VIES does not know it: the order has tax
	VATUnanswered = "unanswered" // VIES gave no answer in time
	VATUnchecked  = "unchecked"  // VIES was not asked: the organizer does not want it
)

// VATCheck is what was found out of the VAT number of a business in another member state of the EU, as its order was
// made.
type VATCheck struct {
	// what VIES says of it; unchecked if the organizer does not want it to be asked. With unknown, and with unanswered
	// unless the organizer accepts that, the order has tax
	Outcome string    `json:"outcome" enum:"confirmed,unknown,unanswered,unchecked"`
	At      time.Time `json:"at"` // when VIES said so, or was asked
	// by which VIES knows that it was asked, for the organizer's records: the consultation number
	Reference string `json:"reference,omitempty"`
}

// Invoice is an invoice or a credit note. It never changes once it has a number. The amounts of a credit note are
// positive: it gives them back.
type Invoice struct {
	ID ids.Invoice `json:"id"`
	// a credit note gives back what an invoice is about, or a part of it
	Kind string `json:"kind" enum:"invoice,credit_note"`
	// the organizer has no other with it, and leaves none out in a year
	Number   string      `json:"number"`
	IssuedOn string      `json:"issued_on"`          // the day, at the seller: 2030-05-17
	IssuedAt time.Time   `json:"issued_at"`          // the moment
	Corrects *InvoiceRef `json:"corrects,omitempty"` // of a credit note: the invoice whose money goes back

	OrganizerID ids.Organizer `json:"organizer_id"`
	EventID     ids.Event     `json:"event_id"`
	EventName   string        `json:"event_name"` // what the event was called
	EventOn     string        `json:"event_on"`   // the day on which it begins, at its place
	OrderID     ids.Order     `json:"order_id"`
	OrderNumber string        `json:"order_number"`        // what people call the order by
	RefundID    ids.Refund    `json:"refund_id,omitempty"` // of a credit note: by which the money goes back

	Seller Seller        `json:"seller"`
	Buyer  *Billing      `json:"buyer,omitempty"` // absent: no address was given
	Lines  []InvoiceLine `json:"lines"`
	Taxes  []TaxTotal    `json:"taxes"` // by rate, the sums of the lines; 0 is the rate of what has no tax
	Net    Money         `json:"net"`
	Tax    Money         `json:"tax"`
	Gross  Money         `json:"gross"`          // net and tax: what was paid, or goes back
	Note   string        `json:"note,omitempty"` // of the seller; several lines
	// of what the event and its ticket types are called here, ISO 639; absent: not said
	Language string `json:"language,omitempty"`
	// what they were called in other languages when this was issued
	Translations []InvoiceTranslation `json:"translations,omitempty"`
}

// InvoiceTranslation is what stands on an invoice in another language of its event.
type InvoiceTranslation struct {
	Language  string   `json:"language"`   // ISO 639, such as fr
	EventName string   `json:"event_name"` // what the event was called
	Lines     []string `json:"lines"`      // the name of each line, in the order of the lines
}

// InvoiceLine is a line of an invoice: net + tax = gross.
type InvoiceLine struct {
	TicketTypeID ids.TicketType `json:"ticket_type_id,omitempty"` // whose tickets it is about; absent: something else
	// the tickets that its products came with; absent: they were bought by themselves
	IncludedInID ids.TicketType `json:"included_in_id,omitempty"`
	// of the ticket type or fee; of a credit note what goes back, as far as it is tickets
	Name     string `json:"name"`
	Quantity int    `json:"quantity" minimum:"1"` // how many; the amounts are of all together
	TaxName  string `json:"tax_name,omitempty"`   // what the tax is called
	Rate     string `json:"rate"`                 // percent
	// the buyer owes the tax: the rate is 0
	ReverseCharge bool  `json:"reverse_charge,omitempty"`
	Net           Money `json:"net"`
	Tax           Money `json:"tax"`
	Gross         Money `json:"gross"`
}

// InvoiceRef names an invoice.
type InvoiceRef struct {
	ID       ids.Invoice `json:"id"`
	Number   string      `json:"number"`    // of the organizer's series
	IssuedOn string      `json:"issued_on"` // the day, at the seller
}

// InvoiceOf names an invoice in a path.
type InvoiceOf struct {
	ID ids.Invoice `json:"-" path:"id"`
}

// InvoiceFile is the request of GetInvoicePDF.
type InvoiceFile struct {
	ID ids.Invoice `json:"-" path:"id"`
	// of the reader, as in Accept-Language: what everything is called in it stands beside the seller's language, or
	// else, what it is called in another language of the event
	Language string `json:"-" query:"language"`
}

// OrderInvoiceFile is the request of GetOrderInvoicePDF.
type OrderInvoiceFile struct {
	ID ids.Order `json:"-" path:"id"`
	// of the reader, as in Accept-Language: what everything is called in it stands beside the seller's language, or
	// else, what it is called in another language of the event
	Language string `json:"-" query:"language"`
}

// NewBilling is the request of PutBilling.
type NewBilling struct {
	ID ids.Order `json:"-" path:"id"`
	Billing
}

// NewInvoice is the request of CreateInvoice.
type NewInvoice struct {
	ID      ids.Order `json:"-" path:"id"`
	Billing *Billing  `json:"billing,omitempty"` // absent: as the order has it, if it does
}

// InvoicePage is the request of ListInvoices.
type InvoicePage struct {
	Page
	ID   ids.Organizer `json:"-" path:"id"`
	Year int           `json:"-" query:"year" minimum:"0" maximum:"9999"` // of the numbers; absent: the newest
}

// InvoiceExport is the request of GetInvoicesCSV and ListOrganizerTaxes.
type InvoiceExport struct {
	ID   ids.Organizer `json:"-" path:"id"`
	Year int           `json:"-" query:"year" minimum:"1970" maximum:"9999" required:"true"` // of the numbers
}

// TaxMonth is what the invoices of a month say of a rate, less the credit notes of that month. It is negative when more
// was given back than sold.
type TaxMonth struct {
	Month string `json:"month"` // of the day of issue, at the seller: 2031-05
	TaxTotal
}

const noInvoice = "there is no such invoice, or the caller is neither its buyer nor allowed to read it"

// The endpoints of invoices, which the ticketing service serves.
var (
	PutBilling = rpc.Endpoint[NewBilling, Billing]{Spec: rpc.Spec{Service: "ticketing", Name: "set_billing",
		Method: "PUT", Path: "/v1/orders/{id}/billing", Access: rpc.User, Guests: true,
		Summary: "Say whom the invoice of an order is made out to, before it is issued",
		Faults: hidden("there is no such order, or it is not the caller's",
			"the order has its invoice, or has ended")}}
	CreateInvoice = rpc.Endpoint[NewInvoice, Invoice]{Spec: rpc.Spec{Service: "ticketing", Name: "create_invoice",
		Method: "POST", Path: "/v1/orders/{id}/invoice", Access: rpc.User, Guests: true, Status: 201,
		Summary: "Have the invoice of a paid order made out, or made out to another address",
		Detail: "An order that was paid before its organizer made invoices gets its invoice. Where there is one with " +
			"another address, a credit note cancels all of it, and a new invoice takes its place. The same address " +
			"again changes nothing.",
		Faults: hidden("there is no such order, or it is not the caller's",
			"the order is not paid, was free, was refunded in part, or has too many documents, or its organizer makes "+
				"no invoices")}}
	ListOrderInvoices = rpc.Endpoint[OrderRef, List[Invoice]]{Spec: rpc.Spec{Service: "ticketing",
		Scopes: orderKeys, Name: "order_invoices", Method: "GET", Path: "/v1/orders/{id}/invoices", Access: rpc.User,
		Guests: true, Summary: "The invoices and credit notes of an order, oldest first",
		Faults: hidden(noOrder, "")}}
	GetOrderInvoicePDF = rpc.Endpoint[OrderInvoiceFile, rpc.Blob]{Spec: rpc.Spec{Service: "ticketing",
		Scopes: orderKeys, Name: "order_invoice_pdf", Method: "GET", Path: "/v1/orders/{id}/invoice.pdf",
		Access: rpc.User, Guests: true, Workers: 8, Summary: "The newest invoice of an order as PDF",
		Faults: hidden(noOrder+"; or it has no invoice", "")}}
	GetInvoice = rpc.Endpoint[InvoiceOf, Invoice]{Spec: rpc.Spec{Service: "ticketing", Scopes: orderKeys,
		Name: "get_invoice", Method: "GET", Path: "/v1/invoices/{id}", Access: rpc.User, Guests: true,
		Summary: "Read an invoice or a credit note", Faults: hidden(noInvoice, "")}}
	GetInvoicePDF = rpc.Endpoint[InvoiceFile, rpc.Blob]{Spec: rpc.Spec{Service: "ticketing", Scopes: orderKeys,
		Name: "invoice_pdf", Method: "GET", Path: "/v1/invoices/{id}/invoice.pdf", Access: rpc.User, Guests: true,
		Workers: 8, Summary: "An invoice or a credit note as PDF", Faults: hidden(noInvoice, "")}}
	GetInvoiceXML = rpc.Endpoint[InvoiceOf, rpc.Blob]{Spec: rpc.Spec{Service: "ticketing", Scopes: orderKeys,
		Name: "invoice_xml", Method: "GET", Path: "/v1/invoices/{id}/invoice.xml", Access: rpc.User, Guests: true,
		Summary: "An invoice or a credit note as an electronic one: EN 16931 in UBL 2.1",
		Faults:  hidden(noInvoice, "the buyer gave no address, or the seller charges tax and has no tax number")}}
	ListInvoices = rpc.Endpoint[InvoicePage, List[Invoice]]{Spec: rpc.Spec{Service: "ticketing", Scopes: readKeys,
		Name: "invoices", Method: "GET", Path: "/v1/organizers/{id}/invoices", Access: rpc.User,
		Summary: "The invoices and credit notes of an organizer, by their numbers, newest first",
		Faults:  forMembers(MayReadMoney, nil)}}
	GetInvoicesCSV = rpc.Endpoint[InvoiceExport, rpc.Blob]{Spec: rpc.Spec{Service: "ticketing", Scopes: readKeys,
		Name: "invoices_csv", Method: "GET", Path: "/v1/organizers/{id}/invoices.csv", Access: rpc.User,
		Summary: "The invoices and credit notes of an organizer's year as CSV, for its bookkeeping",
		Detail: "A row for each document and rate of tax, in the order of numbers. side is S for an invoice and H " +
			"for a credit note, as in DATEV; amounts are positive.",
		Faults: forMembers(MayReadMoney, nil)}}
	ListOrganizerTaxes = rpc.Endpoint[InvoiceExport, List[TaxMonth]]{Spec: rpc.Spec{Service: "ticketing",
		Scopes: readKeys, Name: "organizer_taxes", Method: "GET", Path: "/v1/organizers/{id}/taxes",
		Access: rpc.User, Timeout: 10 * time.Second,
		Summary: "The taxes of an organizer's year by month, rate and currency, as its invoices have them",
		Detail:  "Credit notes count in the month in which they were issued. What has no invoice is not in it.",
		Faults:  forMembers(MayReadMoney, nil)}}
)

func invoiceEndpoints() []rpc.Descriptor {
	return []rpc.Descriptor{PutBilling.Describe(), CreateInvoice.Describe(), ListOrderInvoices.Describe(),
		GetOrderInvoicePDF.Describe(), GetInvoice.Describe(), GetInvoicePDF.Describe(), GetInvoiceXML.Describe(),
		ListInvoices.Describe(), GetInvoicesCSV.Describe(), ListOrganizerTaxes.Describe()}
}
