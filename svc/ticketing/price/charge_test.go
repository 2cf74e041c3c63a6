package price

import (
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
)

func TestParseRate(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, "19": 19000, "7.5": 7500, "8.875": 8875, "100": 100_000,
		"100.001": -1, "8.8755": -1, "": -1, "-1": -1, "19.": -1} {
		if n, ok := ParseRate(text); ok != (want >= 0) || ok && n != want {
			t.Errorf("%q is %d, %v", text, n, ok)
		}
	}
	for rate, want := range map[int64]string{0: "0", 19000: "19", 7500: "7.5", 8875: "8.875", 50: "0.05"} {
		if got := FormatRate(rate); got != want {
			t.Errorf("%d is %q, want %q", rate, got, want)
		}
	}
}

func vat(rate string, included bool) *api.Tax {
	return &api.Tax{Name: "VAT", Rate: rate, Included: included}
}

func eur(n int64) api.Money { return api.Money{Amount: n, Currency: "EUR"} }

// What people expect to see on paper.
func TestCharge(t *testing.T) {
	a, b := ids.Derive[ids.TicketTypeKind]("a"), ids.Derive[ids.TicketTypeKind]("b")
	two := []api.OrderItem{line(a, 3, 1000), line(b, 1, 335)}
	both := func(tax *api.Tax) func(ids.TicketType) *api.Tax {
		return func(ids.TicketType) *api.Tax { return tax }
	}
	type sum struct {
		rate            string
		net, tax, gross int64
	}
	for name, c := range map[string]struct {
		items []api.OrderItem
		terms Terms
		total int64
		sums  []sum
		fees  []int64
	}{
		"nothing":                {two, Terms{Tax: both(nil)}, 3335, nil, nil},
		"in the price":           {two, Terms{Tax: both(vat("19", true))}, 3335, []sum{{"19", 2803, 532, 3335}}, nil},
		"on top":                 {two, Terms{Tax: both(vat("19", false))}, 3969, []sum{{"19", 3335, 634, 3969}}, nil},
		"on top, three decimals": {two, Terms{Tax: both(vat("8.875", false))}, 3631, []sum{{"8.875", 3335, 296, 3631}}, nil},
		"rounded per line": {[]api.OrderItem{line(a, 1, 33), line(b, 1, 33)},
			Terms{Tax: both(vat("1.6", false))}, 68, []sum{{"1.6", 66, 2, 68}}, nil},
		"rounded per document": {[]api.OrderItem{line(a, 1, 33), line(b, 1, 33)},
			Terms{Tax: both(vat("1.6", false)), Rounding: api.RoundPerDocument}, 67, []sum{{"1.6", 66, 1, 67}}, nil},
		"a fee on top, with its own rate": {two, Terms{Tax: both(vat("7", true)), Fees: []api.Fee{{Name: "Service",
			Per: api.FeePerTicket, Amount: eur(100), Tax: *vat("19", true)}}}, 3735,
			[]sum{{"19", 336, 64, 400}, {"7", 3117, 218, 3335}}, []int64{300, 100}},
		"a fee in the price": {two, Terms{Tax: both(vat("7", true)), Fees: []api.Fee{{Name: "Service",
			Per: api.FeePerOrder, Percent: "10", Included: true, Tax: *vat("19", true)}}}, 3335,
			[]sum{{"19", 281, 53, 334}, {"7", 2804, 197, 3001}}, []int64{334}},
		"a fee without tax beside taxed tickets": {two, Terms{Tax: both(vat("7", true)), Fees: []api.Fee{{Name: "Gift",
			Per: api.FeePerOrder, Amount: eur(50)}}}, 3385, []sum{{"7", 3117, 218, 3335}, {"0", 50, 0, 50}}, []int64{50}},
		"owed by the buyer, of prices with tax": {two, Terms{Reverse: true, Tax: func(typ ids.TicketType) *api.Tax {
			return &api.Tax{Name: "VAT", Rate: "19", Included: true, ReverseCharge: typ == a}
		}}, 2521 + 335, []sum{{"19", 282, 53, 335}, {"0", 2521, 0, 2521}}, nil},
		"owed by the buyer, on top of prices": {two, Terms{Reverse: true, Tax: both(&api.Tax{Rate: "19", ReverseCharge: true})},
			3335, []sum{{"0", 3335, 0, 3335}}, nil},
		"beside what has no tax at all": {two, Terms{Reverse: true, Tax: func(typ ids.TicketType) *api.Tax {
			return &api.Tax{Rate: map[bool]string{true: "19", false: "0"}[typ == a], ReverseCharge: typ == a}
		}}, 3335, []sum{{"0", 335, 0, 335}, {"0", 3000, 0, 3000}}, nil},
		"nothing is owed by a person": {two, Terms{Tax: both(&api.Tax{Rate: "19", Included: true, ReverseCharge: true})},
			3335, []sum{{"19", 2803, 532, 3335}}, nil},
		"no fee on what is free": {[]api.OrderItem{line(a, 2, 0)}, Terms{Tax: both(nil), Fees: []api.Fee{{Name: "F",
			Per: api.FeePerTicket, Amount: eur(50)}, {Name: "G", Per: api.FeePerOrder, Amount: eur(50)}}}, 0, nil, nil},
	} {
		got := Charge(c.items, c.terms)
		if got.Total != c.total || len(got.Taxes) != len(c.sums) || len(got.Fees) != len(c.fees) {
			t.Errorf("%s: %+v, want %d", name, got, c.total)
			continue
		}
		for i, s := range c.sums {
			if x := got.Taxes[i]; (sum{x.Rate, x.Net.Amount, x.Tax.Amount, x.Gross.Amount}) != s {
				t.Errorf("%s: %+v, want %+v", name, x, s)
			}
		}
		for i, n := range c.fees {
			if got.Fees[i].Gross() != n {
				t.Errorf("%s: fee %d of %d, want %d", name, i, got.Fees[i].Gross(), n)
			}
		}
	}
}

