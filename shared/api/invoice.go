package api

// Billing is whom an invoice is for.
type Billing struct {
	Name    string `json:"name" minLength:"1" maxLength:"200"`       // of the person or company, on one line
	Address string `json:"address" maxLength:"500" required:"false"` // several lines, without the country
	Country string `json:"country" pattern:"^[A-Z]{2}$"`             // ISO 3166-1 alpha-2
	// of a business in the EU, with its country; it is checked by its form and its check digits
	VATID string `json:"vat_id,omitempty" maxLength:"20"`
}
