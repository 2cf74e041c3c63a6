// Package notification tells people what concerns them: by mail, SMS, push message, in their inbox and live.
//
// It hears of causes through domain events and keeps what it must know to tell whom they concern: events, and who holds
// tickets. A cause becomes messages and delivery jobs in one transaction; the jobs travel through the stream
// NOTIFICATIONS to a consumer for each channel. Addresses are asked of the user service at the moment of sending, and not
// kept. Nobody waits for any of this: orders are paid while a mail server is down.
package notification

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"log/slog"
	"maps"
	"net/mail"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/batch"
	"github.com/starlightsymphony/starlight/shared/document"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/keyring"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/stream"
)

//go:embed migrations
var migrations embed.FS

// Migrations returns the SQL of the service's tables.
func Migrations() fs.FS { return migrations }

const (
	consumer   = "notification"
	atATime    = 8
	patience   = 2880 // deliveries before an event is given up: a day, at one each 30 seconds
	sweepEvery = time.Second
	tidyEvery  = time.Hour
)

// Consumers returns the durable consumers of delivery jobs, for the service's permissions.
func Consumers() []string {
	var names []string
	for _, subject := range []string{api.NotifyEmailUrgent, api.NotifyEmailBulk, api.NotifySMS, api.NotifyPush} {
		names = append(names, api.NotificationDurable(subject))
	}
	return names
}

// Deps is what the service runs on. The first group is needed.
type Deps struct {
	DB        *store.DB
	NATS      *nats.Conn
	JS        jetstream.JetStream
	Client    *rpc.Client
	Log       *slog.Logger
	Metrics   *observe.Registry
	Now       func() time.Time
	OutboxDir string // where mails go while there is no mail provider; made if missing
	PublicURL string // what links begin with, such as https://tickets.example

	SMTPURL     string          // smtp://user:pass@host:port or smtps://; empty: the outbox
	SMSURL      string          // https://account:token@host?from=NUMBER; empty: no SMS
	From        *mail.Address   // of all mails; nil means no-reply at the host of PublicURL
	PushPrivate bool            // push endpoints may be in private networks and without TLS
	Pauses      []time.Duration // between attempts to deliver; nil means one second to two minutes
}

// Service is the notification service.
type Service struct {
	Deps
	from   mail.Address
	host   string // of message ids
	texts  *catalogue
	page   *template.Template
	office postOffice
	sms    *smsOffice // nil: none
	push   *pushOffice
	keys   *keyring.Ring
	fonts  *document.Fonts
	group  *store.Group
	people *batch.Group[ids.User, api.Contact]
	claims *claims
	lanes  []lane

	throttle *throttle   // of mails that are written
	isBusy   func() bool // whether the process is, since the last call
}

