package invoices

import (
	"bytes"
	"encoding/xml"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

func eur(n int64) api.Money { return api.Money{Amount: n, Currency: "EUR"} }

// sample is an order with two rates and a fee, that is paid by a company.
func sample(t *testing.T) (invoice, note api.Invoice) {
	t.Helper()
	now := time.Date(2030, 5, 17, 22, 30, 0, 0, time.UTC)
	offer := &api.Offer{Event: api.Event{OrganizerID: "org_01k3q8v5z7m2n4p6r8s9t0w1xy", Name: "Die Zauberflöte & more",
		StartsAt: now.Add(24 * time.Hour), Timezone: "Europe/Berlin"}}
	offer.Organizer.Selling = api.Selling{SalesTerms: api.SalesTerms{Invoices: true, InvoicePrefix: "KO"},
		Seller: api.Seller{LegalName: "Oper Kassel gGmbH", Address: "Friedrichsplatz 15\n34117 Kassel", Country: "DE",
			TaxID: "DE 123 456 788", Email: "tickets@example.org", Language: "de", Timezone: "Europe/Berlin"}}
	line := func(rate string, net, tax int64) *api.LineTotal {
		return &api.LineTotal{Name: "USt", Rate: rate, Net: eur(net), Tax: eur(tax), Gross: eur(net + tax)}
	}
	order := api.Order{ID: "ord_01k3q8v5z7m2n4p6r8s9t0w1xy", Number: "7KX4P", Total: eur(3940),
		Items: []api.OrderItem{{TicketTypeID: "a", Name: "Parkett", Quantity: 3, UnitPrice: eur(1000), Tax: line("7", 2804, 196)}},
		Fees:  []api.OrderFee{{Name: "Service", TicketTypeID: "a", Quantity: 3, Amount: eur(940), Tax: line("19", 790, 150)}},
		Taxes: []api.TaxTotal{{Name: "USt", Rate: "19", Net: eur(790), Tax: eur(150), Gross: eur(940)},
			{Name: "USt", Rate: "7", Net: eur(2804), Tax: eur(196), Gross: eur(3000)}}}
	to := &api.Billing{Company: "Example AG", Name: "Kim Day", Street: "Long Road 1\nBack yard", Postcode: "8001", City: "Zürich",
		Country: "CH", VATID: "CHE107787577MWST"}
	var b Batch
	b.Paid(offer, order, to, 1, now)
	b.rows[0].Document.Number = "KO-2030-00001"
	b.Refund(Issued{Row: b.rows[0], Documents: 1}, api.RefundDue{RefundID: "rfd_01k3q8v5z7m2n4p6r8s9t0w1xy", Amount: eur(1000),
		Taxes: []api.TaxTotal{{Name: "USt", Rate: "7", Net: eur(935), Tax: eur(65), Gross: eur(1000)}}},
		[]Returned{{Name: "Parkett", Quantity: 1, Tax: order.Items[0].Tax}}, now)
	b.rows[1].Document.Number = "KO-2030-00002"
	return b.rows[0].Document, b.rows[1].Document
}

// A PDF has everything that an invoice must have, in the languages of the seller and the reader.
func TestPDF(t *testing.T) {
	w, err := NewWriter(testkit.Log(t))
	if err != nil {
		t.Fatal(err)
	}
	invoice, note := sample(t)
	long := invoice
	for range 60 {
		long.Lines = append(long.Lines, invoice.Lines...)
	}
	for name, doc := range map[string]*api.Invoice{"invoice": &invoice, "note": &note, "long": &long} {
		for _, reader := range []string{"", "de", "fr-CH, en;q=0.5", "nonsense"} {
			file, err := w.PDF(doc, reader)
			if err != nil || !strings.HasPrefix(string(file.Data), "%PDF") || file.Filename != doc.Number+".pdf" {
				t.Errorf("%s for %s: %v", name, reader, err)
			}
			if dir := os.Getenv("STARLIGHT_TEST_KEEP"); dir != "" {
				if err := os.WriteFile(dir+"/"+name+"-"+strings.Trim(reader[:min(2, len(reader))], ", ")+".pdf", file.Data, 0o600); err != nil {
					t.Error(err)
				}
			}
		}
	}
}

// A document names things in the words of its event, and below in those of its second language if they differ: that of
// the reader, or else one of the event.
func TestPDFInBothLanguages(t *testing.T) {
	w, err := NewWriter(testkit.Log(t))
	if err != nil {
		t.Fatal(err)
	}
	of := func(own string, names ...string) *page {
		doc := &api.Invoice{Language: own, EventName: "Abend", Seller: api.Seller{Language: "de"}, Lines: []api.InvoiceLine{{Name: "Parkett"}}}
		for i := 0; i < len(names); i += 2 {
			doc.Translations = append(doc.Translations, api.InvoiceTranslation{Language: names[i], Lines: []string{names[i+1]}})
		}
		return &page{Writer: w, doc: doc, lang: "de"}
	}
	for _, test := range []struct {
		page                *page
		reader, other, name string
	}{
		{of("de"), "", "", ""},
		{of("de"), "fr", "fr", ""},
		{of("de", "en", "Stalls", "fr", "Parterre"), "", "en", "Stalls"},
		{of("de", "en", "Stalls", "fr", "Parterre"), "de-AT", "en", "Stalls"},
		{of("de", "en", "Stalls", "fr", "Parterre"), "fr-CH", "fr", "Parterre"},
		{of("de", "en", "Stalls"), "es", "es", ""},
		{of("de", "en", "Parkett"), "en", "en", ""},
		{of("de", "pl", "Parter", "fr", "Parterre"), "", "fr", "Parterre"},
		{of("en", "de", "Sperrsitz"), "", "en", "Sperrsitz"}, // the seller's language is not that of the event
	} {
		p := test.page
		p.otherLang = w.other(p.doc, p.lang, test.reader)
		name := p.under("Parkett", func(in api.InvoiceTranslation) string { return lineIn(in, 0) })
		if p.otherLang != test.other || name != test.name {
			t.Errorf("%s of %+v for %q: %q, %q", p.doc.Language, p.doc.Translations, test.reader, p.otherLang, name)
		}
	}
	invoice, _ := sample(t)
	before, err := w.PDF(&invoice, "en")
	if err != nil {
		t.Fatal(err)
	}
	invoice.Language, invoice.Translations = "de", []api.InvoiceTranslation{{Language: "en", Lines: []string{"Stalls", "Service"}}}
	after, err := w.PDF(&invoice, "en")
	if err != nil || bytes.Equal(before.Data, after.Data) {
		t.Errorf("no line has a name in English, %v", err)
	}
	if again, err := w.PDF(&invoice, ""); err != nil || !bytes.Equal(again.Data, after.Data) {
		t.Errorf("without a reader it is not in both languages of the event, %v", err)
	}
}

// terms are what EN 16931 requires of every invoice, where UBL has it.
func terms(root string) map[string]string {
	return map[string]string{
		"BT-1": root + "/ID", "BT-2": root + "/IssueDate", "BT-3": root + "/" + root + "TypeCode", "BT-5": root + "/DocumentCurrencyCode",
		"BT-24": root + "/CustomizationID", "BT-27": root + "/AccountingSupplierParty/Party/PartyLegalEntity/RegistrationName",
		"BT-31": root + "/AccountingSupplierParty/Party/PartyTaxScheme/CompanyID",
		"BT-40": root + "/AccountingSupplierParty/Party/PostalAddress/Country/IdentificationCode",
		"BT-44": root + "/AccountingCustomerParty/Party/PartyLegalEntity/RegistrationName",
		"BT-55": root + "/AccountingCustomerParty/Party/PostalAddress/Country/IdentificationCode",
		"BT-72": root + "/Delivery/ActualDeliveryDate", "BT-106": root + "/LegalMonetaryTotal/LineExtensionAmount",
		"BT-109": root + "/LegalMonetaryTotal/TaxExclusiveAmount", "BT-110": root + "/TaxTotal/TaxAmount",
		"BT-112": root + "/LegalMonetaryTotal/TaxInclusiveAmount", "BT-115": root + "/LegalMonetaryTotal/PayableAmount",
		"BT-116": root + "/TaxTotal/TaxSubtotal/TaxableAmount", "BT-117": root + "/TaxTotal/TaxSubtotal/TaxAmount",
		"BT-118": root + "/TaxTotal/TaxSubtotal/TaxCategory/ID", "BT-119": root + "/TaxTotal/TaxSubtotal/TaxCategory/Percent",
		"BT-126": root + "/" + root + "Line/ID", "BT-131": root + "/" + root + "Line/LineExtensionAmount",
		"BT-146": root + "/" + root + "Line/Price/PriceAmount", "BT-151": root + "/" + root + "Line/Item/ClassifiedTaxCategory/ID",
		"BT-153": root + "/" + root + "Line/Item/Name",
	}
}

// paths returns the first text at each path of a document.
func paths(t *testing.T, data []byte) map[string]string {
	t.Helper()
	found := map[string]string{}
	var at []string
	filled := []bool{false}
	for d := xml.NewDecoder(strings.NewReader(string(data))); ; {
		token, err := d.Token()
		if token == nil {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		switch token := token.(type) {
		case xml.StartElement:
			at = append(at, token.Name.Local)
			filled[len(filled)-1] = true
			filled = append(filled, false)
			if token.Name.Space == "" || strings.Contains(token.Name.Space, "cbc") {
				t.Errorf("%v is in no namespace", at)
			}
		case xml.EndElement:
			if !filled[len(filled)-1] {
				t.Errorf("%v is empty", at)
			}
			at, filled = at[:len(at)-1], filled[:len(filled)-1]
		case xml.CharData:
			if key, text := strings.Join(at, "/"), strings.TrimSpace(string(token)); text != "" {
				filled[len(filled)-1] = true
				if found[key] == "" {
					found[key] = text
				}
			}
		}
	}
}

// An electronic invoice has all that EN 16931 requires, and its sums.
func TestUBL(t *testing.T) {
	invoice, note := sample(t)
	for root, doc := range map[string]*api.Invoice{"Invoice": &invoice, "CreditNote": &note} {
		file, err := UBL(doc)
		if err != nil {
			t.Fatal(err)
		}
		if dir := os.Getenv("STARLIGHT_TEST_KEEP"); dir != "" {
			if err := os.WriteFile(dir+"/"+root+".xml", file.Data, 0o600); err != nil {
				t.Error(err)
			}
		}
		found := paths(t, file.Data)
		for term, path := range terms(root) {
			if found[path] == "" {
				t.Errorf("%s is not in %s", term, path)
			}
		}
		if got := found[root+"/LegalMonetaryTotal/TaxInclusiveAmount"]; got != doc.Gross.Decimal() {
			t.Errorf("the %s is about %s", root, got)
		}
		if got := found[root+"/AccountingSupplierParty/Party/PartyTaxScheme/CompanyID"]; got != "DE123456788" {
			t.Errorf("the seller has the number %s", got)
		}
	}
	plain := invoice
	plain.Buyer = nil
	if _, err := UBL(&plain); !fault.Is(err, fault.Conflict) {
		t.Errorf("without a buyer: %v", err)
	}
	plain = invoice
	plain.Seller.TaxID = ""
	if _, err := UBL(&plain); !fault.Is(err, fault.Conflict) {
		t.Errorf("tax without a number for it: %v", err)
	}
}

// What the buyer owes the tax of is category AE with its reason, beside what has tax, and the words of the law are on
// paper; a credit note is alike.
func TestReverseChargeOnFiles(t *testing.T) {
	invoice, note := sample(t)
	for _, doc := range []*api.Invoice{&invoice, &note} {
		doc.Buyer.VATID, doc.Buyer.Country = "ATU12345675", "AT"
		l, sum := &doc.Lines[0], &doc.Taxes[len(doc.Taxes)-1]
		l.Rate, l.ReverseCharge, l.Net, l.Tax = "0", true, l.Gross, eur(0)
		sum.Rate, sum.ReverseCharge, sum.Net, sum.Tax, sum.Gross = "0", true, l.Gross, eur(0), l.Gross
	}
	for root, doc := range map[string]*api.Invoice{"Invoice": &invoice, "CreditNote": &note} {
		file, err := UBL(doc)
		if err != nil {
			t.Fatal(err)
		}
		text := string(file.Data)
		subtotal := strings.Index(text, "VATEX-EU-AE")
		if subtotal < 0 || strings.Count(text, "VATEX-EU-AE") != 1 || strings.Count(text, "<cbc:ID>AE</cbc:ID>") != 2 ||
			!strings.Contains(text, "<cbc:TaxExemptionReason>Steuerschuldnerschaft des Leistungsempfängers<") {
			t.Errorf("the %s:\n%s", root, text)
		}
		// the schema has the code before the reason, and both behind the rate
		part := text[strings.LastIndex(text[:subtotal], "<cac:TaxCategory>"):]
		order := []string{"<cbc:ID>AE<", "<cbc:Percent>0<", "<cbc:TaxExemptionReasonCode>", "<cbc:TaxExemptionReason>", "<cac:TaxScheme>"}
		for _, name := range order {
			i := strings.Index(part, name)
			if i < 0 {
				t.Fatalf("%s has no %s in its order", root, name)
			}
			part = part[i:]
		}
		if rows := Records(doc); rows[len(rows)-1][len(Header())-1] != "yes" || len(rows) > 1 && rows[0][len(Header())-1] != "" {
			t.Errorf("the rows of the %s: %v", root, rows)
		}
		w, err := NewWriter(testkit.Log(t))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.PDF(doc, "en"); err != nil {
			t.Error(err)
		}
	}
	without := invoice
	buyer := *invoice.Buyer
	buyer.VATID = ""
	without.Buyer = &buyer
	if _, err := UBL(&without); !fault.Is(err, fault.Conflict) {
		t.Errorf("without the buyer's number: %v", err)
	}
}
