package invoices

import (
	"github.com/starlightsymphony/starlight/shared/api"
)

// Header returns what the columns of Records are called. The first ones are those of a DATEV posting: amount, side,
// currency, date, document and text.
func Header() []string {
	return []string{"gross", "side", "currency", "issued_on", "number", "text", "kind", "corrects", "tax_rate", "net",
		"tax", "event_on", "order_number", "order_id", "refund_id", "buyer", "buyer_country", "buyer_vat_id",
		"reverse_charge"}
}

// Records returns the rows of a document in a bookkeeping: one for each rate of tax.
func Records(doc *api.Invoice) [][]string {
	side, corrects, buyer := "S", "", api.Billing{}
	if doc.Kind == api.CreditNote {
		side = "H"
	}
	if doc.Corrects != nil {
		corrects = doc.Corrects.Number
	}
	if doc.Buyer != nil {
		buyer = *doc.Buyer
	}
	name := buyer.Company
	if name == "" {
		name = buyer.Name
	}
	rows := make([][]string, len(doc.Taxes))
	for i, t := range doc.Taxes {
		rows[i] = []string{t.Gross.Decimal(), side, t.Gross.Currency, doc.IssuedOn, doc.Number, doc.EventName, doc.Kind,
			corrects, t.Rate, t.Net.Decimal(), t.Tax.Decimal(), doc.EventOn, doc.OrderNumber, doc.OrderID.String(),
			doc.RefundID.String(), name, buyer.Country, buyer.VATID, yes(t.ReverseCharge)}
	}
	return rows
}

// yes writes what is so; what is not is an empty cell.
func yes(so bool) string {
	if so {
		return "yes"
	}
	return ""
}
