// Package doors lets people in.
//
// The doors of an event can be handed over to a venue, whose computer then decides alone, with the line to the system
// cut if need be. This side knows at each moment whether it may admit, hands over and takes back, keeps the manifest of
// tickets that a venue follows, and applies the journal of what a venue has decided.
package doors

import (
	"context"
	"log/slog"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/batch"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/keyring"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/settings"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/svc/ticketing/offers"
)

// Deps is what the doors stand on.
type Deps struct {
	DB      *store.DB
	Client  *rpc.Client
	Live    *settings.Live
	Offers  *offers.Offers
	Keys    *keyring.Ring // that sign the codes of tickets
	Log     *slog.Logger
	Metrics *observe.Registry
	Now     func() time.Time

	// Leases returns the seats that a venue may sell, by event.
	Leases func(ctx context.Context, venue ids.Venue, events []ids.Event) (map[ids.Event][]line.Lease, error)

	// Sell prepares what a journal says of sales, reversals and leases.
	Sell func(ctx context.Context, venue ids.Venue, entries []line.Entry) (Selling, error)
}

// Selling applies entries of a venue's journal that are no scans. An entry that makes no sense is no error: it would
// stop the journal.
type Selling struct {
	Reset  func(bun.Tx) // at the beginning of each run of the transaction
	Apply  func(context.Context, bun.Tx, line.Entry) error
	Last   func(context.Context, bun.Tx) error // the last step of the transaction
	Finish func(context.Context)               // after the commit
}

// Doors is the doors of all events, as one instance of the service sees them.
type Doors struct {
	db     doorStore
	client *rpc.Client
	live   *settings.Live
	offers *offers.Offers
	keys   *keyring.Ring
	log    *slog.Logger
	now    func() time.Time
	leases func(context.Context, ids.Venue, []ids.Event) (map[ids.Event][]line.Lease, error)
	sell   func(context.Context, ids.Venue, []line.Entry) (Selling, error)

	scans   *batch.Group[scan, scanned]
	metrics metrics
}

type metrics struct {
	forwarded, refused, restored, unanswered *observe.Counter
	registry                                 *observe.Registry
}

// flagged counts a scan that a person should look at.
func (m metrics) flagged(flag string) {
	m.registry.Counter("starlight_ticketing_flagged_scans_total",
		"Scans of venues that a person should look at, by the reason.", "flag", flag).Inc()
}

// doorStore is the tables of the doors.
type doorStore struct{ *store.DB }

type tx = bun.Tx

// batchSize is how many scans one transaction takes.
const batchSize = 500

// New returns the doors. Close ends them.
func New(d Deps) *Doors {
	s := &Doors{db: doorStore{d.DB}, client: d.Client, live: d.Live, offers: d.Offers, keys: d.Keys, log: d.Log,
		now: d.Now, leases: d.Leases, sell: d.Sell, metrics: metrics{registry: d.Metrics,
			forwarded: d.Metrics.Counter("starlight_ticketing_forwarded_scans_total",
				"Scans that were passed on to the venue that admits."),
			refused: d.Metrics.Counter("starlight_ticketing_journal_refused_total",
				"Entries of a venue's journal that made no sense. Anything but 0 is a defect of the venue's program."),
			unanswered: d.Metrics.Counter("starlight_ticketing_refused_answers_total",
				"Answers that a venue has taken at its doors, and that could not be kept."),
			restored: d.Metrics.Counter("starlight_ticketing_doors_adopted_total",
				"Doors that a venue turned out to hold: this database was restored from a backup."),
		}}
	s.scans = batch.New(batchSize, 16*batchSize, s.commitScans)
	return s
}

// Register binds the endpoints.
func (s *Doors) Register(srv *rpc.Server) {
	rpc.Handle(srv, api.AdmitTicket, func(ctx context.Context, req *api.Admission) (*api.AdmissionResult, error) {
		return s.scan(ctx, req, false)
	})
	rpc.Handle(srv, api.ExitTicket, func(ctx context.Context, req *api.Admission) (*api.ExitResult, error) {
		out, err := s.scan(ctx, req, true)
		if err != nil {
			return nil, err
		}
		return &api.ExitResult{Result: out.Result}, nil
	})
	rpc.Handle(srv, api.ListAdmissions, s.admissions)
	rpc.Handle(srv, api.UndoAdmission, s.undo)
	rpc.Handle(srv, api.ListRefusedAnswers, s.refusedAnswers)
	rpc.Handle(srv, api.SetAuthority, s.handOver)
	rpc.Handle(srv, api.GetAuthority, s.authority)
	rpc.Handle(srv, api.EndAuthority, s.takeBack)

	rpc.Handle(srv, line.VenueScan, s.deviceScan)
	rpc.Handle(srv, line.VenueHello, s.hello)
	rpc.Handle(srv, line.VenueState, s.state)
	rpc.Handle(srv, line.VenueManifest, s.manifest)
	rpc.Handle(srv, line.VenueTake, s.taken)
	rpc.Handle(srv, line.VenueReturn, s.returned)
	rpc.Handle(srv, line.VenueJournal, s.journal)
}

// Close finishes the scans under way. Call it when no request can come any more.
func (s *Doors) Close() { s.scans.Close() }
