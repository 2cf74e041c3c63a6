package price

import (
	"cmp"
	"math/bits"
	"slices"
	"strconv"
	"strings"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
)

// all is 100 % in thousandths of a percent, in which rates of tax and fees are counted.
const all = 100_000

// ParseRate returns thousandths of a percent, and whether text is a percentage from 0 to 100 with at most three
// decimals.
func ParseRate(text string) (int64, bool) { return parse(text, 3) }

// FormatRate writes thousandths of a percent as briefly as possible: 19, 7.5 or 8.875.
func FormatRate(rate int64) string {
	units, rest := strconv.FormatInt(rate/1000, 10), strconv.FormatInt(1000+rate%1000, 10)[1:]
	return strings.TrimSuffix(units+"."+strings.TrimRight(rest, "0"), ".")
}

// Terms are what an organizer charges beside the prices.
type Terms struct {
	Rounding string                        // api.RoundPerLine, which "" means, too, or api.RoundPerDocument
	Tax      func(ids.TicketType) *api.Tax // of a ticket type; nil: none
	Fees     []api.Fee
	FeeTax   api.Tax // of fees that name none
	Reverse  bool    // the buyer owes the taxes that say so: nothing is paid of them, on top or inside
}

// Charges are the lines of an order as they are paid. Total is the sum of the gross of items and fees; if there are
// taxes, it is that of the taxes, too.
type Charges struct {
	Items []api.OrderItem
	Fees  []api.OrderFee
	Taxes []api.TaxTotal
	Total int64
}

// taxable is a line, or what of a fee has the tax of one mode.
type taxable struct {
	base  int64
	tax   api.Tax
	rate  int64
	total **api.LineTotal
}

// Charge returns what lines cost with fees and tax. The lines have their discounts.
func Charge(items []api.OrderItem, t Terms) Charges {
	c := Charges{Items: slices.Clone(items)}
	if len(items) == 0 {
		return c
	}
	taxes := make([]api.Tax, len(items))
	for i, item := range items {
		taxes[i].Included = true
		if tax := t.Tax(item.TicketTypeID); tax != nil && tax.Rate != "" {
			taxes[i] = *tax
		}
	}
	var feeTaxes []api.Tax
	for _, f := range t.Fees {
		tax := f.Tax
		if tax.Rate == "" {
			tax = t.FeeTax
		}
		if tax.Rate == "" {
			tax.Included = true
		}
		for _, fee := range c.fee(f, taxes) {
			if f.Included {
				tax.Included = fee.mode
			}
			c.Fees, feeTaxes = append(c.Fees, fee.OrderFee), append(feeTaxes, tax)
		}
	}
	parts := make([]taxable, 0, len(c.Items)+len(c.Fees))
	for i := range c.Items {
		item := &c.Items[i]
		parts = append(parts, taxable{base: item.Cost() - item.IncludedFees.Amount, tax: taxes[i], total: &item.Tax})
	}
	for i := range c.Fees {
		parts = append(parts, taxable{base: c.Fees[i].Amount.Amount, tax: feeTaxes[i], total: &c.Fees[i].Tax})
	}
	currency := items[0].UnitPrice.Currency
	if slices.ContainsFunc(parts, func(p taxable) bool { return p.tax.Rate != "" }) {
		c.Taxes = taxed(parts, t, currency)
	}
	for _, item := range c.Items {
		c.Total += item.Gross()
	}
	for _, fee := range c.Fees {
		c.Total += fee.Gross()
	}
	return c
}

// charged is a fee of an order, and whether the tax of the lines that it is a part of is in their prices.
type charged struct {
	api.OrderFee
	mode bool
}

// fee returns what a fee comes to: per ticket for each line of tickets that costs something, per order once, or once
// for each mode of tax if it is a part of the prices, which then have it taken out. A ticket costs what comes with it,
// too.
func (c *Charges) fee(f api.Fee, taxes []api.Tax) []charged {
	percent, _ := ParseRate(f.Percent)
	currency := c.Items[0].UnitPrice.Currency
	var total int64
	for _, item := range c.Items {
		total += item.Cost()
	}
	if total == 0 {
		return nil
	}
	var list []charged
	add := func(amount int64, of ids.TicketType, n int, mode bool) {
		if amount > 0 {
			list = append(list, charged{api.OrderFee{Name: f.Name, TicketTypeID: of, Quantity: n,
				Amount: api.Money{Amount: amount, Currency: currency}, Included: f.Included}, mode})
		}
	}
	takeOut := func(i int, amount int64) int64 {
		item := &c.Items[i]
		amount = min(amount, item.Cost()-item.IncludedFees.Amount)
		if amount > 0 {
			item.IncludedFees = api.Money{Amount: item.IncludedFees.Amount + amount, Currency: currency}
		}
		return amount
	}
	if f.Per == api.FeePerTicket {
		for i, item := range c.Items {
			if item.IsProduct() {
				continue
			}
			cost := item.Cost()
			api.Included(c.Items, i, func(line, _ int) { cost += c.Items[line].Cost() })
			amount := rated(cost, percent)
			if cost > 0 {
				amount += f.Amount.Amount * int64(item.Quantity)
			}
			if f.Included {
				amount = takeOut(i, amount)
			}
			add(amount, item.TicketTypeID, item.Quantity, taxes[i].Included)
		}
		return list
	}
	amount := f.Amount.Amount + rated(total, percent)
	if !f.Included {
		add(amount, "", 1, false)
		return list
	}
	amount = min(amount, total)
	var passed, given int64
	of := map[bool]int64{}
	for i, item := range c.Items {
		passed += item.Cost()
		upTo := share(amount, passed, total)
		of[taxes[i].Included] += takeOut(i, upTo-given)
		given = upTo
	}
	add(of[true], "", 1, true)
	add(of[false], "", 1, false)
	return list
}

