package openapi

import (
	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
)

const (
	aCancellation ids.Cancellation = "cxl_01k3q8v5z7m2n4p6r8s9t0w1xy"
	anImport      ids.Import       = "imp_01k3q8v5z7m2n4p6r8s9t0w1xy"
	anInvoice     ids.Invoice      = "inv_01k3q8v5z7m2n4p6r8s9t0w1xy"
)

const aQuestion ids.Question = "que_01k3q8v5z7m2n4p6r8s9t0w1xy"

// asked is what an event may ask.
func asked() []api.NewQuestion {
	return []api.NewQuestion{
		{Label: "What do you eat?", Kind: api.AsksChoice, Choices: []api.NewChoice{{Label: "All"}, {Label: "No meat"},
			{Label: "Something else"}}},
		{Label: "What is it?", Kind: api.AsksText, Purpose: "The kitchen cooks for you", RetentionDays: 7,
			Condition: &api.NewCondition{Question: "What do you eat?", Choices: []string{"Something else"}}},
		{Label: "Coat number", Kind: api.AsksNumber, At: api.AskedAtDoor},
		{Label: "May we write to you about the next concert?", Kind: api.AsksConsent, Per: api.AskedPerOrder},
	}
}

// orders is what buyers and organizers do with orders that are there.
func orders() []Example {
	at := api.EventPage{Page: api.Page{Limit: 10}, EventID: anEvent}
	note := "sits with the choir"
	return []Example{
		example(api.MailOrderTickets, api.OrderRef{ID: anOrder}),
		example(api.GetCancellation, api.OrderRef{ID: anOrder}),
		example(api.CreateCancellation, api.NewCancellation{OrderID: anOrder, Tickets: []ids.Ticket{aTicket},
			Reason: "we are ill"}),
		example(api.ListCancellations, api.CancellationPage{EventPage: at, Status: api.CancellationGranted}),
		example(api.DecideCancellation, api.CancellationDecision{EventID: anEvent, ID: aCancellation,
			Decision: api.CancellationGranted, Answer: "get well soon"}),
		example(api.GetExchange, api.ExchangeQuery{OrderID: anOrder}),
		example(api.GetOrderAnswers, api.OrderRef{ID: anOrder}),
		example(api.PutOrderAnswers, api.OrderAnswers{ID: anOrder, Answers: []api.Answer{{QuestionID: aQuestion,
			Value: api.ConsentGiven}}}),
		example(api.GetTicketAnswers, api.TicketRef{ID: aTicket}),
		example(api.PutTicketAnswers, api.TicketAnswers{ID: aTicket, Answers: []api.Answer{}}),
		example(api.GetAnswerCounts, api.EventRef{ID: anEvent}),
		example(api.UpdateEventOrder, api.OrderEdit{EventID: anEvent, OrderID: anOrder, Note: &note}),
		example(api.CreateStaffOrder, api.StaffOrder{EventID: anEvent,
			Items: []api.NewOrderItem{{TicketTypeID: aType, Quantity: 1}}, Email: "press@example.org",
			Name: "The Press", Complimentary: true}),
		example(api.GetImportExample, api.EventRef{ID: anEvent}),
		example(api.CreateImport, api.NewImport{EventID: anEvent,
			File: []byte("email,name,ticket_type\nmia@example.org,Mia," + aType.String() + "\n")}),
		example(api.ListImports, api.EventPage{EventID: anEvent}),
		example(api.ListImportRows, api.ImportRowPage{EventID: anEvent, ID: anImport, Status: api.RowReady}),
		example(api.StartImport, api.ImportStart{EventID: anEvent, ID: anImport, Mail: true}),
		example(api.StopImport, api.ImportRef{EventID: anEvent, ID: anImport}),
		example(api.GetImport, api.ImportRef{EventID: anEvent, ID: anImport}),
	}
}

