package payment

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"

	"github.com/starlightsymphony/starlight/shared/rpc"
)

var (
	//go:embed checkout.html
	checkoutHTML string
	//go:embed checkout.css
	checkoutCSS string
	//go:embed checkout.js
	checkoutJS string
)

// checkoutPage renders the hosted checkout of the sandbox. Its script and style are constant and allowed by their
// hashes, in a policy that the page itself carries: nothing a buyer or organizer wrote can run in it.
type checkoutPage struct {
	tmpl   *template.Template
	policy string
}

func newCheckoutPage() (*checkoutPage, error) {
	tmpl, err := template.New("checkout").Parse(checkoutHTML)
	if err != nil {
		return nil, fmt.Errorf("checkout page: %w", err)
	}
	return &checkoutPage{
		tmpl: tmpl,
		policy: fmt.Sprintf("default-src 'none'; script-src '%s'; style-src '%s'; connect-src 'self'; base-uri 'none'; form-action 'none'",
			sourceHash(checkoutJS), sourceHash(checkoutCSS)),
	}, nil
}

// sourceHash returns the source expression of Content Security Policy for an inline script or style.
func sourceHash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

func (p *checkoutPage) render(row *sandboxPayment, open bool) (*rpc.Blob, error) {
	status := map[string]string{
		sandboxChallenged: "Your bank asks whether it is really you.",
		sandboxProcessing: "This payment is being made.",
		sandboxSucceeded:  "This payment is done.",
		sandboxDeclined:   "This payment was declined.",
		sandboxCancelled:  "This payment was cancelled by the shop.",
	}[row.Status]
	if (row.Status == sandboxPending || row.Status == sandboxChallenged) && !open {
		status = "This checkout has expired."
	}
	var buf bytes.Buffer
	err := p.tmpl.Execute(&buf, map[string]any{
		"Policy":      p.policy,
		"Style":       template.CSS(checkoutCSS),
		"Script":      template.JS(checkoutJS),
		"Payment":     row.Reference,
		"Order":       row.OrderID,
		"Amount":      row.money().String(),
		"Description": row.Description,
		"ReturnURL":   row.ReturnURL,
		"Open":        open,
		"Challenged":  row.Status == sandboxChallenged,
		"Reasons":     declineReasons(),
		"Status":      status,
	})
	if err != nil {
		return nil, fmt.Errorf("checkout page: %w", err)
	}
	return &rpc.Blob{ContentType: "text/html; charset=utf-8", Data: buf.Bytes()}, nil
}
