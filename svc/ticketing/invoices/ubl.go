package invoices

import (
	"cmp"
	"encoding/xml"
	"fmt"
	"strconv"
	"strings"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/vatid"
)

// What a document says of itself and of its tax, by EN 16931 and its code lists.
const (
	specification  = "urn:cen.eu:en16931:2017"
	ublNamespace   = "urn:oasis:names:specification:ubl:schema:xsd:"
	commercial     = "380" // an invoice
	creditNoteCode = "381"
	pieces         = "C62"
	standardRate   = "S"
	exempt         = "E"
	outOfScope     = "O" // no tax, and no tax number of the seller
	reverseCharge  = "AE"
	reverseCode    = "VATEX-EU-AE" // of the reason for it
)

// The parts of UBL 2.1 that EN 16931 uses here, in the order of its schema. Names have the prefixes that the root
// element declares.
type (
	ublDocument struct {
		XMLName xml.Name
		Base    string `xml:"xmlns,attr"`
		CAC     string `xml:"xmlns:cac,attr"`
		CBC     string `xml:"xmlns:cbc,attr"`

		Specification  string        `xml:"cbc:CustomizationID"` // BT-24
		Number         string        `xml:"cbc:ID"`              // BT-1
		IssueDate      string        `xml:"cbc:IssueDate"`       // BT-2
		InvoiceCode    string        `xml:"cbc:InvoiceTypeCode,omitempty"`
		CreditNoteCode string        `xml:"cbc:CreditNoteTypeCode,omitempty"` // BT-3, either of the two
		Note           string        `xml:"cbc:Note,omitempty"`               // BT-22
		Currency       string        `xml:"cbc:DocumentCurrencyCode"`         // BT-5
		Order          *ublRef       `xml:"cac:OrderReference"`               // BT-13
		Corrects       *ublPreceding `xml:"cac:BillingReference"`             // BG-3
		Seller         ublParty      `xml:"cac:AccountingSupplierParty>cac:Party"`
		Buyer          ublParty      `xml:"cac:AccountingCustomerParty>cac:Party"`
		Delivered      string        `xml:"cac:Delivery>cbc:ActualDeliveryDate"` // BT-72
		Tax            ublTaxTotal   `xml:"cac:TaxTotal"`
		Sums           ublSums       `xml:"cac:LegalMonetaryTotal"`
		InvoiceLines   []ublLine     `xml:"cac:InvoiceLine"`
		CreditLines    []ublLine     `xml:"cac:CreditNoteLine"`
	}
	ublRef struct {
		ID string `xml:"cbc:ID"`
	}
	ublPreceding struct {
		Number    string `xml:"cac:InvoiceDocumentReference>cbc:ID"`        // BT-25
		IssueDate string `xml:"cac:InvoiceDocumentReference>cbc:IssueDate"` // BT-26
	}
	ublParty struct {
		ID      *ublRef    `xml:"cac:PartyIdentification"` // BT-29
		Address ublAddress `xml:"cac:PostalAddress"`
		Tax     *ublTaxID  `xml:"cac:PartyTaxScheme"`                        // BT-31, BT-32, BT-48
		Name    string     `xml:"cac:PartyLegalEntity>cbc:RegistrationName"` // BT-27, BT-44
		Contact *ublMail   `xml:"cac:Contact"`                               // nil: an element must not be empty
	}
	ublMail struct {
		Address string `xml:"cbc:ElectronicMail"` // BT-43
	}
	ublAddress struct {
		Street   string    `xml:"cbc:StreetName,omitempty"`           // BT-35, BT-50
		More     string    `xml:"cbc:AdditionalStreetName,omitempty"` // BT-36, BT-51
		City     string    `xml:"cbc:CityName,omitempty"`             // BT-52
		Postcode string    `xml:"cbc:PostalZone,omitempty"`           // BT-53
		Line     *ublLine3 `xml:"cac:AddressLine"`                    // BT-162, BT-163
		Country  string    `xml:"cac:Country>cbc:IdentificationCode"` // BT-40, BT-55
	}
	ublLine3 struct {
		Text string `xml:"cbc:Line"`
	}
	ublTaxID struct {
		ID     string `xml:"cbc:CompanyID"`
		Scheme string `xml:"cac:TaxScheme>cbc:ID"`
	}
	ublAmount struct {
		Currency string `xml:"currencyID,attr"`
		Value    string `xml:",chardata"`
	}
	ublTaxTotal struct {
		Amount    ublAmount        `xml:"cbc:TaxAmount"` // BT-110
		Subtotals []ublTaxSubtotal `xml:"cac:TaxSubtotal"`
	}
	ublTaxSubtotal struct {
		Taxable  ublAmount   `xml:"cbc:TaxableAmount"` // BT-116
		Amount   ublAmount   `xml:"cbc:TaxAmount"`     // BT-117
		Category ublCategory `xml:"cac:TaxCategory"`
	}
	ublCategory struct {
		ID         string `xml:"cbc:ID"`                               // BT-118, BT-151
		Rate       string `xml:"cbc:Percent,omitempty"`                // BT-119, BT-152
		ReasonCode string `xml:"cbc:TaxExemptionReasonCode,omitempty"` // BT-121
		Reason     string `xml:"cbc:TaxExemptionReason,omitempty"`     // BT-120
		Scheme     string `xml:"cac:TaxScheme>cbc:ID"`
	}
	ublSums struct {
		Lines  ublAmount `xml:"cbc:LineExtensionAmount"` // BT-106
		Net    ublAmount `xml:"cbc:TaxExclusiveAmount"`  // BT-109
		Gross  ublAmount `xml:"cbc:TaxInclusiveAmount"`  // BT-112
		Paid   ublAmount `xml:"cbc:PrepaidAmount"`       // BT-113
		Unpaid ublAmount `xml:"cbc:PayableAmount"`       // BT-115
	}
	ublLine struct {
		ID       string       `xml:"cbc:ID"` // BT-126
		Invoiced *ublQuantity `xml:"cbc:InvoicedQuantity"`
		Credited *ublQuantity `xml:"cbc:CreditedQuantity"`    // BT-129, either of the two
		Net      ublAmount    `xml:"cbc:LineExtensionAmount"` // BT-131
		Name     string       `xml:"cac:Item>cbc:Name"`       // BT-153
		Category ublCategory  `xml:"cac:Item>cac:ClassifiedTaxCategory"`
		Price    ublAmount    `xml:"cac:Price>cbc:PriceAmount"`  // BT-146
		For      ublQuantity  `xml:"cac:Price>cbc:BaseQuantity"` // BT-149
	}
	ublQuantity struct {
		Unit  string `xml:"unitCode,attr"`
		Value string `xml:",chardata"`
	}
)