// rated returns so many thousandths of a percent of an amount, rounded to the nearest, half up.
func rated(amount, rate int64) int64 { return (amount*rate + all/2) / all }

// taxOf returns the tax that an amount has in it, or that comes on top of it, rounded to the nearest, half up.
func taxOf(amount, rate int64, included bool) int64 {
	if !included {
		return rated(amount, rate)
	}
	return (amount*rate + (all+rate)/2) / (all + rate)
}

// taxed writes net, tax and gross of all parts, and returns the sums of each rate, the highest first.
func taxed(parts []taxable, t Terms, currency string) []api.TaxTotal {
	type mode struct {
		rate     int64
		included bool
	}
	base, given := map[mode]int64{}, map[mode]int64{}
	var out []api.TaxTotal
	for i := range parts {
		p := &parts[i]
		p.rate, _ = ParseRate(p.tax.Rate)
		m := mode{p.rate, p.tax.Included}
		tax := taxOf(p.base, p.rate, p.tax.Included)
		if t.Rounding == api.RoundPerDocument {
			// Each line has what the tax of the sum grows by with it.
			base[m] += p.base
			tax = taxOf(base[m], p.rate, p.tax.Included) - given[m]
			given[m] += tax
		}
		net := p.base
		if p.tax.Included {
			net -= tax
		}
		reverse := t.Reverse && p.tax.ReverseCharge
		if reverse {
			p.rate, tax = 0, 0
		}
		money := func(n int64) api.Money { return api.Money{Amount: n, Currency: currency} }
		line := &api.LineTotal{Name: p.tax.Name, Rate: FormatRate(p.rate), Included: p.tax.Included,
			ReverseCharge: reverse, Net: money(net), Tax: money(tax), Gross: money(net + tax)}
		*p.total = line
		k := slices.IndexFunc(out, func(sum api.TaxTotal) bool { return sum.Has(line) })
		if k < 0 {
			k = len(out)
			out = append(out, api.TaxTotal{Name: line.Name, Rate: line.Rate, ReverseCharge: reverse, Net: money(0),
				Tax: money(0), Gross: money(0)})
		}
		out[k].Net.Amount += net
		out[k].Tax.Amount += tax
		out[k].Gross.Amount += net + tax
	}
	slices.SortStableFunc(out, highestFirst)
	return out
}

// highestFirst orders the sums of a document by their rates; what the buyer owes comes last.
func highestFirst(a, b api.TaxTotal) int {
	if a.ReverseCharge != b.ReverseCharge {
		if a.ReverseCharge {
			return 1
		}
		return -1
	}
	x, _ := ParseRate(a.Rate)
	y, _ := ParseRate(b.Rate)
	return cmp.Compare(y, x)
}

// Refund says what of an amount that goes back is of which rate. The taxes are those of the order, before has what went
// back of the gross of each, and want what is given back of each if there is as much left; what is not in it is taken
// from what is left of all. The amount is at most what is left. However an order is given back in parts, the sums of
// these are those of the order in the end.
func Refund(taxes []api.TaxTotal, before, want []int64, amount int64) (now []api.TaxTotal, after []int64) {
	if len(taxes) == 0 {
		return nil, nil
	}
	after = make([]int64, len(taxes))
	copy(after, before)
	take := make([]int64, len(taxes))
	rest, left := amount, int64(0)
	for i, t := range taxes {
		room := t.Gross.Amount - after[i]
		if i < len(want) {
			take[i] = min(want[i], room, rest)
		}
		rest -= take[i]
		left += room - take[i]
	}
	var passed, given int64
	for i, t := range taxes {
		room := t.Gross.Amount - after[i] - take[i]
		if passed += room; left > 0 {
			upTo := share(min(rest, left), passed, left)
			take[i] += upTo - given
			given = upTo
		}
	}
	for i, t := range taxes {
		if take[i] == 0 {
			continue
		}
		tax := nearest(t.Tax.Amount, after[i]+take[i], t.Gross.Amount) - nearest(t.Tax.Amount, after[i], t.Gross.Amount)
		after[i] += take[i]
		back := t
		back.Net.Amount, back.Tax.Amount, back.Gross.Amount = take[i]-tax, tax, take[i]
		now = append(now, back)
	}
	return now, after
}

// nearest returns amount * passed / total, rounded to the nearest, half up, with passed at most total.
func nearest(amount, passed, total int64) int64 {
	hi, lo := bits.Mul64(uint64(amount), uint64(passed))
	lo, carry := bits.Add64(lo, uint64(total)/2, 0)
	q, _ := bits.Div64(hi+carry, lo, uint64(total)) // fits: it is at most the amount
	return int64(q)
}
