package payment

import (
	"github.com/starlightsymphony/starlight/shared/observe"
)

// instruments are the metrics of the service.
type instruments struct{ registry *observe.Registry }

func (m instruments) received(provider, result string) {
	m.registry.Counter("starlight_payment_callbacks_total",
		"Callbacks of payment providers by what became of them on arrival.", "provider",
		provider, "result", result).Inc()
}

// confirmed counts a look at a payment: made for a callback, by the poller, or to end it.
func (m instruments) confirmed(provider, source string, out confirmation) {
	m.registry.Counter("starlight_payment_observations_total",
		"Looks at payments at their provider, by what made us look and what it meant.", "provider", provider, "source",
		source, "verdict", string(out.verdict)).Inc()
	switch out.verdict {
	case verdictMove, verdictLate, verdictMismatch:
		m.registry.Counter("starlight_payment_moves_total", "Payments that moved to a state, by what made us look.",
			"provider", provider, "status", out.status, "source", source).Inc()
	}
}

func (m instruments) refunded(result string) {
	m.registry.Counter("starlight_payment_refunds_total",
		"Attempts to give money back, by result.", "result", result).Inc()
}

func (m instruments) disputed(status string) {
	m.registry.Counter("starlight_payment_disputes_total",
		"Changes of disputes, by what they are now.", "status", status).Inc()
}
