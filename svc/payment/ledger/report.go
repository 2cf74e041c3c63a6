package ledger

import (
	"cmp"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/store"
)

// columns are where a report has what is needed. The names are ours, and those of Stripe's report "Itemized balance
// change from activity", https://docs.stripe.com/reports/report-types.
type columns struct {
	kind, reference, amount, currency int
	major                             bool // amounts are in major units, as 25.00
}

func findColumns(header []string) (columns, error) {
	at := map[string]int{}
	for i, name := range header {
		at[strings.ToLower(strings.TrimSpace(strings.TrimPrefix(name, "\ufeff")))] = i
	}
	for _, names := range [][4]string{
		{"type", "reference", "amount", "currency"},
		{"reporting_category", "payment_metadata[payment_id]", "gross", "currency"},
	} {
		var c [4]int
		missing := false
		for i, name := range names {
			n, ok := at[name]
			c[i], missing = n, missing || !ok
		}
		if !missing {
			return columns{kind: c[0], reference: c[1], amount: c[2], currency: c[3], major: names[2] == "gross"}, nil
		}
	}
	return columns{}, fault.New(fault.Invalid, "the report needs the columns type, reference, amount and currency, "+
		"or reporting_category, payment_metadata[payment_id], gross and currency")
}

// account is one payment in one currency, with what was collected and given back of it.
type account struct {
	payment  string
	currency string
}

// Reconcile compares our ledger with a provider's report, to the cent and for each payment. It returns how many
// payments it compared and the differences. Rows of the report that are of no payment, such as fees and payouts, are
// passed over. The report has to be of all time.
func Reconcile(ctx context.Context, db *store.DB, provider string, report io.Reader) (compared int,
	differences []string, err error) {
	theirs, err := readReport(report)
	if err != nil {
		return 0, nil, err
	}
	ours := map[account]sums{}
	var rows []struct {
		PaymentID ids.Payment
		Kind      string
		Currency  string
		Amount    int64
	}
	err = db.Read().NewRaw(`SELECT payment_id, kind, currency, SUM(amount) AS amount FROM ledger_transfers
		WHERE debit = ? OR credit = ? GROUP BY payment_id, kind, currency`, accountOf(provider), accountOf(provider)).Scan(ctx, &rows)
	if err != nil {
		return 0, nil, err
	}
	for _, r := range rows {
		a := account{r.PaymentID.String(), r.Currency}
		s := ours[a]
		s.add(r.Kind, r.Amount)
		ours[a] = s
	}
	all := maps.Clone(ours)
	maps.Copy(all, theirs)
	for _, a := range slices.SortedFunc(maps.Keys(all), func(a, b account) int {
		return cmp.Or(cmp.Compare(a.payment, b.payment), cmp.Compare(a.currency, b.currency))
	}) {
		if we, they := ours[a], theirs[a]; we != they {
			differences = append(differences,
				fmt.Sprintf("payment %s: we say %d %s collected, %d given back and %d disputed, %s says %d, %d and %d",
					a.payment, we.captured, a.currency, we.paid, we.disputed, provider, they.captured,
					they.paid, they.disputed))
		}
	}
	return len(all), differences, nil
}

func readReport(r io.Reader) (map[account]sums, error) {
	in := csv.NewReader(r)
	header, err := in.Read()
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "the report cannot be read")
	}
	c, err := findColumns(header)
	if err != nil {
		return nil, err
	}
	out := map[account]sums{}
	for {
		row, err := in.Read()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fault.Wrap(err, fault.Invalid, "the report cannot be read")
		}
		line, _ := in.FieldPos(0)
		kind := strings.TrimPrefix(strings.ToLower(row[c.kind]), "partial_")
		switch kind {
		case "charge", "refund", "refund_failure", "dispute", "dispute_reversal":
		default:
			continue
		}
		a := account{row[c.reference], strings.ToUpper(row[c.currency])}
		amount, err := c.minor(row[c.amount], a.currency)
		if err != nil {
			return nil, fault.Wrap(err, fault.Invalid, "line %d of the report: %q is no amount of %s", line,
				row[c.amount], a.currency)
		}
		s := out[a]
		switch kind {
		case "charge":
			s.captured += amount
		case "refund", "refund_failure":
			s.paid -= amount
		default:
			s.disputed -= amount
		}
		out[a] = s
	}
}

// minor reads an amount in minor units.
func (c columns) minor(text, code string) (int64, error) {
	if !c.major {
		return strconv.ParseInt(text, 10, 64)
	}
	m, err := api.ParseMoney(text, code)
	return m.Amount, err
}
