package sandbox

import (
	_ "embed"

	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/svc/payment/checkout"
)

var (
	//go:embed checkout.html
	checkoutHTML string
	//go:embed checkout.js
	checkoutJS string
)

func newPage() (*checkout.Page, error) { return checkout.New("sandbox", checkoutHTML, checkoutJS) }

// render returns the hosted checkout of a payment. It is open while the payer can act.
func render(page *checkout.Page, row *paymentRow, open bool) (*rpc.Blob, error) {
	status := map[string]string{
		statusChallenged: "Your bank asks whether it is really you.",
		statusProcessing: "This payment is being made.",
		statusSucceeded:  "This payment is done.",
		statusDeclined:   "This payment was declined.",
		statusCancelled:  "This payment was cancelled by the shop.",
	}[row.Status]
	if (row.Status == statusPending || row.Status == statusChallenged) && !open {
		status = "This checkout has expired."
	}
	return page.Render(map[string]any{
		"Payment":     row.Reference,
		"Order":       row.OrderID,
		"Amount":      row.money().String(),
		"Description": row.Description,
		"ReturnURL":   row.ReturnURL,
		"Open":        open,
		"Challenged":  row.Status == statusChallenged,
		"Reasons":     declineReasons(),
		"Status":      status,
	})
}
