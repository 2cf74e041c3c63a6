package pages

import (
	"slices"
	"strconv"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
)

func (s *Site) invoiceRoutes() []Route {
	return []Route{
		{"GET", "/orders/{id}/invoices/{invoice}/invoice.pdf", s.invoicePDF, false},
		{"GET", "/office/organizers/{org}/invoices", s.invoices, false},
		{"GET", "/office/organizers/{org}/invoices.csv", s.invoicesFile, false},
		{"GET", "/office/organizers/{org}/invoices/{invoice}/invoice.pdf", s.invoicePDF, false},
		{"GET", "/office/organizers/{org}/invoices/{invoice}/invoice.xml", s.invoiceXML, false},
	}
}

func invoiceOf(v *visit) (ids.Invoice, error) {
	id, err := ids.Parse[ids.InvoiceKind](v.Param("invoice"))
	if err != nil {
		return "", fault.New(fault.NotFound, "there is no such invoice")
	}
	return id, nil
}

// invoicePDF is an invoice on paper.
func (s *Site) invoicePDF(v *visit) error {
	id, err := invoiceOf(v)
	if err != nil {
		return err
	}
	file, err := ask(v, api.GetInvoicePDF, &api.InvoiceFile{ID: id, Language: v.lang})
	if err != nil {
		return err
	}
	v.download(file, "invoice.pdf")
	return nil
}

func (s *Site) invoiceXML(v *visit) error {
	id, err := invoiceOf(v)
	if err != nil {
		return err
	}
	file, err := ask(v, api.GetInvoiceXML, &api.InvoiceOf{ID: id})
	if err != nil {
		return err
	}
	v.download(file, "invoice.xml")
	return nil
}

// invoices shows what an organizer has issued, newest first.
func (s *Site) invoices(v *visit) error {
	m, err := v.organizerHere()
	if err != nil {
		return err
	}
	list, err := ask(v, api.ListInvoices, &api.InvoicePage{ID: m.ID,
		Page: api.Page{Limit: 100, Cursor: v.query("cursor")}})
	if err != nil {
		return err
	}
	year := strconv.Itoa(time.Now().Year())
	years := []string{year}
	for _, doc := range list.Items {
		if y := doc.IssuedOn[:4]; !slices.Contains(years, y) {
			years = append(years, y)
		}
	}
	return v.showOrganizer("invoices", m, nil, map[string]any{"Invoices": list.Items, "Next": list.NextCursor,
		"Years": years})
}

func (s *Site) invoicesFile(v *visit) error {
	m, err := v.organizerHere()
	if err != nil {
		return err
	}
	year, err := strconv.Atoi(v.query("year"))
	if err != nil {
		return fault.New(fault.NotFound, "there is no such year")
	}
	file, err := ask(v, api.GetInvoicesCSV, &api.InvoiceExport{ID: m.ID, Year: year})
	if err != nil {
		return err
	}
	v.download(file, "invoices.csv")
	return nil
}

// billing reads whom the invoice of an order is made out to, nil if nothing of it is said.
func billing(value func(string) string) *api.Billing {
	b := api.Billing{Company: value("company"), Street: value("street"), Postcode: value("postcode"),
		City: value("city"), Country: value("country"), VATID: value("vat_id"), Name: value("billed")}
	if b == (api.Billing{}) || b == (api.Billing{Country: b.Country}) {
		return nil
	}
	return &b
}
