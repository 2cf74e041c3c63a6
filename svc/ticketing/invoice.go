package ticketing

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/sheet"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/svc/ticketing/invoices"
	"github.com/starlightsymphony/starlight/svc/ticketing/retention"
)

// registerInvoices binds the endpoints of invoices.
func (s *Service) registerInvoices(srv *rpc.Server) {
	rpc.Handle(srv, api.PutBilling, s.setBilling)
	rpc.Handle(srv, api.CreateInvoice, s.createInvoice)
	rpc.Handle(srv, api.ListOrderInvoices, s.orderInvoices)
	rpc.Handle(srv, api.GetOrderInvoicePDF, s.orderInvoicePDF)
	rpc.Handle(srv, api.GetInvoice, func(ctx context.Context, req *api.InvoiceOf) (*api.Invoice, error) {
		return s.visibleInvoice(ctx, req.ID)
	})
	rpc.Handle(srv, api.GetInvoicePDF, func(ctx context.Context, req *api.InvoiceFile) (*rpc.Blob, error) {
		doc, err := s.visibleInvoice(ctx, req.ID)
		if err != nil {
			return nil, err
		}
		return s.bills.PDF(doc, req.Language)
	})
	rpc.Handle(srv, api.GetInvoiceXML, func(ctx context.Context, req *api.InvoiceOf) (*rpc.Blob, error) {
		doc, err := s.visibleInvoice(ctx, req.ID)
		if err != nil {
			return nil, err
		}
		return invoices.UBL(doc)
	})
	rpc.Handle(srv, api.ListInvoices, s.invoicesOf)
	rpc.HandleParts(srv, api.GetInvoicesCSV, s.invoicesCSV)
	rpc.Handle(srv, api.ListOrganizerTaxes, s.taxesOf)
}

// editableOrder returns an order to its buyer, and to those who may edit the orders of the event.
func (s *Service) editableOrder(ctx context.Context, id ids.Order) (orderRow, error) {
	row, err := s.visibleOrder(ctx, id)
	if err != nil || rpc.Caller(ctx).Owns(row.UserID) {
		return row, err
	}
	_, err = s.offerAs(ctx, row.EventID, api.MayEditOrders)
	return row, err
}

// setBilling says whom the invoice of an order is made out to.
func (s *Service) setBilling(ctx context.Context, req *api.NewBilling) (*api.Billing, error) {
	row, err := s.editableOrder(ctx, req.ID)
	if err != nil {
		return nil, err
	}
	var check fault.Check
	if req.Check(&check, ""); check.Err() != nil {
		return nil, check.Err()
	}
	err = s.db.TxRepeatable(ctx, func(ctx context.Context, tx tx) error {
		row, _, err := s.db.lockedOrder(ctx, tx, row.ID)
		if err != nil {
			return err
		}
		if row.Status != api.OrderPending && row.Status != api.OrderPaid {
			return fault.New(fault.Conflict, "the order is %s", row.Status)
		}
		issued, err := invoices.OfOrder(ctx, tx, row.ID)
		if err != nil {
			return err
		}
		if len(issued) > 0 {
			return fault.New(fault.Conflict, "the order has its invoice: have it made out anew")
		}
		known, err := invoices.Billing(ctx, tx, []ids.Order{row.ID})
		if err != nil {
			return err
		}
		if err := row.sameBusiness(known[row.ID], &req.Billing); err != nil {
			return err
		}
		return setBilling(ctx, tx, row, &req.Billing, store.Time(s.now()))
	})
	return &req.Billing, err
}

// setBilling keeps whom the invoice of an order is made out to, until that has to go.
func setBilling(ctx context.Context, tx tx, row orderRow, to *api.Billing, now time.Time) error {
	if err := retention.Again(ctx, tx, row.EventID); err != nil {
		return err
	}
	return invoices.SetBilling(ctx, tx, row.ID, to, now)
}

// mostDocuments bounds how often the invoice of an order is made out anew.
const mostDocuments = 20

