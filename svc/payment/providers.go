package payment

import (
	"fmt"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/settings"
)

// providers makes every provider that there are credentials for.
func (s *Service) providers(d Deps) ([]Provider, error) {
	s.manual = &manual{books: &manualBooks{s.books}, live: s.live, publicURL: s.publicURL, now: s.now}
	list := []Provider{s.sandbox, s.manual}
	if d.Stripe.Key == "" {
		return list, nil
	}
	var err error
	if s.stripe, err = newStripe(d.Stripe, s.now); err != nil {
		return nil, fmt.Errorf("stripe: %w", err)
	}
	if len(s.stripe.secrets) == 0 {
		s.log.Warn("there is no webhook secret of Stripe: payments are found by asking only", "after", api.PaymentPollAfter.Get(s.live))
	}
	return append(list, s.stripe), nil
}

// offReason says in a sentence why a provider accepts no payments; "" if it does.
func (s *Service) offReason(name string) string {
	for provider, setting := range map[string]*settings.Setting[bool]{sandboxName: api.SandboxEnabled, manualName: api.ManualEnabled} {
		if name == provider && !setting.Get(s.live) {
			return fmt.Sprintf("the %s provider is switched off (setting %s)", name, setting.Key())
		}
	}
	return ""
}
