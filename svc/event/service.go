// Package event keeps what is offered: events, their ticket types and prices, their teams.
//
// An event is a draft, then published, then perhaps cancelled. How many tickets are left is not known here: whoever
// changes the quantities of an event that is on sale asks ticketing first.
package event

import (
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/coherence"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/media"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/quota"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/run"
	"github.com/starlightsymphony/starlight/shared/settings"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/stream"
	"github.com/starlightsymphony/starlight/svc/event/organizer"
	"github.com/starlightsymphony/starlight/svc/event/pictures"
)

//go:embed migrations
var migrations embed.FS

// Migrations returns the SQL of the service's tables.
func Migrations() fs.FS { return migrations }

// Deps is what the service needs.
type Deps struct {
	DB      *store.DB
	JS      jetstream.JetStream // its connection must be allowed to subscribe to api.EventChanges
	Client  *rpc.Client
	Log     *slog.Logger
	Metrics *observe.Registry
	Now     func() time.Time // nil means time.Now
	Live    *settings.Live   // nil means that the defaults hold
	Media   media.Store      // of pictures
}

// How often unfinished changes are looked for; and events of which an older version made what is searched, and pictures
// that nothing has any more.
const (
	sweepInterval = 5 * time.Second
	hourly        = time.Hour
)

// Service is the event service.
type Service struct {
	store      eventStore
	organizers *organizer.Organizers
	pictures   *pictures.Pictures
	js         jetstream.JetStream
	client     *rpc.Client
	log        *slog.Logger
	metrics    *observe.Registry
	now        func() time.Time
	live       *settings.Live
	cache      *cache
	recent     *recent
	copies     *coherence.Owner  // of what this service answers
	holder     *coherence.Holder // for the copies in cache
}

// New prepares the service. It does no work in the background before Run.
func New(_ context.Context, d Deps) (*Service, error) {
	if d.Now == nil {
		d.Now = time.Now
	}
	pics := &pictures.Pictures{Counter: quota.Counter{DB: d.DB, Live: d.Live, Now: d.Now}, Media: d.Media}
	organizers := organizer.New(organizer.Deps{DB: d.DB, Client: d.Client, Log: d.Log, Now: d.Now,
		Live: d.Live, Pictures: pics})
	s := &Service{store: eventStore{db: d.DB, now: d.Now, organizers: organizers}, organizers: organizers, js: d.JS,
		pictures: pics, client: d.Client, log: d.Log, metrics: d.Metrics, now: d.Now, live: d.Live}
	var err error
	if s.copies, err = coherence.NewOwner(d.DB, d.JS.Conn(), d.Log, d.Metrics); err != nil {
		return nil, err
	}
	s.holder = coherence.NewHolder(coherence.HolderConfig{NATS: d.JS.Conn(), Service: d.DB.Service(),
		Tier: coherence.Instances,
		Log:  d.Log, Lease: s.copies.LeaseInstance, Evict: s.invalidated})
	s.cache = newCache(s.store.load, d.Now, s.holder.Valid, d.Metrics)
	s.recent = newRecent(d.Now, d.Metrics)
	return s, nil
}

