package manual

import (
	_ "embed"

	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/svc/payment/checkout"
)

//go:embed manual.html
var manualHTML string

func newPage() (*checkout.Page, error) { return checkout.New("manual", manualHTML, "") }

// render returns what the payer of a payment has to do. It is open while the payer is in time.
func render(page *checkout.Page, row *paymentRow, open bool, instructions []string,
	returnURL string) (*rpc.Blob, error) {
	status := ""
	switch {
	case row.Status == statusPaid:
		status = "The money is there. Thank you."
	case !open:
		status = "This payment is closed. Please do not pay any more."
	}
	return page.Render(map[string]any{
		"Amount":       row.money().String(),
		"Reference":    row.Reference,
		"Due":          row.DueAt.UTC().Format("2 January 2006, 15:04 UTC"),
		"Payment":      row.PaymentID,
		"Open":         open,
		"Instructions": instructions,
		"Status":       status,
		"ReturnURL":    returnURL,
	})
}
