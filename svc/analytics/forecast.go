package analytics

import (
	"context"
	"math"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/starlightsymphony/starlight/shared/api"
)

// forecastWindow is what "lately" is.
const forecastWindow = 14 * 24 * time.Hour

// With fewer orders, or over a shorter time, a forecast would say anything.
const (
	fewOrders   = 10
	shortWindow = 24 * time.Hour
)

// quantile is that of the normal distribution at 0.95: nine tenths lie between -quantile and +quantile.
const quantile = 1.6448536269514722

func (s *Service) forecast(ctx context.Context, req *api.EventRef) (out *api.Forecast, err error) {
	err = s.with(ctx, req.ID, func(tx *bolt.Tx, o *api.Offer) error {
		now := s.now()
		sum := total(tx, req.ID, byEvent, "")
		first, _ := extent(tx, req.ID, func(c counts) bool { return c[nSold] > 0 })
		start := now.Add(-forecastWindow)
		if t := time.Unix(first*60, 0); first >= 0 && t.After(start) {
			start = t
		}
		var orders, tickets int64
		cells(tx, req.ID, byEvent, "", minuteOf(start), minuteOf(now)+1, func(_ int64, c counts) {
			orders += c[nPaid]
			tickets += c[nSold]
		})
		out = predict(now, now.Sub(start), orders, tickets, max(quantity(o)-sum[nSold]+sum[nRevoked], 0))
		out.EventID = req.ID
		return nil
	})
	return out, err
}

// predict takes orders for a Poisson process that goes on at the rate at which they came lately, each with as many
// tickets as the mean of them. The rate is known from n orders only, and the rest of the tickets will take m more: the
// time that m arrivals take, over the time that n took, is distributed as an F distribution of 2m and 2n degrees of
// freedom (times m/n), since both are gamma distributed. Its quantiles are approximated by the normal distribution of
// the logarithm, whose variance is trigamma(m) + trigamma(n).
//
// Source: Johnson, Kotz, Balakrishnan: Continuous Univariate Distributions 2, chapter 27 (F) and 17.8 (log gamma).
func predict(now time.Time, window time.Duration, orders, tickets, remaining int64) *api.Forecast {
	f := &api.Forecast{Remaining: remaining,
		Basis: "orders of the last 14 days, or since the first, as a Poisson process; nine times of ten between " +
			"earliest and latest"}
	if remaining > 0 && (orders < fewOrders || window < shortWindow) {
		f.Basis = "not enough orders yet: a forecast needs at least ten, over a day"
		return f
	}
	f.PerDay = float64(tickets) / max(window, time.Hour).Hours() * 24
	if remaining == 0 || tickets == 0 {
		return f
	}
	n := float64(orders)
	m := math.Max(float64(remaining)/(float64(tickets)/n), 1)
	median := window.Hours() * m / n
	spread := math.Exp(quantile * math.Sqrt(trigamma(m)+trigamma(n)))
	after := func(hours float64) *time.Time {
		const most = 100 * 365 * 24
		if hours > most {
			return nil
		}
		t := now.Add(time.Duration(hours * float64(time.Hour))).Truncate(time.Minute).UTC()
		return &t
	}
	f.SoldOutAt, f.Earliest, f.Latest = after(median), after(median/spread), after(median*spread)
	return f
}

// trigamma is the second derivative of log gamma, for x of 1 or more: the recurrence up to 6, then the asymptotic
// series (Abramowitz and Stegun 6.4.6 and 6.4.12). The error is below 1e-8.
func trigamma(x float64) float64 {
	sum := 0.0
	for ; x < 6; x++ {
		sum += 1 / (x * x)
	}
	y := 1 / (x * x)
	return sum + 1/x + y/2 + y/x*(1.0/6-y*(1.0/30-y*(1.0/42-y/30)))
}