// currencies without decimals, with two and with three: amounts are always in the smallest unit.
var currencies = []string{"JPY", "EUR", "USD", "KWD"}

func drawTax(t *rapid.T, label string) *api.Tax {
	rate := rapid.SampledFrom([]string{"", "0", "0.001", "5", "7", "8.875", "19", "25.5", "100"}).Draw(t, label)
	if rate == "" {
		return nil
	}
	tax := vat(rate, rapid.Bool().Draw(t, label+" included"))
	tax.ReverseCharge = rapid.Bool().Draw(t, label+" where the buyer is")
	return tax
}

// drawCharges returns the charges of any order.
func drawCharges(t *rapid.T) (Charges, []api.OrderItem, Terms) {
	currency := rapid.SampledFrom(currencies).Draw(t, "currency")
	money := func(n int64) api.Money { return api.Money{Amount: n, Currency: currency} }
	var items []api.OrderItem
	taxes := map[ids.TicketType]*api.Tax{}
	for i := range rapid.IntRange(1, 5).Draw(t, "lines") {
		typ := ids.Derive[ids.TicketTypeKind](string(rune('a' + i)))
		item := api.OrderItem{TicketTypeID: typ, Quantity: rapid.IntRange(1, 20).Draw(t, "n"),
			UnitPrice: money(rapid.OneOf(rapid.Int64Range(0, 50), rapid.Int64Range(0, 100_000),
				rapid.Int64Range(0, 1e11)).Draw(t, "price"))}
		if i > 0 && rapid.Bool().Draw(t, "product") {
			item.Kind = api.KindProduct
		}
		item.Discount = money(rapid.Int64Range(0, item.Cost()).Draw(t, "discount"))
		items, taxes[typ] = append(items, item), drawTax(t, "rate")
	}
	terms := Terms{Tax: func(id ids.TicketType) *api.Tax { return taxes[id] },
		Rounding: rapid.SampledFrom([]string{"", api.RoundPerLine, api.RoundPerDocument}).Draw(t, "rounding"),
		Reverse:  rapid.Bool().Draw(t, "reverse charge")}
	for i := range rapid.IntRange(0, 3).Draw(t, "fees") {
		fee := api.Fee{
			Name:     "Fee " + strconv.Itoa(i),
			Per:      rapid.SampledFrom([]string{api.FeePerOrder, api.FeePerTicket}).Draw(t, "per"),
			Included: rapid.Bool().Draw(t, "in the price"),
		}
		if tax := drawTax(t, "fee rate"); tax != nil {
			fee.Tax = *tax
		}
		if rapid.Bool().Draw(t, "percent") {
			fee.Percent = rapid.SampledFrom([]string{"0", "0.001", "2.5", "10", "33.333", "100"}).
				Draw(t, "fee percent")
		} else {
			fee.Amount = money(rapid.Int64Range(1, 10_000).Draw(t, "fee amount"))
		}
		terms.Fees = append(terms.Fees, fee)
	}
	if tax := drawTax(t, "event rate"); tax != nil {
		terms.FeeTax = *tax
	}
	return Charge(items, terms), items, terms
}