// UBL writes a document as an electronic invoice by EN 16931, in UBL 2.1. That needs an address of the buyer, and a
// number for tax of a seller who charges some.
func UBL(doc *api.Invoice) (*rpc.Blob, error) {
	switch {
	case doc.Buyer == nil:
		return nil, fault.New(fault.Conflict,
			"an electronic invoice needs the address of the buyer, which was not given")
	case doc.Tax.Amount != 0 && doc.Seller.TaxID == "":
		return nil, fault.New(fault.Conflict, "an electronic invoice needs the tax number of the seller")
	case reversed(doc) && (doc.Seller.TaxID == "" || doc.Buyer.VATID == ""): // BR-AE-2
		return nil, fault.New(fault.Conflict, "an electronic invoice with reverse charge needs both VAT numbers")
	}
	out := ublDocument{CAC: ublNamespace + "CommonAggregateComponents-2", CBC: ublNamespace + "CommonBasicComponents-2",
		Specification: specification, Number: doc.Number, IssueDate: doc.IssuedOn, Note: doc.Note,
		Currency: doc.Gross.Currency, Delivered: doc.EventOn, Seller: sellerOf(doc), Buyer: buyerOf(doc.Buyer),
		Tax: ublTaxTotal{Amount: ublAmountOf(doc.Tax)},
		Sums: ublSums{Lines: ublAmountOf(doc.Net), Net: ublAmountOf(doc.Net), Gross: ublAmountOf(doc.Gross),
			Paid: ublAmountOf(doc.Gross), Unpaid: ublAmountOf(api.Money{Currency: doc.Gross.Currency})}}
	if doc.OrderNumber != "" {
		out.Order = &ublRef{doc.OrderNumber}
	}
	for _, t := range doc.Taxes {
		c := categoryOf(doc, t.Rate, t.ReverseCharge)
		switch c.ID {
		case standardRate:
		case reverseCharge:
			c.ReasonCode, c.Reason = reverseCode, wordsOf(doc.Seller.Language).reverse
		default:
			c.Reason = cmp.Or(doc.Note, wordsOf(doc.Seller.Language).untaxed)
		}
		out.Tax.Subtotals = append(out.Tax.Subtotals,
			ublTaxSubtotal{Taxable: ublAmountOf(t.Net), Amount: ublAmountOf(t.Tax), Category: c})
	}
	kind := "Invoice"
	if doc.Kind == api.CreditNote {
		kind, out.CreditNoteCode = "CreditNote", creditNoteCode
		out.Corrects = &ublPreceding{doc.Corrects.Number, doc.Corrects.IssuedOn}
	} else {
		out.InvoiceCode = commercial
	}
	for i, l := range doc.Lines {
		quantity := ublQuantity{pieces, strconv.Itoa(l.Quantity)}
		line := ublLine{ID: strconv.Itoa(i + 1), Net: ublAmountOf(l.Net),
			Name:     cmp.Or(l.Name, wordsOf(doc.Seller.Language).refund),
			Category: categoryOf(doc, l.Rate, l.ReverseCharge), Price: ublAmountOf(l.Net), For: quantity}
		if doc.Kind == api.CreditNote {
			line.Credited = &quantity
			out.CreditLines = append(out.CreditLines, line)
		} else {
			line.Invoiced = &quantity
			out.InvoiceLines = append(out.InvoiceLines, line)
		}
	}
	out.XMLName.Local, out.Base = kind, ublNamespace+kind+"-2"
	data, err := xml.MarshalIndent(out, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("invoices: ubl: %w", err)
	}
	return &rpc.Blob{ContentType: "application/xml", Filename: doc.Number + ".xml",
		Data: append([]byte(xml.Header), append(data, '\n')...)}, nil
}

