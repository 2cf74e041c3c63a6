package payment

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"

	"github.com/starlightsymphony/starlight/shared/rpc"
)

//go:embed manual.html
var manualHTML string

// manualPage renders what the payer of a manual payment has to do. It looks like the checkout of the sandbox and has no
// script.
type manualPage struct {
	tmpl   *template.Template
	policy string
}

func newManualPage() (*manualPage, error) {
	tmpl, err := template.New("manual").Parse(manualHTML)
	if err != nil {
		return nil, fmt.Errorf("page of manual payments: %w", err)
	}
	return &manualPage{tmpl: tmpl, policy: fmt.Sprintf("default-src 'none'; style-src '%s'; base-uri 'none'; form-action 'none'", sourceHash(checkoutCSS))}, nil
}

func (p *manualPage) render(row *manualPayment, open bool, instructions []string, returnURL string) (*rpc.Blob, error) {
	status := ""
	switch {
	case row.Status == manualPaid:
		status = "The money is there. Thank you."
	case !open:
		status = "This payment is closed. Please do not pay any more."
	}
	var buf bytes.Buffer
	err := p.tmpl.Execute(&buf, map[string]any{
		"Policy":       p.policy,
		"Style":        template.CSS(checkoutCSS),
		"Amount":       row.money().String(),
		"Reference":    row.Reference,
		"Due":          row.DueAt.UTC().Format("2 January 2006, 15:04 UTC"),
		"Payment":      row.PaymentID,
		"Open":         open,
		"Instructions": instructions,
		"Status":       status,
		"ReturnURL":    returnURL,
	})
	if err != nil {
		return nil, fmt.Errorf("page of manual payments: %w", err)
	}
	return &rpc.Blob{ContentType: "text/html; charset=utf-8", Data: buf.Bytes()}, nil
}