// Whatever is ordered: net and tax are the gross of each line and each rate, a rate has the sums of its lines, all that
// is shown adds up to what is paid, and what is a part of a price makes nothing dearer.
func TestAnyChargesAddUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, items, terms := drawCharges(t)
		order := api.Order{Items: c.Items, Fees: c.Fees}
		type rate struct {
			rate    string
			reverse bool
		}
		sums := map[rate][3]int64{}
		var lines, tickets, loose int64
		add := func(total *api.LineTotal, gross int64) {
			lines += gross
			if total == nil {
				return
			}
			if total.Net.Amount+total.Tax.Amount != total.Gross.Amount || total.Gross.Amount != gross ||
				total.Net.Amount < 0 || total.Tax.Amount < 0 {
				t.Fatalf("a line of %d: %+v", gross, total)
			}
			at := rate{total.Rate, total.ReverseCharge}
			s := sums[at]
			sums[at] = [3]int64{s[0] + total.Net.Amount, s[1] + total.Tax.Amount, s[2] + gross}
		}
		for i, item := range c.Items {
			add(item.Tax, item.Gross())
			for n := range item.Quantity {
				tickets += order.PaidFor(i, n)
			}
		}
		for _, fee := range c.Fees {
			add(fee.Tax, fee.Gross())
			for _, item := range c.Items {
				if item.IsProduct() && item.TicketTypeID == fee.TicketTypeID {
					t.Fatalf("a product is charged the fee of a ticket: %+v", fee)
				}
			}
			if fee.TicketTypeID == "" {
				loose += fee.Gross()
			}
		}
		if lines != c.Total || tickets+loose != c.Total {
			t.Fatalf("lines of %d, tickets of %d and fees of %d are %d", lines, tickets, loose, c.Total)
		}
		var gross int64
		for _, s := range c.Taxes {
			gross += s.Gross.Amount
			if got := sums[rate{s.Rate, s.ReverseCharge}]; got != [3]int64{s.Net.Amount, s.Tax.Amount, s.Gross.Amount} ||
				s.Net.Amount+s.Tax.Amount != s.Gross.Amount {
				t.Fatalf("at %s %% lines have %v, and the sums are %+v", s.Rate, got, s)
			}
		}
		if len(sums) != len(c.Taxes) || len(c.Taxes) > 0 && gross != c.Total {
			t.Fatalf("%d rates are shown of %d, with %d of %d", len(c.Taxes), len(sums), gross, c.Total)
		}
		for _, s := range c.Taxes {
			order.ReverseCharge = order.ReverseCharge || s.ReverseCharge
		}
		var billed int64
		for _, item := range c.Items {
			billed += item.Cost()
		}
		for _, l := range order.Extras() {
			if l.Kind != api.BillIncludedTax {
				billed += l.Amount.Amount
			}
		}
		if billed != c.Total {
			t.Fatalf("the bill comes to %d, and %d is paid", billed, c.Total)
		}
		owedByBuyer(t, c, items, terms)
		terms.Reverse = false
		c = Charge(items, terms)
		terms.Fees, terms.FeeTax = nil, api.Tax{}
		terms.Tax = func(ids.TicketType) *api.Tax { return nil }
		if plain := Charge(items, terms); !rises(c) && plain.Total != c.Total {
			t.Fatalf("%d instead of %d", c.Total, plain.Total)
		}
	})
}

