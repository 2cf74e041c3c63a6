package payment

import (
	"github.com/starlightsymphony/starlight/shared/observe"
)

// instruments are the metrics of the service.
type instruments struct{ registry *observe.Registry }

func newInstruments(r *observe.Registry, s *Service) instruments {
	r.GaugeFunc("starlight_payment_callbacks_waiting", "Callbacks in memory that wait for a worker.", func() float64 {
		n := 0
		for _, d := range s.desks {
			n += len(d.queue)
		}
		return float64(n)
	})
	return instruments{registry: r}
}

func (m instruments) received(provider, result string) {
	m.registry.Counter("starlight_payment_callbacks_total", "Callbacks of payment providers by what became of them at the door.",
		"provider", provider, "result", result).Inc()
}

// settled counts a look at a payment: made for a callback or by the poller.
func (m instruments) settled(provider string, callback bool, out settlement) {
	source := "poller"
	if callback {
		source = "callback"
	}
	m.registry.Counter("starlight_payment_observations_total", "Looks at payments at their provider, by what made us look and what it meant.",
		"provider", provider, "source", source, "verdict", string(out.verdict)).Inc()
	switch {
	case out.verdict == verdictMove:
		m.registry.Counter("starlight_payment_moves_total", "Payments that moved to a state.",
			"provider", provider, "status", out.status).Inc()
	case out.fresh:
		m.registry.Counter("starlight_payment_flagged_total", "Payments that a person has to look at, by reason.",
			"provider", provider, "reason", string(out.verdict)).Inc()
	}
}

func (m instruments) refunded(result string) {
	m.registry.Counter("starlight_payment_refunds_total", "Attempts to give money back, by result.", "result", result).Inc()
}

func (m instruments) providerError(provider, call string) {
	m.registry.Counter("starlight_payment_provider_errors_total", "Calls of payment providers that failed.",
		"provider", provider, "call", call).Inc()
}