// Register binds every endpoint of the service.
func (s *Service) Register(srv *rpc.Server) {
	rpc.Handle(srv, api.CreateEvent, s.create)
	rpc.HandleCached(srv, api.ListEvents, nil, s.encodedList)
	rpc.HandleCached(srv, api.GetEvent, s.cached, s.get)
	rpc.Handle(srv, api.UpdateEvent, s.update)
	rpc.Handle(srv, api.DeleteEvent, s.delete)
	rpc.Handle(srv, api.GetReadiness, s.readiness)
	rpc.Handle(srv, api.CopyEvent, s.copyEvent)
	rpc.Handle(srv, api.CreateSeries, s.createSeries)
	rpc.Handle(srv, api.PutEventImage, s.setImage)
	rpc.Handle(srv, api.DeleteEventImage, s.deleteImage)
	rpc.Handle(srv, api.PublishEvent, s.publish)
	rpc.Handle(srv, api.CancelEvent, s.cancel)
	rpc.Handle(srv, api.CreateTicketType, s.addType)
	rpc.Handle(srv, api.UpdateTicketType, s.updateType)
	rpc.Handle(srv, api.DeleteTicketType, s.deleteType)
	rpc.Handle(srv, api.GetCalendar, s.calendar)
	rpc.Handle(srv, api.GetQuestions, s.questions)
	rpc.Handle(srv, api.PutQuestions, s.setQuestions)
	rpc.Handle(srv, api.ListTeam, s.team)
	rpc.Handle(srv, api.PutTeamMember, s.putMember)
	rpc.Handle(srv, api.DeleteTeamMember, s.deleteMember)
	rpc.Handle(srv, api.PutOrganizer, s.handOver)
	rpc.Handle(srv, api.InviteTeamMember, s.invite)
	rpc.Handle(srv, api.DeleteInvitation, s.uninvite)
	rpc.Handle(srv, api.GetOffer, s.offer)
	rpc.Handle(srv, api.GetCalendarFile, s.calendarFile)
	rpc.Handle(srv, api.ExportEvents, s.exportPerson)
	rpc.Handle(srv, api.GetRunningEvents, s.running)
	rpc.Handle(srv, api.LeaseEvents, s.copies.LeaseGateway)
	s.organizers.Register(srv)
	srv.BeforeAcknowledging(s.invalidate)
}

// Run publishes domain events, listens for the changes of other instances and finishes what a dead one left. It returns
// when ctx has ended and nothing is under way any more.
func (s *Service) Run(ctx context.Context) error {
	sub, err := s.js.Conn().Subscribe(api.EventChanges, s.onChange)
	if err != nil {
		return fmt.Errorf("event: subscribe to %s: %w", api.EventChanges, err)
	}
	defer sub.Unsubscribe()
	work := run.NewGroup(s.log)
	work.Go("consumer", s.consumeUsers)
	work.Go("lease", s.holder.Run)
	work.Go("holders of copies", s.sweepHolders)
	work.Every(run.Loop{Name: "search index", Interval: hourly, Do: s.reindex})
	work.Every(run.Loop{Name: "unfinished changes", Interval: sweepInterval, Do: s.sweep})
	work.Every(run.Loop{Name: "old invitations", Interval: sweepInterval, Do: s.forgetInvitations})
	work.Every(run.Loop{Name: "unused pictures", Interval: hourly, Do: s.pictures.Sweep})
	work.Every(run.Loop{Name: "names of organizers", Interval: sweepInterval, Do: s.organizers.Name})
	work.Last.Go("outbox", stream.NewRelay(s.store.db, s.js, s.log, s.metrics).Run)
	return work.Run(ctx)
}

// onChange evicts an event that was changed, by this instance or by another.
func (s *Service) onChange(m *nats.Msg) {
	var offer struct {
		Event struct {
			ID ids.Event `json:"id"`
		} `json:"event"`
	}
	if json.Unmarshal(m.Data, &offer) == nil && offer.Event.ID != "" {
		s.evict(offer.Event.ID)
		s.copies.Announce(offer.Event.ID.String())
	}
}

// evict removes an event that was changed from memory.
func (s *Service) evict(id ids.Event) {
	s.cache.drop(id)
	s.recent.drop(id)
}

// publishChange writes the domain event of a change into the transaction that makes it, with who the organizer's
// people are now.
func publishChange(ctx context.Context, tx bun.Tx, c change) error {
	offer := c.Next.Offer
	team, err := organizer.Team(ctx, tx, offer.Event.OrganizerID)
	if err != nil {
		return err
	}
	offer.Organizer = *team
	return stream.Add(ctx, tx, c.Subject, offer)
}
