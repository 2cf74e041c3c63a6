package stripe

import (
	"math"
	"strings"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
)

// ratio turns our minor units into those of Stripe: theirs = ours * times / parts, if that is whole, and if the result
// is a multiple of step.
type ratio struct{ times, parts, step int64 }

// ratioOf says how Stripe counts a currency, given in upper case. ok is false for a currency that Stripe does not take.
//
// Ours are the minor units of ISO 4217 (list one,
// https://www.six-group.com/en/products-services/financial-information/data-standards.html). Stripe's are the same
// (https://docs.stripe.com/currencies, "zero-decimal", "three-decimal" and "special cases") but for
//   - ISK and UGX: ISO has no decimals, Stripe wants two that are zero, for compatibility;
//   - MGA: ISO has two decimals, of which Stripe knows none;
//   - BHD, JOD, KWD, OMR, TND: three decimals with both, but Stripe wants the last one to be zero.
//
// The other currencies with three or four decimals, and the units of account UYI and UYW, are not taken by Stripe.
func ratioOf(currency string) (r ratio, ok bool) {
	switch currency {
	case "ISK", "UGX":
		return ratio{100, 1, 100}, true
	case "MGA":
		return ratio{1, 100, 1}, true
	case "BHD", "JOD", "KWD", "OMR", "TND":
		return ratio{1, 1, 10}, true
	case "IQD", "LYD", "CLF", "UYI", "UYW":
		return ratio{}, false
	}
	return ratio{1, 1, 1}, len(currency) == 3
}

// toStripe returns an amount in Stripe's units and its currency as Stripe writes it. What Stripe cannot express is
// Invalid.
func toStripe(m api.Money) (amount int64, currency string, err error) {
	r, ok := ratioOf(m.Currency)
	if !ok {
		return 0, "", fault.New(fault.Invalid, "Stripe does not take %s", m.Currency)
	}
	if amount, ok = scale(m.Amount, r.times, r.parts); !ok || amount%r.step != 0 {
		return 0, "", fault.New(fault.Invalid, "Stripe cannot express %d minor units of %s", m.Amount, m.Currency)
	}
	return amount, strings.ToLower(m.Currency), nil
}

// fromStripe returns an amount of Stripe in ours. One that we cannot express is Unprocessable.
func fromStripe(amount int64, currency string) (api.Money, error) {
	m := api.Money{Currency: strings.ToUpper(currency)}
	r, ok := ratioOf(m.Currency)
	if ok {
		m.Amount, ok = scale(amount, r.parts, r.times)
	}
	if !ok {
		return api.Money{}, fault.New(fault.Unprocessable,
			"%d of Stripe's units of %q cannot be expressed", amount, currency)
	}
	return m, nil
}

// scale returns n * times / parts, and whether that is a whole number that is not negative and fits.
func scale(n, times, parts int64) (int64, bool) {
	if n < 0 || n > math.MaxInt64/times || n*times%parts != 0 {
		return 0, false
	}
	return n * times / parts, true
}
