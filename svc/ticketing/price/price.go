// Package price says what an order costs: its lines with a promo code or an automatic discount, then fees and tax, and
// what of a refund is tax.
//
// All amounts are minor units of one currency. A discount of a line is never more than the line costs, net and tax are
// the gross of each line and each rate, and what the order costs is the sum of its lines.
package price

import (
	"math/bits"
	"slices"
	"strconv"
	"strings"

	"github.com/starlightsymphony/starlight/shared/api"
)

// whole is 100 % in hundredths of a percent.
const whole = 10_000

// ParsePercent returns hundredths of a percent, and whether text is a percentage from 0 to 100 with at most two
// decimals.
func ParsePercent(text string) (int64, bool) { return parse(text, 2) }

// parse reads a percentage from 0 to 100 with at most so many decimals, up to three, as a whole number.
func parse(text string, most int) (int64, bool) {
	units, decimals, point := strings.Cut(text, ".")
	if len(units) == 0 || len(units) > 3 || point && len(decimals) == 0 || len(decimals) > most ||
		strings.Trim(units+decimals, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(units+decimals+"000"[len(decimals):most], 10, 64)
	limit := int64(100)
	for range most {
		limit *= 10
	}
	return n, err == nil && n <= limit
}

// Covers reports whether terms are about a line. Of products they are only if they name them.
func Covers(t *api.PromoTerms, item api.OrderItem) bool {
	return len(t.TicketTypeIDs) == 0 && !item.IsProduct() || slices.Contains(t.TicketTypeIDs, item.TicketTypeID)
}

// Qualifies reports whether the lines have what terms ask for: so many tickets, and of such a value.
func Qualifies(t *api.PromoTerms, items []api.OrderItem) bool {
	tickets, total := 0, int64(0)
	for _, item := range items {
		if Covers(t, item) {
			tickets += item.Quantity
			total += item.UnitPrice.Amount * int64(item.Quantity)
		}
	}
	return tickets > 0 && tickets >= t.MinTickets && total >= t.MinTotal
}

// Discounts returns how much less each line costs by the terms. Of a part of a minor unit that is half or more, the
// discount has the whole.
func Discounts(t *api.PromoTerms, items []api.OrderItem) []int64 {
	off := make([]int64, len(items))
	if !Qualifies(t, items) {
		return off
	}
	left := t.MaxTickets
	count := make([]int64, len(items)) // tickets that become cheaper
	for i, item := range items {
		n := item.Quantity
		if !Covers(t, item) {
			continue
		}
		if t.MaxTickets > 0 {
			n = min(n, left)
			left -= n
		}
		count[i] = int64(n)
	}
	switch t.Kind {
	case api.PromoPercent:
		percent, _ := ParsePercent(t.Percent)
		for i, item := range items {
			off[i] = part(item.UnitPrice.Amount*count[i], percent)
		}
	case api.PromoAmount:
		spread(t.Amount.Amount, items, count, off)
	case api.PromoPrice:
		for i, item := range items {
			off[i] = max(item.UnitPrice.Amount-t.Price.Amount, 0) * count[i]
		}
	case api.PromoBundle:
		for i, item := range items {
			if t.Buy > 0 {
				off[i] = count[i] / int64(t.Buy) * int64(t.Buy-t.Pay) * item.UnitPrice.Amount
			}
		}
	}
	return off
}

// part returns so many hundredths of a percent of an amount, rounded to the nearest, half up. The amount is far below
// overflow: see maxTotal of the ticketing service.
func part(amount, percent int64) int64 { return (amount*percent + whole/2) / whole }

// spread takes an amount off lines in proportion to what they cost, all of it unless they cost less.
func spread(amount int64, items []api.OrderItem, count, off []int64) {
	var total int64
	for i, item := range items {
		total += item.UnitPrice.Amount * count[i]
	}
	if amount = min(amount, total); total == 0 {
		return
	}
	var passed, given int64
	for i, item := range items {
		passed += item.UnitPrice.Amount * count[i]
		upTo := share(amount, passed, total)
		off[i] = upTo - given
		given = upTo
	}
}

// share returns amount * passed / total, rounded down, with passed at most total.
func share(amount, passed, total int64) int64 {
	hi, lo := bits.Mul64(uint64(amount), uint64(passed))
	q, _ := bits.Div64(hi, lo, uint64(total)) // fits: it is at most the amount
	return int64(q)
}

// Best returns the lines with the discounts of the terms that make them cheapest together, the first of those that are
// alike.
func Best(items []api.OrderItem, terms ...*api.PromoTerms) []api.OrderItem {
	var best []int64
	var most int64
	for _, t := range terms {
		off := Discounts(t, items)
		if sum := sumOf(off); sum > most {
			best, most = off, sum
		}
	}
	out := slices.Clone(items)
	for i := range best {
		if best[i] > 0 {
			out[i].Discount = api.Money{Amount: best[i], Currency: out[i].UnitPrice.Currency}
		}
	}
	return out
}

// Apart takes out of a line what comes with its tickets: parts are lines of that, at their part of the price of the
// tickets. What the line is cheaper by is spread over it and them in proportion, so that together they cost what the
// line did. A part is never more than is left of the price.
func Apart(item api.OrderItem, parts []api.OrderItem) (api.OrderItem, []api.OrderItem) {
	whole, off := item.UnitPrice.Amount*int64(item.Quantity), item.Discount.Amount
	all := slices.Clone(parts)
	for i := range all {
		p := &all[i]
		each := int64(p.Quantity / item.Quantity)
		p.UnitPrice.Amount = min(p.UnitPrice.Amount, item.UnitPrice.Amount/each)
		item.UnitPrice.Amount -= p.UnitPrice.Amount * each
	}
	if off == 0 {
		return item, all
	}
	var passed, given int64
	for i := range all {
		p := &all[i]
		passed += p.UnitPrice.Amount * int64(p.Quantity)
		upTo := share(off, passed, whole)
		if upTo > given {
			p.Discount = api.Money{Amount: upTo - given, Currency: item.Discount.Currency}
		}
		given = upTo
	}
	if item.Discount.Amount -= given; item.Discount.Amount == 0 {
		item.Discount = api.Money{}
	}
	return item, all
}

// Total returns what lines cost together by their prices, and how much less that is than without discounts.
func Total(items []api.OrderItem) (total, discount int64) {
	for _, item := range items {
		total += item.Cost()
		discount += item.Discount.Amount
	}
	return total, discount
}

func sumOf(list []int64) (sum int64) {
	for _, n := range list {
		sum += n
	}
	return sum
}
