// Package ticketing sells seats and lets people in.
//
// The seats are decided in JetStream (package inventory); orders, tickets and admissions are recorded in SQL, which has
// a fence of its own against overselling and from which the inventory can be rebuilt.
package ticketing

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/singleflight"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/batch"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/keyring"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/rpc/live"
	"github.com/starlightsymphony/starlight/shared/run"
	"github.com/starlightsymphony/starlight/shared/seal"
	"github.com/starlightsymphony/starlight/shared/settings"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/stream"
	"github.com/starlightsymphony/starlight/svc/ticketing/closures"
	"github.com/starlightsymphony/starlight/svc/ticketing/codes"
	"github.com/starlightsymphony/starlight/svc/ticketing/doors"
	"github.com/starlightsymphony/starlight/svc/ticketing/guests"
	"github.com/starlightsymphony/starlight/svc/ticketing/imports"
	"github.com/starlightsymphony/starlight/svc/ticketing/inventory"
	"github.com/starlightsymphony/starlight/svc/ticketing/invoices"
	"github.com/starlightsymphony/starlight/svc/ticketing/leases"
	"github.com/starlightsymphony/starlight/svc/ticketing/offers"
	"github.com/starlightsymphony/starlight/svc/ticketing/retention"
	"github.com/starlightsymphony/starlight/svc/ticketing/vies"
)

//go:embed migrations
var migrations embed.FS

// Migrations returns the service's tables.
func Migrations() fs.FS { return migrations }

// Sealed returns the columns with secrets.
func Sealed() []seal.Column { return []seal.Column{keyring.Seeds()} }

// Deps is what the service stands on.
type Deps struct {
	DB      *store.DB
	NATS    *nats.Conn
	JS      jetstream.JetStream
	Client  *rpc.Client
	Live    *settings.Live
	Log     *slog.Logger
	Metrics *observe.Registry
	Now     func() time.Time
	Keys    *seal.Keys    // seal the secrets in the database; nil: they lie there in plain
	VIES    vies.Registry // knows which VAT numbers were given out
}

// Service is one instance of the ticketing service.
type Service struct {
	db     ticketStore
	nats   *nats.Conn
	js     jetstream.JetStream
	client *rpc.Client
	live   *settings.Live
	log    *slog.Logger
	now    func() time.Time

	inv    *inventory.Inventory
	offers *offers.Offers
	leases *leases.Leases
	codes  *codes.Codes
	doors  *doors.Doors
	ended  *closures.Closures
	guests *guests.Guests
	bills  *invoices.Writer
	vies   *vies.Guard
	files  *imports.Imports
	keys   *keyring.Ring
	relay  *stream.Relay

	creations *batch.Group[creation, orderRow]
	receipts  *batch.Group[receipt, struct{}]
	writes    *store.Group
	rebuilds  singleflight.Group

	metrics  metrics
	registry *observe.Registry
}

type metrics struct {
	registry        *observe.Registry
	refunds, fenced *observe.Counter
	write           *observe.Histogram
	holdLag         *observe.Gauge
}

// branch counts an unusual way that an order's money has gone.
func (m metrics) branch(name string) {
	m.registry.Counter("starlight_ticketing_branches_total",
		"Unusual ways of orders and their money, by what happened.", "branch", name).Inc()
}

// venueSale counts an entry of a venue's journal that a person should look at.
func (m metrics) venueSale(outcome string) {
	m.registry.Counter("starlight_ticketing_venue_sales_flagged_total",
		"Sales of venues that their leases did not have, and entries that changed nothing, by the outcome.", "outcome",
		outcome).Inc()
}

// batchSize is how many orders or payments one transaction takes.
const batchSize = 500

// maxDeliver keeps a payment from becoming a dead letter while the inventory or the database are away: at one try every
// 30 seconds it is several days.
const maxDeliver = 20_000

// ackWait is how long a paid order waits for its tickets when the instance that had its message in hand dies.
const ackWait = 8 * time.Second

