package api

import (
	"errors"
	"math/big"
	"strings"
	"time"

	"github.com/bojanz/currency"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// Money is an amount in the minor unit of an ISO 4217 currency: 2500 EUR is twenty-five euros.
type Money struct {
	// in the minor unit of the currency: 2500 for 25.00 EUR, and for 2500 JPY
	Amount   int64  `json:"amount"`
	Currency string `json:"currency" pattern:"^[A-Z]{3}$"` // ISO 4217
}

// decimals returns how many digits of ISO 4217 a currency has behind the point. What people write is often fewer, as
// for rupiahs, and is not what amounts are counted in. A currency that is not known has two.
func decimals(code string) int {
	if n, ok := currency.GetDigits(code); ok {
		return int(n)
	}
	return 2
}

func power(decimals int) *big.Int {
	return new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(decimals)), nil)
}

// KnownCurrency reports whether code is a currency of ISO 4217 that is money in use, and no fund or unit of account.
func KnownCurrency(code string) bool {
	switch code {
	case "", "BOV", "CHE", "CHW", "CLF", "COU", "MXV", "USN", "UYI", "UYW", "XAD":
		return false
	}
	return currency.IsValid(code)
}

// Decimal writes the amount in major units, with as many decimals as the currency has: 25.00, or 2500 for yen.
func (m Money) Decimal() string {
	n := decimals(m.Currency)
	return new(big.Rat).SetFrac(big.NewInt(m.Amount), power(n)).FloatString(n)
}

// String is Decimal with the code of the currency: 25.00 EUR.
func (m Money) String() string { return m.Decimal() + " " + m.Currency }

// In writes the amount for readers of a language, a BCP 47 tag: 1,234.50 EUR in English, 1.234,50 EUR in German. The
// currency is its code: there are many dollars.
func (m Money) In(language string) string {
	amount, err := currency.NewAmountFromInt64(m.Amount, m.Currency)
	if err != nil {
		return m.String()
	}
	f := currency.NewFormatter(currency.NewLocale(language))
	f.CurrencyDisplay = currency.DisplayNone
	return f.Format(amount) + " " + m.Currency
}

// ParseMoney reads what Decimal writes. It refuses more decimals than the currency has, unless they are zero, and a
// currency that is not known.
func ParseMoney(text, code string) (Money, error) {
	m := Money{Currency: code}
	if !currency.IsValid(code) || code == "" {
		return m, errors.New("not a currency")
	}
	// Only plain decimals: big.Rat would read fractions and exponents, and an exponent can be enormous.
	if text == "" || len(text) > 30 || strings.Trim(text, "-0123456789.") != "" {
		return m, errors.New("not a number")
	}
	v, ok := new(big.Rat).SetString(text)
	if !ok {
		return m, errors.New("not a number")
	}
	v.Mul(v, new(big.Rat).SetInt(power(decimals(code))))
	if !v.IsInt() || !v.Num().IsInt64() {
		return m, errors.New("too many digits")
	}
	m.Amount = v.Num().Int64()
	return m, nil
}

// MoneyMonth is what moved of the money of an event, or of an organizer, in a month, at one provider and in one
// currency. What is still owed to buyers is the sum of RefundsOwed less that of Refunded.
type MoneyMonth struct {
	Month    string `json:"month"`    // such as 2031-05, in UTC
	Provider string `json:"provider"` // who has collected it: stripe, manual, box_office:cash
	// what buyers have paid
	Collected Money `json:"collected"`
	// what was decided to go back to buyers; in this month, whenever it does
	RefundsOwed Money `json:"refunds_owed"`
	// what has gone back to buyers
	Refunded Money `json:"refunded"`
	// what buyers have reclaimed by their banks, less what was won back in this month
	Disputed Money `json:"disputed"`
}

// ListOrganizerMoney is an endpoint of the payment service.
var ListOrganizerMoney = rpc.Endpoint[OrganizerRef, List[MoneyMonth]]{Spec: rpc.Spec{Service: "payment",
	Name: "organizer_money", Scopes: readKeys, Method: "GET", Path: "/v1/organizers/{id}/money", Access: rpc.User,
	Timeout: 10 * time.Second,
	Summary: "What moved of the money of all events of an organizer, by month, provider and currency, oldest first",
	Detail: "The numbers are those of the ledger. A payment and its refunds belong to the organizer that had " +
		"the event when it was begun.",
	Faults: forMembers(MayReadMoney, nil)}}

