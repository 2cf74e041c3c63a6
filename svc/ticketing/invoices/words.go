package invoices

// words is what a document calls its parts in a language.
type words struct {
	invoice, creditNote, number, date, corrects, order, event, eventOn, taxID, billedTo string
	description, quantity, rate, net, tax, gross, total                                 string

	refund         string // a line of a credit note that names no tickets
	paid, returned string // whole sentences
	untaxed        string // why there is no tax
	reverse        string // the words of the law where the buyer owes it: Art. 226 (11a) of Directive 2006/112/EC
}

func wordsOf(lang string) words {
	switch lang {
	case "de":
		return words{invoice: "Rechnung", creditNote: "Rechnungskorrektur", number: "Nummer", date: "Datum",
			corrects: "Zu Rechnung", order: "Bestellung", event: "Veranstaltung", eventOn: "Leistungsdatum",
			taxID: "USt-IdNr. oder Steuernummer", billedTo: "Rechnung an", description: "Bezeichnung",
			quantity: "Menge", rate: "Satz", net: "Netto", tax: "Steuer", gross: "Brutto", total: "Summe",
			refund: "Erstattung", paid: "Der Betrag ist bezahlt.",
			returned: "Der Betrag wird auf dem Weg erstattet, auf dem er bezahlt wurde.",
			untaxed:  "Ohne Ausweis von Umsatzsteuer",
			reverse:  "Steuerschuldnerschaft des Leistungsempfängers"}
	case "fr":
		return words{invoice: "Facture", creditNote: "Avoir", number: "Numéro", date: "Date",
			corrects: "Sur la facture", order: "Commande", event: "Événement", eventOn: "Date de la prestation",
			taxID: "N° de TVA ou fiscal", billedTo: "Facturé à", description: "Désignation", quantity: "Quantité",
			rate: "Taux", net: "HT", tax: "Taxe", gross: "TTC", total: "Total", refund: "Remboursement",
			paid:     "Le montant est réglé.",
			returned: "Le montant est remboursé par le moyen de paiement utilisé.",
			untaxed:  "Taxe non applicable", reverse: "Autoliquidation"}
	case "es":
		return words{invoice: "Factura", creditNote: "Factura rectificativa", number: "Número", date: "Fecha",
			corrects: "De la factura", order: "Pedido", event: "Evento", eventOn: "Fecha de la prestación",
			taxID: "NIF-IVA o número fiscal", billedTo: "Facturado a", description: "Descripción",
			quantity: "Cantidad", rate: "Tipo", net: "Base", tax: "Impuesto", gross: "Importe", total: "Total",
			refund: "Devolución", paid: "El importe está pagado.",
			returned: "El importe se devuelve por el medio con el que se pagó.", untaxed: "Sin impuesto",
			reverse: "Inversión del sujeto pasivo"}
	}
	return words{invoice: "Invoice", creditNote: "Credit note", number: "Number", date: "Date",
		corrects: "For invoice", order: "Order", event: "Event", eventOn: "Date of supply",
		taxID: "VAT or tax number", billedTo: "Billed to", description: "Description", quantity: "Quantity",
		rate: "Rate", net: "Net", tax: "Tax", gross: "Gross", total: "Total", refund: "Refund",
		paid: "The amount has been paid.", returned: "The amount goes back the way it was paid.",
		untaxed: "No tax is charged", reverse: "Reverse charge"}
}