// New returns a service that runs nothing in the background yet.
func New(ctx context.Context, d Deps) (*Service, error) {
	inv, err := inventory.Open(ctx, d.JS, d.Log, d.Metrics, d.Now)
	if err != nil {
		return nil, err
	}
	keys, err := keyring.Open(ctx, d.DB, keyring.Tickets, d.Keys, d.Now)
	if err != nil {
		return nil, err
	}
	s := &Service{db: ticketStore{d.DB}, nats: d.NATS, js: d.JS, client: d.Client, live: d.Live, log: d.Log, now: d.Now,
		inv: inv, keys: keys, registry: d.Metrics, writes: store.NewGroup(d.DB),
		metrics: metrics{
			registry: d.Metrics,
			refunds:  d.Metrics.Counter("starlight_ticketing_refunds_due_total", "Payments that have to go back."),
			write: d.Metrics.Histogram("starlight_ticketing_write_seconds",
				"How long one transaction took that writes orders."),
			holdLag: d.Metrics.Gauge("starlight_ticketing_hold_lag_seconds",
				"How long the hold of an order has been over whose seats are not back yet; 0: there is none."),
			fenced: d.Metrics.Counter("starlight_ticketing_fenced_total",
				"Sales that the inventory accepted and the stock refused. Anything but 0 is a defect."),
		}}
	s.offers = offers.New(d.DB, d.Client, d.Now)
	s.leases = leases.New(d.DB, inv, d.Now, d.Log, s.refill)
	s.codes = codes.New(codes.Deps{DB: d.DB, Inventory: inv, Offers: s.offers, Now: d.Now, Log: d.Log,
		Open: func(ctx context.Context, o *api.Offer) error {
			return s.setQuantities(ctx, o.Event.ID, o.Event.Revision, stockOf(o), "")
		}})
	s.guests = guests.New(guests.Deps{DB: d.DB, Client: d.Client, Live: d.Live, Keys: keys, Log: d.Log, Now: d.Now,
		Changed: s.publishChanges})
	if s.bills, err = invoices.NewWriter(d.Log); err != nil {
		return nil, err
	}
	s.vies = vies.NewGuard(d.VIES, d.Metrics, d.Log, d.Now)
	s.files = s.newImports()
	s.relay = stream.NewRelay(d.DB, d.JS, d.Log, d.Metrics)
	s.creations = batch.New(batchSize, 16*batchSize, s.commitCreations)
	// payers wait for all of a chain of commits: fewer of them are worth a moment
	s.receipts = batch.New(batchSize, 16*batchSize, s.commitReceipts, batch.LingerInCompany(time.Millisecond))
	s.doors = doors.New(doors.Deps{DB: d.DB, Client: d.Client, Live: d.Live, Offers: s.offers, Keys: keys, Log: d.Log,
		Metrics: d.Metrics, Now: d.Now, Leases: s.leases.State, Sell: s.sellThere})
	s.ended = closures.New(d.DB, d.Client, s.doors, s.leases, d.Log, d.Now)
	return s, nil
}