// owedByBuyer checks that of what the buyer owes the tax of just the net is paid, and that all else is as it would be.
func owedByBuyer(t *rapid.T, c Charges, items []api.OrderItem, terms Terms) {
	plain := terms
	plain.Reverse = false
	taxed := Charge(items, plain)
	same := func(got, was *api.LineTotal, says bool) {
		if got == nil || was == nil || !terms.Reverse || !says {
			if (got == nil) != (was == nil) || got != nil && *got != *was {
				t.Fatalf("a line is %+v, and without reverse charge %+v", got, was)
			}
			return
		}
		if !got.ReverseCharge || got.Rate != "0" || got.Tax.Amount != 0 || got.Net != was.Net || got.Gross != was.Net {
			t.Fatalf("of %+v the buyer pays %+v", was, got)
		}
	}
	for i, item := range c.Items {
		tax := terms.Tax(item.TicketTypeID)
		same(item.Tax, taxed.Items[i].Tax, tax != nil && tax.ReverseCharge)
	}
	for i, fee := range c.Fees {
		tax := terms.FeeTax
		for _, f := range terms.Fees {
			if f.Name == fee.Name && f.Tax.Rate != "" {
				tax = f.Tax
			}
		}
		same(fee.Tax, taxed.Fees[i].Tax, tax.ReverseCharge)
	}
}

// rises reports whether something comes on top of the prices.
func rises(c Charges) bool {
	for _, item := range c.Items {
		if item.Tax != nil && !item.Tax.Included {
			return true
		}
	}
	for _, fee := range c.Fees {
		if !fee.Included || fee.Tax != nil && !fee.Tax.Included {
			return true
		}
	}
	return false
}

// In however many parts an order is given back, by tickets or by amounts: each part is net and tax of its rates, and
// all of them together are those of the order.
func TestAnyRefundsAddUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, _, _ := drawCharges(t)
		left := c.Total
		var before []int64
		sums := map[api.TaxTotal][3]int64{}
		kind := func(s api.TaxTotal) api.TaxTotal { return api.TaxTotal{Rate: s.Rate, ReverseCharge: s.ReverseCharge} }
		for left > 0 {
			amount := rapid.Int64Range(1, left).Draw(t, "amount")
			if rapid.Bool().Draw(t, "all") {
				amount = left
			}
			want := make([]int64, len(c.Taxes))
			for i := range want {
				want[i] = rapid.Int64Range(0, amount).Draw(t, "want")
			}
			now, after := Refund(c.Taxes, before, want, amount)
			var gross int64
			for _, s := range now {
				gross += s.Gross.Amount
				if s.Net.Amount < 0 || s.Tax.Amount < 0 || s.Net.Amount+s.Tax.Amount != s.Gross.Amount {
					t.Fatalf("a part: %+v", s)
				}
				all := sums[kind(s)]
				sums[kind(s)] = [3]int64{all[0] + s.Net.Amount, all[1] + s.Tax.Amount, all[2] + s.Gross.Amount}
			}
			if len(c.Taxes) > 0 && gross != amount {
				t.Fatalf("%d is given back as %+v", amount, now)
			}
			before, left = after, left-amount
		}
		for _, s := range c.Taxes {
			if got := sums[kind(s)]; got != [3]int64{s.Net.Amount, s.Tax.Amount, s.Gross.Amount} {
				t.Fatalf("of %+v all that went back is %v", s, got)
			}
		}
	})
}