// invoices is what is made out for the order that was paid.
func invoices() []Example {
	const year = 2030
	return []Example{
		example(api.ListOrderInvoices, api.OrderRef{ID: anOrder}),
		example(api.GetInvoice, api.InvoiceOf{ID: anInvoice}),
		example(api.GetInvoicePDF, api.InvoiceFile{ID: anInvoice, Language: "fr"}),
		example(api.GetInvoiceXML, api.InvoiceOf{ID: anInvoice}),
		example(api.GetOrderInvoicePDF, api.OrderInvoiceFile{ID: anOrder, Language: "de"}),
		example(api.CreateInvoice, api.NewInvoice{ID: anOrder, Billing: &api.Billing{Company: "Example AG",
			Street: "Long Road 1", Postcode: "34117", City: "Kassel", Country: "DE", VATID: "DE123456788"}}),
		example(api.ListInvoices, api.InvoicePage{Page: api.Page{Limit: 10}, ID: anOrganizer, Year: year}),
		example(api.GetInvoicesCSV, api.InvoiceExport{ID: anOrganizer, Year: year}),
		example(api.ListOrganizerTaxes, api.InvoiceExport{ID: anOrganizer, Year: year}),
	}
}

func counter() []Example {
	page := api.Page{Limit: 10}
	at := api.EventPage{Page: page, EventID: anEvent}
	file := api.EventExport{EventID: anEvent}
	workbook := api.EventWorkbook{EventExport: file, Part: 1}
	return []Example{
		example(api.RequestOrderLinks, api.LinksOf{Email: "robin@example.org"}),
		example(api.ListMyOrders, page),
		example(api.ListMyTickets, page),
		example(api.CreateSale, api.NewSale{EventID: anEvent,
			Items:     []api.NewOrderItem{{TicketTypeID: aType, Quantity: 1}},
			Payment:   api.BoxOfficePayment{Method: api.PaidByCard, Reference: "T1-000471"},
			Attendees: []api.Attendee{{Name: "Kim Day"}}}),
		example(api.ListOrderTickets, api.OrderRef{ID: anOrder}),
		example(api.AdmitTicket, api.Admission{EventID: anEvent, Code: lastCode, Gate: "main"}),
		example(api.ExitTicket, api.Admission{EventID: anEvent, Code: lastCode, Gate: "main"}),
		example(api.ListAdmissions, at),
		example(api.UndoAdmission, api.AdmissionRef{EventID: anEvent, ID: aScan}),
		example(api.ScanWithPass, api.PassScan{EventID: anEvent, Secret: lastSecret, Code: "ST1...", Gate: "north"}),
		example(api.ListRefusedAnswers, at),
		example(api.AnswerWithPass, api.PassAnswers{EventID: anEvent, Secret: lastSecret, TicketID: aTicket,
			Answers: []api.Answer{}}),
		example(api.DeletePass, api.PassRef{EventID: anEvent, ID: aPass}),
		example(api.ReverseSale, api.ReverseSaleRequest{OrderID: anOrder, Reason: "wrong ticket type",
			IncludeAdmitted: true}),
		example(api.SetAuthority, api.NewAuthority{EventID: anEvent, VenueID: aVenue, Policy: "venue",
			Unknown: "refuse"}),
		example(api.GetAuthority, api.EventRef{ID: anEvent}),
		example(api.EndAuthority, api.AuthorityEnd{EventID: anEvent}),
		example(api.ListEventOrders, api.OrderSearch{EventPage: at}),
		example(api.ListAttendees, api.AttendeePage{EventPage: at, Query: "kim"}),
		example(api.GetAttendeesCSV, api.AttendeeExport{EventExport: file, Query: "kim"}),
		example(api.GetAttendeesXLSX, api.AttendeeWorkbook{EventWorkbook: workbook, Query: "kim"}),
		example(api.GetOrdersCSV, file),
		example(api.GetOrdersXLSX, workbook),
		example(api.CreateRefund, api.NewRefund{PaymentID: aPayment, Amount: &api.Money{Amount: 500, Currency: "EUR"},
			Reason: "the view was poor"}),
		example(api.ListRefunds, api.PaymentRef{ID: aPayment}),
		example(api.ListDisputes, api.PaymentRef{ID: aPayment}),
		order(),
		example(api.CancelOrder, api.OrderRef{ID: anOrder}),
	}
}