var hostRule = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.-]{0,252}$`)

// New prepares the service. It makes the outbox folder, and runs nothing in the background.
func New(ctx context.Context, d Deps) (*Service, error) {
	if d.Now == nil {
		d.Now = time.Now
	}
	d.PublicURL = strings.TrimRight(d.PublicURL, "/")
	s := &Service{Deps: d, host: "localhost"}
	if u, err := url.Parse(d.PublicURL); err == nil && hostRule.MatchString(u.Hostname()) {
		s.host = u.Hostname()
	}
	s.from = mail.Address{Name: "Starlight Symphony", Address: "no-reply@" + s.host}
	if d.From != nil {
		s.from = *d.From
	}
	if err := s.open(ctx); err != nil {
		return nil, fmt.Errorf("notification: %w", err)
	}
	s.group, s.claims = store.NewGroup(d.DB), newClaims(d.DB)
	const limit, queue = 500, 4096
	s.people = batch.New(limit, queue, s.lookUp, batch.Parallel(4))
	s.throttle, s.isBusy = newThrottle(urgentMails+bulkMails), newScheduling().busy
	s.lanes = []lane{
		s.newLane(api.NotifyEmailUrgent, urgentMails, 4*urgentMails, s.sendMail, 0),
		s.newLane(api.NotifyEmailBulk, bulkMails, 16*bulkMails, s.sendMail, gather),
		s.newLane(api.NotifySMS, 4, 16, s.sendSMS, 0),
		s.newLane(api.NotifyPush, 16, 64, s.sendPush, 0),
	}
	return s, nil
}

// open opens what messages go through.
func (s *Service) open(ctx context.Context) (err error) {
	if s.texts, err = newCatalogue(); err != nil {
		return err
	}
	if s.page, err = unsubscribeTemplate(); err != nil {
		return err
	}
	if s.fonts, err = document.NewFonts(document.FontConfig{Log: s.Log}); err != nil {
		return err
	}
	if s.SMTPURL != "" {
		s.office, err = parseSMTP(s.SMTPURL)
	} else {
		s.office, err = newOutbox(s.OutboxDir)
	}
	if err != nil {
		return err
	}
	if s.SMSURL != "" {
		if s.sms, err = parseSMS(s.SMSURL); err != nil {
			return err
		}
	}
	if s.keys, err = keyring.Open(ctx, s.DB, "unsubscribe", s.Now); err != nil {
		return err
	}
	s.push, err = openPush(ctx, s.Deps, "mailto:"+s.from.Address)
	return err
}

// contacts returns how to reach people. Those who are gone are missing.
func (s *Service) contacts(ctx context.Context, people set[ids.User]) (map[ids.User]api.Contact, error) {
	found := map[ids.User]api.Contact{}
	if len(people) == 0 {
		return found, nil
	}
	list, err := rpc.Call(ctx, s.Client, api.GetContacts, &api.GetContactsOf{IDs: slices.Collect(maps.Keys(people))})
	if err != nil {
		return nil, err
	}
	for _, c := range list.Items {
		found[c.ID] = c
	}
	return found, nil
}

// lookUp asks how to reach people, for all who want to know at the moment. The fault of one who is gone is NotFound.
func (s *Service) lookUp(ctx context.Context, users []ids.User) []batch.Result[api.Contact] {
	people := set[ids.User]{}
	for _, user := range users {
		people[user] = true
	}
	found, err := s.contacts(ctx, people)
	if err != nil {
		return batch.Fail[api.Contact](len(users), err)
	}
	results := make([]batch.Result[api.Contact], len(users))
	for i, user := range users {
		var here bool
		if results[i].Out, here = found[user]; !here {
			results[i].Err = fault.New(fault.NotFound, "there is no such person")
		}
	}
	return results
}

// Register binds the endpoints.
func (s *Service) Register(srv *rpc.Server) {
	rpc.Handle(srv, api.ListNotifications, s.listNotifications)
	rpc.Handle(srv, api.MarkNotificationsRead, s.markRead)
	rpc.Handle(srv, api.FollowNotifications, s.follow)
	rpc.Handle(srv, api.GetPreferences, s.getPreferences)
	rpc.Handle(srv, api.PutPreferences, s.setPreferences)
	rpc.Handle(srv, api.GetPushKey, s.getPushKey)
	rpc.Handle(srv, api.ListPushSubscriptions, s.listSubscriptions)
	rpc.Handle(srv, api.CreatePushSubscription, s.subscribe)
	rpc.Handle(srv, api.DeletePushSubscription, s.unsubscribePush)
	rpc.Handle(srv, api.CreateAnnouncement, s.createAnnouncement)
	rpc.Handle(srv, api.ListAnnouncements, s.listAnnouncements)
	rpc.Handle(srv, api.GetTicketPages, s.getTicketPages)
	rpc.Handle(srv, api.GetUnsubscribePage, s.getUnsubscribePage)
	rpc.Handle(srv, api.Unsubscribe, s.unsubscribe)
	rpc.Handle(srv, api.ListTemplates, s.listTemplates)
	rpc.Handle(srv, api.PreviewTemplate, s.preview)
	rpc.Handle(srv, api.ListDeadLetters, s.listDead)
	rpc.Handle(srv, api.ReplayDeadLetter, s.replay)
	rpc.Handle(srv, api.ExportMessages, s.exportMessages)
	rpc.Handle(srv, api.ExportChoices, s.exportChoices)
}

// Run plans and delivers messages until ctx ends and those under way are delivered. The outbox is published last.
func (s *Service) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	relaying, stopRelay := context.WithCancel(context.WithoutCancel(ctx))
	defer stopRelay()
	var renewing sync.WaitGroup // until the last job is done
	renewing.Go(func() { s.sweep(relaying, "claims", renewEvery, nil, s.claims.renew) })
	renewing.Go(func() { s.giveWay(relaying) })
	relayed := make(chan error, 1)
	go func() {
		defer cancel() // without a relay there is no point in going on
		relayed <- stream.NewRelay(s.DB, s.JS, s.Log, s.Metrics).Run(relaying)
	}()

	var work sync.WaitGroup
	failures := make(chan error, len(s.lanes))
	for _, l := range s.lanes {
		work.Go(func() { failures <- s.work(ctx, l) })
	}
	nudge := make(chan struct{}, 1)
	defer s.DB.OnAnnounce(func() { // a mailing begins at once
		select {
		case nudge <- struct{}{}:
		default:
		}
	})()
	work.Go(func() { s.sweep(ctx, "mailings", sweepEvery, nudge, s.sweepMailings) })
	work.Go(func() { s.sweep(ctx, "reminders", sweepEvery, nil, s.sweepReminders) })
	work.Go(func() { s.sweep(ctx, "old messages", tidyEvery, nil, s.forgetOld) })

	err := stream.Consume(ctx, s.JS, stream.Consumer{
		Stream: api.EventsStream, Durable: consumer, Filters: heard(), Concurrency: atATime, MaxDeliver: patience,
		Log: s.Log, Registry: s.Metrics,
	}, s.plan)
	cancel()
	work.Wait()
	close(failures)
	for e := range failures {
		err = errors.Join(err, e)
	}
	stopRelay()
	renewing.Wait()
	return errors.Join(err, <-relayed)
}

// sweep runs fn now, at each interval and when nudged, until ctx ends. A sweep that keeps failing is logged once.
func (s *Service) sweep(ctx context.Context, what string, interval time.Duration, nudge <-chan struct{}, fn func(context.Context) error) {
	outage := observe.NewOutage(s.Log.With("what", what), "a sweep fails", "a sweep works again", nil)
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		if err := fn(ctx); ctx.Err() == nil {
			outage.Report(ctx, err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-nudge:
		}
	}
}

// Close ends what is open. Call it when no request can come any more and Run has returned.
func (s *Service) Close() {
	s.group.Close()
	for _, l := range s.lanes {
		l.loads.Close()
		l.ends.Close()
	}
	s.people.Close()
	s.office.close()
}
