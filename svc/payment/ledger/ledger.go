// Package ledger says where money is: every movement of a payment is a transfer between two accounts.
//
// Every row debits one account and credits another with the same amount, so the accounts balance by construction (the
// model of two-phase-free transfers in TigerBeetle's documentation, "Data Modeling"). Money of different currencies
// never meets.
//
//	capture      provider:<name> → sales            a payer has paid
//	             box_office:<how> → sales           a payer has paid at a counter, in cash or by card
//	             provider:<name> → suspense         a payer has paid what was not asked for
//	refund_owed  sales, suspense → refunds_payable  it was decided that money goes back
//	refund_paid  refunds_payable → provider:<name>  the provider has given it back
//	refund_failed  provider:<name> → refunds_payable  the money did not arrive, and is with the provider again
//	dispute      disputes → provider:<name>         the provider has taken what a payer reclaims
//	dispute_won  provider:<name> → disputes         and has given it back to us
//	payout       sales → bank                       an organizer was paid; back, if the money came back
//
// The arrow goes from the account that is debited to the one that is credited.
package ledger

import (
	"context"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/svc/payment/record"
)

// Transfer is an entry. It is never changed or deleted.
type Transfer struct {
	bun.BaseModel `bun:"table:ledger_transfers,alias:l"`

	ID        int64 `bun:",pk,autoincrement"`
	Kind      string
	PaymentID ids.Payment
	RefundID  ids.Refund
	Debit     string
	Credit    string
	Amount    int64
	Currency  string
	At        time.Time
}

// The kinds of transfers.
const (
	kindCapture      = "capture"
	kindRefundDue    = "refund_owed"
	kindRefundPaid   = "refund_paid"
	kindRefundFailed = "refund_failed"
	kindDispute      = "dispute"
	kindDisputeWon   = "dispute_won"
)

// The accounts beside those of the providers.
const (
	sales          = "sales"           // what was sold: owed to the organizers
	suspense       = "suspense"        // what came without having been asked for
	refundsPayable = "refunds_payable" // what buyers are owed
	disputes       = "disputes"        // what buyers have reclaimed by their banks
	bank           = "bank"            // what organizers were paid
)

// accountOf is the money that a provider has collected.
func accountOf(provider string) string { return "provider:" + provider }

// collector is the account of who has collected the money of a payment. At a counter, cash and card have their own.
func collector(p *record.Payment) string {
	if p.Method != "" {
		return p.Provider + ":" + p.Method
	}
	return accountOf(p.Provider)
}

// source is the account that the money of a payment was credited to.
func source(p *record.Payment) string {
	if p.Flag == record.FlagMismatch {
		return suspense
	}
	return sales
}

// Capture says that the provider has collected what the payment has captured.
func Capture(p *record.Payment, at time.Time) *Transfer {
	return &Transfer{Kind: kindCapture, PaymentID: p.ID, Debit: collector(p), Credit: source(p),
		Amount: p.Captured, Currency: p.CapturedIn, At: at}
}

// RefundDue says that money of the payment goes back.
func RefundDue(p *record.Payment, r *record.Refund, at time.Time) *Transfer {
	return ofRefund(kindRefundDue, r, source(p), refundsPayable, at)
}

// RefundPaid says that the provider has given the money back.
func RefundPaid(p *record.Payment, r *record.Refund, at time.Time) *Transfer {
	return ofRefund(kindRefundPaid, r, refundsPayable, collector(p), at)
}

// RefundFailed says that the money did not arrive and is with the provider again.
func RefundFailed(p *record.Payment, r *record.Refund, at time.Time) *Transfer {
	return ofRefund(kindRefundFailed, r, collector(p), refundsPayable, at)
}

func ofRefund(kind string, r *record.Refund, debit, credit string, at time.Time) *Transfer {
	return &Transfer{Kind: kind, PaymentID: r.PaymentID, RefundID: r.Entry(), Debit: debit, Credit: credit,
		Amount: r.Amount, Currency: r.Currency, At: at}
}

// Dispute says that the provider has taken the money that a payer reclaims under the id of the dispute.
func Dispute(p *record.Payment, id string, amount api.Money, at time.Time) *Transfer {
	return &Transfer{Kind: kindDispute, PaymentID: p.ID, RefundID: ids.Refund(id), Debit: disputes,
		Credit: collector(p), Amount: amount.Amount, Currency: amount.Currency, At: at}
}

// DisputeWon says that the provider has given it back to us.
func DisputeWon(p *record.Payment, id string, amount api.Money, at time.Time) *Transfer {
	t := Dispute(p, id, amount, at)
	t.Kind, t.Debit, t.Credit = kindDisputeWon, t.Credit, t.Debit
	return t
}

// Enter appends transfers, within the caller's transaction. One that is there already is an error: the state of the
// payment should have kept it out.
func Enter(ctx context.Context, tx bun.Tx, transfers ...*Transfer) error {
	_, err := store.Insert(ctx, tx, transfers, "")
	return err
}

// TrialBalance returns every account, in the order of currencies and names. In each currency the debits of all accounts
// are their credits.
func TrialBalance(ctx context.Context, db *store.DB) ([]api.AccountBalance, error) {
	var rows []struct {
		Account  string
		Currency string
		Debit    int64
		Credit   int64
	}
	err := db.Read().NewRaw(`SELECT account, currency, SUM(debit) AS debit, SUM(credit) AS credit FROM (
			SELECT debit AS account, currency, amount AS debit, 0 AS credit FROM ledger_transfers
			UNION ALL
			SELECT credit, currency, 0, amount FROM ledger_transfers
			UNION ALL
			SELECT CASE returns WHEN '' THEN ?0 ELSE ?1 END, currency, amount, 0 FROM payouts
			UNION ALL
			SELECT CASE returns WHEN '' THEN ?1 ELSE ?0 END, currency, 0, amount FROM payouts
		) AS entries GROUP BY account, currency ORDER BY currency, account`, sales, bank).Scan(ctx, &rows)
	out := make([]api.AccountBalance, len(rows))
	for i, r := range rows {
		out[i] = api.AccountBalance{Account: r.Account, Debit: api.Money{Amount: r.Debit, Currency: r.Currency},
			Credit: api.Money{Amount: r.Credit, Currency: r.Currency}}
	}
	return out, err
}
