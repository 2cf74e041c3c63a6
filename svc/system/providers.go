package system

import (
	"fmt"
	"log/slog"

	"github.com/starlightsymphony/starlight/svc/payment/provider"
	"github.com/starlightsymphony/starlight/svc/payment/stripe"
)

// providers makes the payment providers outside that there are credentials for. The sandbox and the manual provider are
// built into the payment service.
func providers(cfg Config, log *slog.Logger) ([]provider.Provider, error) {
	var list []provider.Provider
	if cfg.Stripe.Key != "" {
		p, err := stripe.New(cfg.Stripe, cfg.Now, log)
		if err != nil {
			return nil, fmt.Errorf("stripe: %w", err)
		}
		list = append(list, p)
	}
	return list, nil
}
