package invoices

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/svc/ticketing/price"
)

// Whatever is ordered and however it goes back: the lines of each document are its sums, net and tax are gross in each
// rate, and credit notes of all that was paid are the invoice, in every rate and currency.
func TestDocumentsAddUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		currency := rapid.SampledFrom([]string{"EUR", "JPY", "KWD", "CHF"}).Draw(t, "currency")
		rates := []string{"", "0", "7", "19", "8.875"}
		kinds := []ids.TicketType{"a", "b", "c"}
		taxes := map[ids.TicketType]*api.Tax{}
		var items []api.OrderItem
		for _, k := range kinds[:rapid.IntRange(1, 3).Draw(t, "types")] {
			taxes[k] = &api.Tax{Name: "VAT", Rate: rapid.SampledFrom(rates).Draw(t, "rate"), Included: rapid.Bool().Draw(t, "included")}
			items = append(items, api.OrderItem{TicketTypeID: k, Name: string(k), Quantity: rapid.IntRange(1, 9).Draw(t, "n"),
				UnitPrice: api.Money{Amount: rapid.Int64Range(0, 1e6).Draw(t, "price"), Currency: currency}})
			if rapid.Bool().Draw(t, "product") {
				items[len(items)-1].Kind = api.KindProduct
			}
		}
		c := price.Charge(items, price.Terms{Rounding: rapid.SampledFrom([]string{"line", "document"}).Draw(t, "rounding"),
			Tax:    func(id ids.TicketType) *api.Tax { return taxes[id] },
			FeeTax: api.Tax{Rate: rapid.SampledFrom(rates).Draw(t, "of fees")},
			Fees: []api.Fee{{Name: "fee", Per: api.FeePerOrder, Amount: api.Money{Amount: rapid.Int64Range(0, 500).Draw(t, "fee"), Currency: currency}},
				{Name: "each", Per: api.FeePerTicket, Percent: "3.3", Included: rapid.Bool().Draw(t, "inside")}}})
		order := api.Order{Items: c.Items, Fees: c.Fees, Taxes: c.Taxes, Total: api.Money{Amount: c.Total, Currency: currency}}
		offer := &api.Offer{}
		offer.Organizer.Selling.Invoices = true
		var b Batch
		b.Paid(offer, order, nil, 1, time.Now())
		if c.Total == 0 {
			if len(b.rows) != 0 {
				t.Fatal("what is free has an invoice")
			}
			return
		}
		of := Issued{Row: b.rows[0], Documents: 1}
		var before []int64
		for left := c.Total; left > 0; {
			amount := rapid.Int64Range(1, left).Draw(t, "back")
			if rapid.IntRange(0, 3).Draw(t, "all") == 0 {
				amount = left
			}
			left -= amount
			due := api.RefundDue{Amount: api.Money{Amount: amount, Currency: currency}}
			due.Taxes, before = price.Refund(c.Taxes, before, nil, amount)
			b.Refund(of, due, nil, time.Now())
			of.Documents++
		}
		left := map[string][3]int64{}
		for _, r := range b.rows {
			sign, sums, lines := int64(1), [3]int64{}, map[string][3]int64{}
			if r.Kind == api.CreditNote {
				sign = -1
			}
			for _, l := range r.Document.Lines {
				was := lines[l.Rate]
				lines[l.Rate] = [3]int64{was[0] + l.Net.Amount, was[1] + l.Tax.Amount, was[2] + l.Gross.Amount}
			}
			for _, s := range r.Document.Taxes {
				got := [3]int64{s.Net.Amount, s.Tax.Amount, s.Gross.Amount}
				if got[0]+got[1] != got[2] || lines[s.Rate] != got {
					t.Fatalf("of rate %s there is %v, in lines %v: %+v", s.Rate, got, lines[s.Rate], r.Document)
				}
				was := left[s.Rate]
				for i := range got {
					sums[i] += got[i]
					was[i] += sign * got[i]
				}
				left[s.Rate] = was
			}
			if sums != [3]int64{r.Document.Net.Amount, r.Document.Tax.Amount, r.Document.Gross.Amount} {
				t.Fatalf("the sums of %+v are %v", r.Document, sums)
			}
		}
		if b.rows[0].Document.Gross != order.Total {
			t.Fatalf("%v is paid, the invoice is of %v", order.Total, b.rows[0].Document.Gross)
		}
		for rate, sums := range left {
			if sums != [3]int64{} {
				t.Fatalf("of rate %s there is left %v", rate, sums)
			}
		}
		sequences := make([]int, len(b.rows))
		for i, r := range b.rows {
			sequences[i] = r.Sequence
		}
		if !slices.IsSorted(sequences) || sequences[len(sequences)-1] != len(b.rows) {
			t.Fatalf("the documents are counted %v", sequences)
		}
	})
}

// The year of a number is that of the day at the seller.
func TestYearIsThatOfTheSeller(t *testing.T) {
	offer := &api.Offer{Event: api.Event{Timezone: "Pacific/Auckland"}}
	offer.Organizer.Selling = api.Selling{SalesTerms: api.SalesTerms{Invoices: true}, Seller: api.Seller{Timezone: "Europe/Berlin"}}
	order := api.Order{Total: eur(100)}
	var b Batch
	b.Paid(offer, order, nil, 1, time.Date(2030, 12, 31, 23, 30, 0, 0, time.UTC))
	offer.Organizer.Selling.Seller.Timezone = ""
	b.Paid(offer, order, nil, 1, time.Date(2030, 12, 31, 10, 30, 0, 0, time.UTC))
	b.Paid(offer, order, nil, 1, time.Date(2030, 12, 31, 11, 30, 0, 0, time.UTC))
	for i, year := range []int{2031, 2030, 2031} {
		if b.rows[i].Year != year {
			t.Errorf("invoice %d is of %d, want %d", i, b.rows[i].Year, year)
		}
	}
	if got := numberOf("KO-", 2031, 7); got != "KO-2031-00007" || numberOf("KO", 2031, 7) != got || numberOf("", 2031, 7) != "2031-00007" {
		t.Errorf("the number is %s", got)
	}
}