// createInvoice has the invoice of a paid order made out, or made out to another address.
func (s *Service) createInvoice(ctx context.Context, req *api.NewInvoice) (*api.Invoice, error) {
	row, err := s.editableOrder(ctx, req.ID)
	if err != nil {
		return nil, err
	}
	if req.Billing != nil {
		var check fault.Check
		if req.Billing.Check(&check, "billing."); check.Err() != nil {
			return nil, check.Err()
		}
	}
	offer, err := s.offers.Get(ctx, row.EventID)
	if err != nil {
		return nil, err
	}
	if !invoices.Issuing(offer, row.Total) {
		return nil, fault.New(fault.Conflict, "the order was free, or its organizer makes no invoices")
	}
	now := store.Time(s.now())
	err = s.db.TxRepeatable(ctx, func(ctx context.Context, tx tx) error {
		row, _, err := s.db.lockedOrder(ctx, tx, row.ID)
		if err != nil {
			return err
		}
		if row.Status != api.OrderPaid || row.Refunded > 0 {
			return fault.New(fault.Conflict, "the order is not paid, or was refunded in part")
		}
		var bills invoices.Batch
		issued, err := bills.Newest(ctx, tx, []ids.Order{row.ID})
		if err != nil {
			return err
		}
		known, err := invoices.Billing(ctx, tx, []ids.Order{row.ID})
		if err != nil {
			return err
		}
		of, to := issued[row.ID], known[row.ID]
		if req.Billing != nil {
			before := to
			if of.Documents > 0 {
				before = of.Document.Buyer
			}
			if err := row.sameBusiness(before, req.Billing); err != nil {
				return err
			}
			to = req.Billing
			if err := setBilling(ctx, tx, row, to, now); err != nil {
				return err
			}
		}
		if of.Documents > 0 {
			if before := of.Document.Buyer; to == nil || before != nil && *before == *to {
				return nil
			}
			if of.Documents >= mostDocuments {
				return fault.New(fault.Conflict, "the invoice was made out anew too often")
			}
			bills.Cancel(of, now)
			of.Documents++
		}
		bills.Paid(offer, row.order(), to, of.Documents+1, now)
		return bills.Issue(ctx, tx)
	})
	if err != nil {
		return nil, err
	}
	return s.newestInvoice(ctx, row.ID)
}

func (s *Service) newestInvoice(ctx context.Context, id ids.Order) (*api.Invoice, error) {
	rows, err := invoices.OfOrder(ctx, s.db.Read(), id)
	if err != nil {
		return nil, err
	}
	for _, r := range slices.Backward(rows) {
		if r.Kind == api.InvoiceIssued {
			return &r.Document, nil
		}
	}
	return nil, fault.New(fault.NotFound, "the order has no invoice")
}

func (s *Service) orderInvoices(ctx context.Context, req *api.OrderRef) (*api.List[api.Invoice], error) {
	row, err := s.visibleOrder(ctx, req.ID)
	if err != nil {
		return nil, err
	}
	rows, err := invoices.OfOrder(ctx, s.db.Read(), row.ID)
	return &api.List[api.Invoice]{Items: documents(rows)}, err
}

func documents(rows []invoices.Row) []api.Invoice {
	list := make([]api.Invoice, len(rows))
	for i, r := range rows {
		list[i] = r.Document
	}
	return list
}

func (s *Service) orderInvoicePDF(ctx context.Context, req *api.OrderInvoiceFile) (*rpc.Blob, error) {
	row, err := s.visibleOrder(ctx, req.ID)
	if err != nil {
		return nil, err
	}
	doc, err := s.newestInvoice(ctx, row.ID)
	if err != nil {
		return nil, err
	}
	return s.bills.PDF(doc, req.Language)
}

// visibleInvoice returns a document to those who may read its order, and to those who may read the money of its
// organizer.
func (s *Service) visibleInvoice(ctx context.Context, id ids.Invoice) (*api.Invoice, error) {
	row, err := invoices.Get(ctx, s.db.Read(), id)
	if err != nil {
		return nil, err
	}
	if _, err = s.visibleOrder(ctx, row.OrderID); err == nil {
		return &row.Document, nil
	}
	if !fault.Is(err, fault.NotFound) {
		return nil, err
	}
	team, err := s.offers.Team(ctx, row.OrganizerID)
	if err == nil && !team.Can(rpc.Caller(ctx), api.MayReadMoney) {
		err = fault.New(fault.NotFound, "there is no such invoice")
	}
	return &row.Document, err
}

// moneyOf refuses callers who may not read the money of an organizer.
func (s *Service) moneyOf(ctx context.Context, id ids.Organizer) error {
	team, err := s.offers.Team(ctx, id)
	if err != nil {
		return err
	}
	return team.Require(rpc.Caller(ctx), api.MayReadMoney)
}