// OrganizerBalance is what an organizer is to be paid in a currency: Collected − Returned − PaidOut.
type OrganizerBalance struct {
	Collected Money `json:"collected"` // by payment providers: what was taken at a counter is with the organizer
	Returned  Money `json:"returned"`  // what goes back to buyers, or was reclaimed by their banks
	PaidOut   Money `json:"paid_out"`  // what the organizer has got
	Due       Money `json:"due"`       // below zero: more was returned after a payout than came in since
}

// DuePayout is what an organizer is to be paid in a currency.
type DuePayout struct {
	OrganizerID ids.Organizer    `json:"organizer_id"`
	Balance     OrganizerBalance `json:"balance"`
}

// Payout is money that an organizer was paid of what its buyers have paid.
type Payout struct {
	ID          ids.Payout    `json:"id"`
	OrganizerID ids.Organizer `json:"organizer_id"`
	Amount      Money         `json:"amount"`
	Reference   string        `json:"reference"`             // what the organizer finds on the statement of its bank
	By          ids.User      `json:"by"`                    // the administrator who has recorded it
	CreatedAt   time.Time     `json:"created_at"`            // when it was recorded
	ReturnedAt  *time.Time    `json:"returned_at,omitempty"` // when the money had come back; absent if it has not
}

// NewPayout records that an organizer was paid.
type NewPayout struct {
	OrganizerID ids.Organizer `json:"-" path:"id"`
	Amount      Money         `json:"amount"`
	Reference   string        `json:"reference" minLength:"1" maxLength:"140"` // what the bank was given
}

// PayoutRef names a payout.
type PayoutRef struct {
	ID ids.Payout `json:"-" path:"id"`
}

// PayoutPage asks for a page of the payouts of an organizer.
type PayoutPage struct {
	OrganizerID ids.Organizer `json:"-" path:"id"`
	Page
}

// The endpoints about what organizers are paid, which the payment service serves.
var (
	ListOrganizerBalances = rpc.Endpoint[OrganizerRef, List[OrganizerBalance]]{Spec: rpc.Spec{Service: "payment",
		Name: "organizer_balances", Scopes: readKeys, Method: "GET", Path: "/v1/organizers/{id}/balances",
		Access: rpc.User, Timeout: 10 * time.Second,
		Summary: "What an organizer is to be paid, by currency",
		Faults:  forMembers(MayReadMoney, nil)}}
	ListDuePayouts = rpc.Endpoint[Page, List[DuePayout]]{Spec: rpc.Spec{Service: "payment", Name: "due_payouts",
		Method: "GET", Path: "/v1/payouts/due", Access: rpc.Admin, Timeout: 30 * time.Second,
		Summary: "All organizers that are to be paid something, by their ids and by currency",
		Faults:  rpc.Faults{fault.NotFound: "", fault.Forbidden: notAdmin, fault.Conflict: ""}}}
	CreatePayout = rpc.Endpoint[NewPayout, Payout]{Spec: rpc.Spec{Service: "payment", Name: "create_payout",
		Method: "POST", Path: "/v1/organizers/{id}/payouts", Access: rpc.Admin, Status: 201, Idempotent: true,
		Audited: true, StepUp: true, Timeout: 10 * time.Second,
		Summary: "Record that an organizer was paid",
		Detail: "The system moves no money to banks: who does that records it here, and the ledger has it. It is " +
			"never more than what is due.",
		Faults: rpc.Faults{fault.NotFound: NoSuchOrganizer, fault.Forbidden: notAdmin,
			fault.Conflict: "less than that is due"}}}
	ReturnPayout = rpc.Endpoint[PayoutRef, Payout]{Spec: rpc.Spec{Service: "payment", Name: "return_payout",
		Method: "POST", Path: "/v1/payouts/{id}/return", Access: rpc.Admin, Audited: true, StepUp: true,
		Summary: "Record that the money of a payout has come back, or was never sent",
		Detail:  "It is due again. Once more changes nothing.",
		Faults:  rpc.Faults{fault.NotFound: "there is no such payout", fault.Forbidden: notAdmin, fault.Conflict: ""}}}
	ListPayouts = rpc.Endpoint[PayoutPage, List[Payout]]{Spec: rpc.Spec{Service: "payment", Name: "list_payouts",
		Scopes: readKeys, Method: "GET", Path: "/v1/organizers/{id}/payouts", Access: rpc.User,
		Summary: "What an organizer was paid, newest first",
		Faults:  forMembers(MayReadMoney, nil)}}
)

func payoutEndpoints() []rpc.Descriptor {
	return []rpc.Descriptor{ListOrganizerBalances.Describe(), ListDuePayouts.Describe(), CreatePayout.Describe(),
		ReturnPayout.Describe(), ListPayouts.Describe()}
}
