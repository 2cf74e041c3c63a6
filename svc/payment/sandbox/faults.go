package sandbox

import (
	"math/rand/v2"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
)

// faults are what the sandbox injects into one payment. Live settings decide, and chance where they say how often.
type faults struct {
	challenge    bool          // the payer has to pass a second step
	captureAfter time.Duration // the money comes so much later
	wrongAmount  bool          // another amount is taken than was asked for
	capturesLate bool          // what was declined or cancelled is collected after all

	delay  time.Duration // of the callback
	copies int           // how often it is sent
	lost   bool          // it never is
}

func (s *Provider) faults() faults {
	m := faults{
		challenge:    api.SandboxChallenge.Get(s.live),
		captureAfter: api.SandboxCaptureDelay.Get(s.live),
		wrongAmount:  chance(api.SandboxWrongAmount.Get(s.live)),
		capturesLate: chance(api.SandboxChangesMind.Get(s.live)),
		delay:        api.SandboxCallbackDelay.Get(s.live),
		copies:       api.SandboxCopies.Get(s.live),
		lost:         chance(api.SandboxLost.Get(s.live)),
	}
	if spread := api.SandboxShuffle.Get(s.live); spread > 0 {
		m.delay += rand.N(spread)
	}
	return m
}

// lostAnswer is what a call that has done its work ends with: mostly nil, and sometimes a Timeout, as if the answer was
// lost.
func (s *Provider) lostAnswer() error {
	if chance(api.SandboxTimeouts.Get(s.live)) {
		return fault.New(fault.Timeout, "the sandbox does not answer")
	}
	return nil
}

// chance is true percent times of a hundred.
func chance(percent int) bool { return percent > 0 && rand.IntN(100) < percent }

// collects returns what is taken from a payer who owes amount.
func (m faults) collects(amount int64) int64 {
	if m.wrongAmount {
		return amount + 1
	}
	return amount
}

// lateCapture is how much later a payment is collected that had been declined or cancelled.
const lateCapture = 2 * time.Second

// callback returns the callback about a payment's status.
func (m faults) callback(payment *paymentRow, now time.Time) *callbackRow {
	return &callbackRow{ID: newID("sbe_"), PaymentID: payment.ID, Type: "payment." + payment.Status, CreatedAt: now,
		DueAt: now.Add(m.delay), Lost: m.lost, Copies: m.copies}
}

// prompt reports whether callbacks are sent at once.
func (m faults) prompt() bool { return m.delay == 0 && !m.lost }
