package payment

import (
	"context"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
)

// The ledger says where money is. Every row is a transfer: it debits one account and credits another with the same
// amount, so the accounts balance by construction (the model of two-phase-free transfers in TigerBeetle's documentation,
// "Data Modeling"). Money of different currencies never meets.
//
//	capture      provider:<name> → sales            a payer has paid
//	             provider:<name> → suspense         a payer has paid what was not asked for
//	refund_owed  sales, suspense → refunds_payable  it was decided that money goes back
//	refund_paid  refunds_payable → provider:<name>  the provider has given it back
//	refund_failed  provider:<name> → refunds_payable  the money did not arrive, and is with the provider again
//	dispute      disputes → provider:<name>         the provider has taken what a payer reclaims
//	dispute_won  provider:<name> → disputes         and has given it back to us
//
// The arrow goes from the account that is debited to the one that is credited.
type transferRow struct {
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
	transferCapture    = "capture"
	transferRefundDue  = "refund_owed"
	transferRefundPaid = "refund_paid"

	transferRefundFailed = "refund_failed"
	transferDispute      = "dispute"
	transferDisputeWon   = "dispute_won"
)

// The accounts beside those of the providers.
const (
	accountSales    = "sales"           // what was sold: owed to the organizers
	accountSuspense = "suspense"        // what came without having been asked for
	accountRefunds  = "refunds_payable" // what buyers are owed
	accountDisputes = "disputes"        // what buyers have reclaimed by their banks
)

// accountOf is the money that a provider has collected for us.
func accountOf(provider string) string { return "provider:" + provider }

// enterCaptures enters the money of payments.
func enterCaptures(ctx context.Context, tx bun.Tx, rows []*paymentRow, credit string, now time.Time) error {
	transfers := make([]*transferRow, len(rows))
	for i, r := range rows {
		transfers[i] = &transferRow{Kind: transferCapture, PaymentID: r.ID, Debit: accountOf(r.Provider), Credit: credit,
			Amount: r.Captured, Currency: r.CapturedIn, At: now}
	}
	return enter(ctx, tx, transfers...)
}

// enter appends transfers. One that is there already is an error: the state of the payment should have kept it out.
func enter(ctx context.Context, tx bun.Tx, transfers ...*transferRow) error {
	if len(transfers) == 0 {
		return nil
	}
	_, err := tx.NewInsert().Model(&transfers).ExcludeColumn("id").Returning("NULL").Exec(ctx)
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
		) AS entries GROUP BY account, currency ORDER BY currency, account`).Scan(ctx, &rows)
	out := make([]api.AccountBalance, len(rows))
	for i, r := range rows {
		out[i] = api.AccountBalance{Account: r.Account, Debit: api.Money{Amount: r.Debit, Currency: r.Currency},
			Credit: api.Money{Amount: r.Credit, Currency: r.Currency}}
	}
	return out, err
}

func (s *Service) trialBalance(ctx context.Context, _ *rpc.None) (*api.List[api.AccountBalance], error) {
	items, err := TrialBalance(ctx, s.db)
	return &api.List[api.AccountBalance]{Items: items}, err
}