// Register binds the endpoints.
func (s *Service) Register(srv *rpc.Server) {
	rpc.HandleCached(srv, api.GetAvailability, nil, s.availability)
	rpc.Handle(srv, api.CreateOrder, s.createOrder)
	rpc.Handle(srv, api.GetOrder, s.getOrder)
	rpc.Handle(srv, api.CancelOrder, s.cancelOrder)
	s.registerCancellations(srv)
	s.registerExchanges(srv)
	rpc.Handle(srv, api.CreateStaffOrder, s.createStaffOrder)
	rpc.Handle(srv, api.UpdateEventOrder, s.updateEventOrder)
	rpc.Handle(srv, api.MailOrderTickets, s.mailOrderTickets)
	rpc.Handle(srv, api.ListMyOrders, s.myOrders)
	rpc.Handle(srv, api.ListMyTickets, s.myTickets)
	rpc.Handle(srv, api.ListOrderTickets, s.orderTickets)
	rpc.Handle(srv, api.ListEventOrders, s.eventOrders)
	rpc.Handle(srv, api.ListAttendees, s.attendees)
	s.registerTables(srv)
	s.registerInvoices(srv)
	rpc.Handle(srv, api.CreateLease, s.createLease)
	rpc.Handle(srv, api.ListLeases, s.listLeases)
	rpc.Handle(srv, api.ResizeLease, s.resizeLease)
	rpc.Handle(srv, api.CloseLease, s.closeLease)
	rpc.Handle(srv, api.CreateSale, s.createSale)
	rpc.Handle(srv, api.ReverseSale, s.reverseSale)
	rpc.Handle(srv, api.ListFlaggedSales, s.flaggedSales)
	rpc.Handle(srv, api.UpdateTicket, s.updateTicket)
	rpc.Handle(srv, api.GetTicket, s.getTicket)
	rpc.Handle(srv, api.GetTicketQR, s.ticketQR)
	rpc.Handle(srv, api.TransferTicket, s.transferTicket)
	rpc.Handle(srv, api.WithdrawTransfer, s.withdrawTransfer)
	rpc.Handle(srv, api.ListTicketOffers, s.ticketOffers)
	rpc.Handle(srv, api.AcceptTicketOffer, s.acceptOffer)
	rpc.Handle(srv, api.RefuseTicketOffer, s.refuseOffer)
	rpc.Handle(srv, api.MintOfferToken, s.mintOffer)
	rpc.Handle(srv, api.UpdateOrder, s.updateOrder)
	rpc.Handle(srv, api.ExportOrder, s.exportOrder)
	rpc.Handle(srv, api.ForgetOrder, s.forgetOrder)
	rpc.Handle(srv, api.GetOrderAnswers, s.orderAnswers)
	rpc.Handle(srv, api.PutOrderAnswers, s.setOrderAnswers)
	rpc.Handle(srv, api.GetTicketAnswers, s.ticketAnswers)
	rpc.Handle(srv, api.PutTicketAnswers, s.setTicketAnswers)
	rpc.Handle(srv, api.GetAnswerCounts, s.answerCounts)
	rpc.Handle(srv, line.VenueAnswers, s.deviceAnswers)
	s.guests.Register(srv)
	s.doors.Register(srv)
	s.ended.Register(srv)
	s.codes.Register(srv)
	s.files.Register(srv)

	rpc.Handle(srv, api.ResizeInventory, s.resize)
	rpc.Handle(srv, api.BeginPayment, s.beginPayment)
	rpc.Handle(srv, api.DecideRefund, s.decideRefund)
	rpc.Handle(srv, api.GetHeldTickets, s.heldTickets)
	rpc.Handle(srv, api.ExportPerson, s.exportPerson)
	rpc.Handle(srv, api.RebuildInventory, s.rebuildInventory)
	rpc.Handle(srv, api.RebuildStock, s.rebuildStock)
}

// Run does the work in the background until ctx ends, and then finishes what is under way.
func (s *Service) Run(ctx context.Context) error {
	sub, err := s.nats.Subscribe(api.EventChanges, s.onChange)
	if err != nil {
		return err
	}
	defer sub.Unsubscribe()
	teams, err := s.nats.Subscribe(api.OrganizerChanges, s.onTeamChange)
	if err != nil {
		return err
	}
	defer teams.Unsubscribe()
	work := run.NewGroup(s.log)
	work.Go("inventory", s.inv.Follow)
	work.Go("consumer", func(ctx context.Context) error {
		return stream.Consume(ctx, s.js,
			stream.Consumer{Stream: api.EventsStream, Durable: consumer, Filters: subjects(), Concurrency: batchSize,
				MaxDeliver: maxDeliver, AckWait: ackWait, Log: s.log, Registry: s.registry}, s.onEvent)
	})
	work.Go("overdue orders", s.expire)
	work.Every(run.Loop{Name: "events that are over", Interval: retireEvery, Do: s.retire})
	work.Every(run.Loop{Name: "personal data that is due to go", Interval: retention.Every, Jitter: time.Minute,
		Do: retention.Eraser{DB: s.db.DB, Live: s.live, Log: s.log, Now: s.now}.Erase})
	work.Every(run.Loop{Name: "promo codes", Interval: codes.SweepEvery, Do: s.codes.Sweep})
	work.Every(run.Loop{Name: "imports", Interval: imports.WorkEvery, Do: s.files.Work})
	work.Every(run.Loop{Name: "old imports", Interval: retireEvery, Do: s.files.Forget})
	work.Every(run.Loop{Name: "leases", Interval: leases.SweepEvery, Do: s.leases.Sweep})
	work.Every(run.Loop{Name: "venues that are lost", Interval: closures.SweepEvery, Do: s.ended.Sweep})
	work.Every(run.Loop{Name: "sales in quarantine", Interval: retryEvery, Do: s.retrySales})
	work.Go("signing keys", func(ctx context.Context) error {
		return s.keys.Run(ctx, keyring.Schedule{Log: s.log,
			Lifetime: func() time.Duration { return api.TicketKeyLifetime.Get(s.live) }})
	})
	work.Last.Go("outbox", s.relay.Run)
	return work.Run(ctx)
}

