package price

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
)

func line(typ ids.TicketType, n int, price int64) api.OrderItem {
	return api.OrderItem{TicketTypeID: typ, Quantity: n, UnitPrice: api.Money{Amount: price, Currency: "EUR"}}
}

func euros(n int64) *api.Money { return &api.Money{Amount: n, Currency: "EUR"} }

func TestParsePercent(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, "12.5": 1250, "19": 1900, "7.05": 705, "100": 10000, "100.00": 10000,
		"100.01": -1, "": -1, ".5": -1, "5.": -1, "1.234": -1, "-1": -1, "1e1": -1, "1000": -1, " 1": -1} {
		if n, ok := ParsePercent(text); ok != (want >= 0) || ok && n != want {
			t.Errorf("%q is %d, %v", text, n, ok)
		}
	}
}

func TestDiscounts(t *testing.T) {
	now := time.Now()
	a, b := ids.New[ids.TicketTypeKind](now), ids.New[ids.TicketTypeKind](now)
	two := []api.OrderItem{line(a, 3, 1000), line(b, 1, 333)}
	for name, c := range map[string]struct {
		terms api.PromoTerms
		items []api.OrderItem
		want  []int64
	}{
		"percent, rounded half up": {api.PromoTerms{Kind: api.PromoPercent, Percent: "12.5"}, two, []int64{375, 42}},
		"percent of one type":      {api.PromoTerms{Kind: api.PromoPercent, Percent: "50", TicketTypeIDs: []ids.TicketType{b}}, two, []int64{0, 167}},
		"percent of two tickets":   {api.PromoTerms{Kind: api.PromoPercent, Percent: "10", MaxTickets: 2}, two, []int64{200, 0}},
		"amount":                   {api.PromoTerms{Kind: api.PromoAmount, Amount: euros(100)}, two, []int64{90, 10}},
		"amount beyond all":        {api.PromoTerms{Kind: api.PromoAmount, Amount: euros(1e12)}, two, []int64{3000, 333}},
		"price":                    {api.PromoTerms{Kind: api.PromoPrice, Price: euros(500)}, two, []int64{1500, 0}},
		"four for three":           {api.PromoTerms{Kind: api.PromoBundle, Buy: 4, Pay: 3}, []api.OrderItem{line(a, 9, 1000)}, []int64{2000}},
		"too few tickets":          {api.PromoTerms{Kind: api.PromoPercent, Percent: "10", MinTickets: 5}, two, []int64{0, 0}},
		"enough tickets":           {api.PromoTerms{Kind: api.PromoPercent, Percent: "10", MinTickets: 4}, two, []int64{300, 33}},
		"too little":               {api.PromoTerms{Kind: api.PromoPercent, Percent: "10", MinTotal: 3334}, two, []int64{0, 0}},
		"nothing":                  {api.PromoTerms{Kind: api.PromoNone}, two, []int64{0, 0}},
		"all":                      {api.PromoTerms{Kind: api.PromoPercent, Percent: "100"}, two, []int64{3000, 333}},
	} {
		if got := Discounts(&c.terms, c.items); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// Whatever the terms and the lines: no line costs less than nothing or more than before, the order costs the sum of its
// lines, and the tickets of a line cost together what the line does.
func TestAnyDiscountAddsUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var items []api.OrderItem
		var types []ids.TicketType
		for i := range rapid.IntRange(1, 5).Draw(t, "lines") {
			types = append(types, ids.Derive[ids.TicketTypeKind](string(rune('a'+i))))
			items = append(items, line(types[i], rapid.IntRange(1, 20).Draw(t, "n"), rapid.OneOf(rapid.Int64Range(0, 5000),
				rapid.Int64Range(0, 1e11)).Draw(t, "price")))
			if rapid.Bool().Draw(t, "product") {
				items[i].Kind = api.KindProduct
			}
		}
		terms := api.PromoTerms{
			Kind:    rapid.SampledFrom([]string{api.PromoNone, api.PromoPercent, api.PromoAmount, api.PromoPrice, api.PromoBundle}).Draw(t, "kind"),
			Percent: rapid.SampledFrom([]string{"0", "0.01", "33.33", "50", "99.99", "100"}).Draw(t, "percent"),
			Amount:  euros(rapid.Int64Range(0, 1e12).Draw(t, "amount")), Price: euros(rapid.Int64Range(0, 1e12).Draw(t, "other")),
			Buy: rapid.IntRange(1, 6).Draw(t, "buy"), MaxTickets: rapid.IntRange(0, 10).Draw(t, "most"),
			MinTickets: rapid.IntRange(0, 10).Draw(t, "least")}
		terms.Pay = rapid.IntRange(0, terms.Buy).Draw(t, "pay")
		if rapid.Bool().Draw(t, "some") {
			terms.TicketTypeIDs = types[:1]
		}
		best := Best(items, &terms, &api.PromoTerms{Kind: api.PromoPercent, Percent: "5"})
		total, discount := Total(best)
		var before, covered, tickets int64
		for i, item := range best {
			full := items[i].Cost()
			if !item.IsProduct() {
				covered += full
			} else if len(terms.TicketTypeIDs) == 0 && item.Discount.Amount > 0 {
				t.Fatalf("a product that nothing names is %v cheaper", item.Discount)
			}
			if item.Cost() < 0 || item.Cost() > full {
				t.Fatalf("a line of %d costs %d", full, item.Cost())
			}
			before += full
			low, high := item.GrossOf(item.Quantity-1), item.GrossOf(0)
			for n := range item.Quantity {
				tickets += item.GrossOf(n)
			}
			if high-low > 1 {
				t.Fatalf("tickets of one line cost %d and %d", low, high)
			}
		}
		if total+discount != before || tickets != total {
			t.Fatalf("lines of %d cost %d with %d off, their tickets %d", before, total, discount, tickets)
		}
		if five := sumOf(Discounts(&api.PromoTerms{Kind: api.PromoPercent, Percent: "5"}, items)); discount < five {
			t.Fatalf("%d off, and %d were possible", discount, five)
		}
		if terms.Kind == api.PromoAmount && len(terms.TicketTypeIDs) == 0 && terms.MaxTickets == 0 && Qualifies(&terms, items) {
			if got := sumOf(Discounts(&terms, items)); got != min(terms.Amount.Amount, covered) {
				t.Fatalf("%d of %d are off", got, terms.Amount.Amount)
			}
		}
	})
}