func (s *Service) invoicesOf(ctx context.Context, req *api.InvoicePage) (*api.List[api.Invoice], error) {
	if err := s.moneyOf(ctx, req.ID); err != nil {
		return nil, err
	}
	rows, next, err := invoices.Page(ctx, s.db.Read(), req)
	return &api.List[api.Invoice]{Items: documents(rows), NextCursor: next}, err
}

// invoicesCSV returns the rows of an organizer's year after a number, which is where the part begins.
func (s *Service) invoicesCSV(ctx context.Context, req *api.InvoiceExport, at string) (rpc.Part, error) {
	if err := s.moneyOf(ctx, req.ID); err != nil {
		return rpc.Part{}, err
	}
	if err := checkYear(req.Year); err != nil {
		return rpc.Part{}, err
	}
	var after int64
	if at != "" {
		var err error
		if after, err = strconv.ParseInt(at, 10, 64); err != nil {
			return rpc.Part{}, fault.New(fault.Invalid, "there is no such part")
		}
	}
	rows, err := invoices.Year(ctx, s.db.Read(), req.ID, req.Year, after, exportRows/2)
	if err != nil {
		return rpc.Part{}, err
	}
	part := rpc.Part{ContentType: sheet.TypeCSV, Filename: "invoices-" + strconv.Itoa(req.Year) + ".csv"}
	var table [][]string
	if at == "" {
		table = append(table, invoices.Header())
	}
	for _, r := range rows {
		table = append(table, invoices.Records(&r.Document)...)
	}
	if len(rows) == exportRows/2 {
		part.Next = strconv.FormatInt(rows[len(rows)-1].Number, 10)
	}
	part.Body, err = sheet.Lines(table)
	return part, err
}

func checkYear(year int) error {
	var check fault.Check
	check.Field(year >= 1970 && year <= 9999, "year", "must be a year, such as 2031")
	return check.Err()
}

// taxesOf returns what the invoices of an organizer's year say of each rate of tax.
func (s *Service) taxesOf(ctx context.Context, req *api.InvoiceExport) (*api.List[api.TaxMonth], error) {
	if err := s.moneyOf(ctx, req.ID); err != nil {
		return nil, err
	}
	if err := checkYear(req.Year); err != nil {
		return nil, err
	}
	items, err := invoices.Taxes(ctx, s.db.DB, req.ID, req.Year)
	return &api.List[api.TaxMonth]{Items: items}, err
}

// addBilling adds whom the invoices of orders are made out to.
func (s *Service) addBilling(ctx context.Context, orders []api.Order) error {
	list := make([]ids.Order, len(orders))
	for i, o := range orders {
		list[i] = o.ID
	}
	billing, err := invoices.Billing(ctx, s.db.Read(), list)
	for i := range orders {
		orders[i].Billing = billing[orders[i].ID]
	}
	return err
}

// billingOf returns whom the invoices of paid orders are made out to.
func billingOf(ctx context.Context, tx tx, in []receipt) (map[ids.Order]*api.Billing, error) {
	var orders []ids.Order
	for _, r := range in {
		if r.offer != nil && r.offer.Organizer.Selling.Invoices {
			orders = append(orders, r.order)
		}
	}
	return invoices.Billing(ctx, tx, orders)
}

// addCredit adds the credit notes of what goes back of orders that have invoices.
func addCredit(ctx context.Context, tx tx, decisions []decision, notes *invoices.Batch, now time.Time) error {
	var orders []ids.Order
	for _, d := range decisions {
		if d.due.Amount.Amount > 0 {
			orders = append(orders, d.row.ID)
		}
	}
	issued, err := notes.Newest(ctx, tx, orders)
	if err != nil {
		return err
	}
	for _, d := range decisions {
		if of, ok := issued[d.row.ID]; ok && d.due.Amount.Amount > 0 {
			notes.Refund(of, d.due, d.returned(), now)
		}
	}
	return nil
}

// returned is the tickets that a decision revokes, as a credit note has them.
func (d *decision) returned() (list []invoices.Returned) {
	for _, t := range d.revoked {
		r := invoices.Returned{Type: t.TicketTypeID, Name: t.TypeName, Quantity: 1}
		if line, _, ok := d.row.lineAt(t.Position); ok {
			r.Tax, r.With = d.row.Items[line].Tax, d.row.Items[line].IncludedInID
			if r.With != "" {
				r.Name = d.row.Items[line].Title()
			}
		}
		i := slices.IndexFunc(list, func(o invoices.Returned) bool { return o.Name == r.Name && o.Tax == r.Tax })
		if i >= 0 {
			list[i].Quantity++
			continue
		}
		list = append(list, r)
	}
	return list
}