func ublAmountOf(m api.Money) ublAmount { return ublAmount{m.Currency, m.Decimal()} }

// categoryOf returns of which kind of tax a rate is.
func categoryOf(doc *api.Invoice, rate string, reverse bool) ublCategory {
	switch {
	case reverse:
		return ublCategory{ID: reverseCharge, Rate: untaxed, Scheme: "VAT"}
	case rate != untaxed:
		return ublCategory{ID: standardRate, Rate: rate, Scheme: "VAT"}
	case doc.Seller.TaxID == "":
		return ublCategory{ID: outOfScope, Scheme: "VAT"}
	}
	return ublCategory{ID: exempt, Rate: untaxed, Scheme: "VAT"}
}

func sellerOf(doc *api.Invoice) ublParty {
	s := &doc.Seller
	p := ublParty{ID: &ublRef{doc.OrganizerID.String()}, Address: streetOf(s.Address), Name: s.LegalName}
	p.Address.Country = s.Country
	if s.Email != "" {
		p.Contact = &ublMail{s.Email}
	}
	if s.TaxID != "" {
		p.Tax = taxIDOf(s.TaxID)
	}
	return p
}

// taxIDOf returns a VAT number as such, and what else it may be as a number of the seller's tax office.
func taxIDOf(text string) *ublTaxID {
	if id := vatid.Clean(text); vatid.Valid(id) {
		return &ublTaxID{id, "VAT"}
	}
	return &ublTaxID{text, "FC"}
}

func buyerOf(b *api.Billing) ublParty {
	p := ublParty{Address: streetOf(b.Street), Name: cmp.Or(b.Company, b.Name)}
	p.Address.City, p.Address.Postcode, p.Address.Country = b.City, b.Postcode, b.Country
	if b.VATID != "" {
		p.Tax = &ublTaxID{b.VATID, "VAT"}
	}
	return p
}

// streetOf returns the lines of an address. What is more than three lines stands in the third.
func streetOf(text string) ublAddress {
	lines := strings.SplitN(text, "\n", 3)
	a := ublAddress{Street: lines[0]}
	if len(lines) > 1 {
		a.More = lines[1]
	}
	if len(lines) > 2 {
		a.Line = &ublLine3{strings.ReplaceAll(lines[2], "\n", ", ")}
	}
	return a
}