// Ready returns an error while this instance cannot know what is held and sold, or cannot change it.
func (s *Service) Ready(ctx context.Context) error {
	if err := s.inv.Ready(ctx); err != nil {
		return err
	}
	return s.inv.Probe(ctx)
}

// Close finishes the operations under way. Call it when no request can come any more.
func (s *Service) Close() {
	s.creations.Close()
	s.receipts.Close()
	s.doors.Close()
	s.inv.Close()
	s.vies.Close()
}

// onChange drops an event's offer from the cache as soon as anybody has heard of a change.
func (s *Service) onChange(msg *nats.Msg) {
	var changed struct {
		Event struct {
			ID ids.Event `json:"id"`
		} `json:"event"`
	}
	if json.Unmarshal(msg.Data, &changed) == nil {
		s.offers.Evict(changed.Event.ID)
	}
}

// onTeamChange does the same for the people of an organizer.
func (s *Service) onTeamChange(msg *nats.Msg) {
	var changed struct {
		Team struct {
			ID ids.Organizer `json:"id"`
		} `json:"team"`
	}
	if json.Unmarshal(msg.Data, &changed) == nil {
		s.offers.EvictOrganizer(changed.Team.ID)
	}
}

// resize sets the quantities of an event and the currency it sells in, for the event service.
func (s *Service) resize(ctx context.Context, req *api.Resize) (*rpc.None, error) {
	k := stock{quotas: req.Quotas}
	for _, t := range sortedKeys(req.Quantities) {
		k.lines = append(k.lines, inventory.Line{Type: t, N: req.Quantities[t]})
	}
	return nil, s.setQuantities(ctx, req.EventID, req.Revision, k, req.Currency)
}

// setQuantities moves the fence up, then the pool, then the fence down: at no time does the fence refuse what the pool
// accepts. A new currency is there when the pool has agreed, and before anything is sold in it. Without a currency that
// stays.
func (s *Service) setQuantities(
	ctx context.Context, event ids.Event, revision int64, k stock, currency string,
) error {
	lines := slices.Clone(k.lines)
	slices.SortFunc(lines, func(a, b inventory.Line) int { return strings.Compare(string(a.Type), string(b.Type)) })
	if err := s.db.raiseStock(ctx, event, revision, lines); err != nil {
		return err
	}
	k.lines = lines
	err := s.resizePool(ctx, event, revision, k, currency)
	for errors.Is(err, inventory.ErrNoPool) && ctx.Err() == nil { // the pool was lost meanwhile
		err = s.resizePool(ctx, event, revision, k, currency)
	}
	if err != nil {
		return err
	}
	return s.db.setStock(ctx, event, revision, k)
}

// resizePool sets the quantities of a pool and the currency. A pool that is gone though the event has orders is filled
// in again first.
func (s *Service) resizePool(
	ctx context.Context, event ids.Event, revision int64, k stock, currency string,
) error {
	set := s.inv.Resize
	if _, err := s.inv.Pool(ctx, event); errors.Is(err, inventory.ErrNoPool) {
		if err := s.refill(ctx, event); err != nil {
			return err
		}
		if _, err := s.inv.Pool(ctx, event); errors.Is(err, inventory.ErrNoPool) {
			set = s.inv.OpenPool // nothing was ordered
		}
	}
	resize := func(ctx context.Context) error { return set(ctx, event, revision, k.lines, k.quotas...) }
	if currency != "" {
		if err := s.db.setCurrency(ctx, event, currency, resize); err != nil {
			return err
		}
	}
	return resize(ctx) // again is no harm: the pool has the revision
}

// offerAs returns an offer to a caller who has the permission.
func (s *Service) offerAs(ctx context.Context, event ids.Event, need api.Permission) (*api.Offer, error) {
	return s.offers.As(ctx, event, need)
}

// publishChanges wakes the callers who wait for a change of orders, at whichever gateway. Call it after the commit:
// they read the order again. A notification that is lost costs them the rest of their wait, and nothing else.
func (s *Service) publishChanges(orders ...ids.Order) {
	for _, id := range orders {
		if err := live.Publish(s.nats, api.OrderRef{ID: id}.LiveSubject(), "changed", "", nil); err != nil {
			s.log.Debug("a change of an order is not published", "order", id, "error", err)
		}
	}
}
