// Package notification sends people what concerns them: by mail, SMS and push message, to their inbox and live.
//
// Causes are domain events. A projection of these (events, and who holds tickets) says whom a cause concerns. A cause
// becomes messages and delivery jobs in one transaction; the jobs travel through the stream NOTIFICATIONS to a worker
// for each channel. Addresses are asked of the user service when a message is sent, and are not stored. No request
// waits for any of this: orders are paid while a mail server is down.
//
// The packages channel/email, channel/sms and channel/webpush each send one message; render writes what is sent.
package notification

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net/mail"
	"net/url"
	"regexp"
	"slices"
	"strings"
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
	"github.com/starlightsymphony/starlight/shared/run"
	"github.com/starlightsymphony/starlight/shared/seal"
	"github.com/starlightsymphony/starlight/shared/settings"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/stream"
	"github.com/starlightsymphony/starlight/svc/notification/channel/email"
	"github.com/starlightsymphony/starlight/svc/notification/channel/sms"
	"github.com/starlightsymphony/starlight/svc/notification/channel/webpush"
	"github.com/starlightsymphony/starlight/svc/notification/render"
	"github.com/starlightsymphony/starlight/svc/notification/throttle"
	"github.com/starlightsymphony/starlight/svc/notification/webhook"
)

//go:embed migrations
var migrations embed.FS

// Migrations returns the SQL of the service's tables.
func Migrations() fs.FS { return migrations }

const (
	consumer    = "notification"
	planners    = 8
	maxPlanning = 2880 // deliveries before an event is given up: a day, at one each 30 seconds
	sweepEvery  = time.Second
	tidyEvery   = time.Hour
)

// Consumers returns the durable consumers of delivery jobs, for the service's permissions.
func Consumers() []string {
	var names []string
	for _, subject := range []string{api.NotifyEmailUrgent, api.NotifyEmailBulk, api.NotifySMS, api.NotifyPush} {
		names = append(names, api.NotificationDurable(subject))
	}
	return names
}

// pushKeys is the column with the key that push services know this system by.
func pushKeys() seal.Column { return seal.Column{Table: "push_keys", ID: "id", Value: "private"} }

// Sealed returns the columns with secrets.
func Sealed() []seal.Column {
	return append([]seal.Column{keyring.Seeds(), pushKeys()}, webhook.Secrets()...)
}

// Deps is what the service runs on. The first group is needed.
type Deps struct {
	DB        *store.DB
	NATS      *nats.Conn
	JS        jetstream.JetStream
	Client    *rpc.Client
	Live      *settings.Live // nil: the defaults
	Log       *slog.Logger
	Metrics   *observe.Registry
	Now       func() time.Time
	OutboxDir string // where mails go while there is no mail provider; made if missing
	PublicURL string // what links begin with, such as https://tickets.example

	SMTPURL     string          // smtp://user:pass@host:port or smtps://; empty: the outbox
	SMSURL      string          // https://account:token@host?from=NUMBER; empty: no SMS
	From        *mail.Address   // of all mails; nil means no-reply at the host of PublicURL
	Keys        *seal.Keys      // seal the secrets in the database; nil: they lie there in plain
	PushPrivate bool            // push endpoints may be in private networks and without TLS
	PushTimeout time.Duration   // of a push message; 0 means five seconds
	Pauses      []time.Duration // between attempts to deliver; nil means one second to two minutes

	// Requests tells how many requests wait or run in this process, whichever service they are for: mails give way to
	// them. Nil means none.
	Requests func() int64
}

// Service is the notification service.
type Service struct {
	Deps
	from      mail.Address
	host      string // of message ids
	texts     *render.Catalogue
	mails     email.Sender
	sms       *sms.Sender // nil: none
	push      *webpush.Sender
	keys      *keyring.Ring
	group     *store.Group
	contacts  *batch.Group[ids.User, api.Contact]
	claims    *claims
	calendars calendars
	hooks     *webhook.Webhooks
	workers   []channelWorker // the first is that of urgent mails
	direct    chan directMail // planned by this instance, to be sent without the stream
	riding    ridingOutcomes
	swept     int64              // when orphans were looked for, by the clock of the claims
	throttle  *throttle.Throttle // of mails that are written
}

// How many messages are sent at a time, by one instance: mails that people wait for, those of mailings, and push
// messages.
const (
	urgentMails = 8
	bulkMails   = 16
	pushes      = 1024 // of which package webpush lets few go to one place
)

var hostRule = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.-]{0,252}$`)

// New prepares the service. It makes the outbox folder, and runs nothing in the background.
func New(ctx context.Context, d Deps) (*Service, error) {
	if d.Now == nil {
		d.Now = time.Now
	}
	d.PublicURL = strings.TrimRight(d.PublicURL, "/")
	s := &Service{Deps: d, host: "localhost", throttle: throttle.New(urgentMails+bulkMails, d.Requests),
		direct: make(chan directMail, maxDirect)}
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
	s.contacts = batch.New(limit, queue, s.lookUpContacts, batch.Parallel(4), batch.LingerInCompany(time.Millisecond))
	s.workers = []channelWorker{
		s.newWorker(api.NotifyEmailUrgent, urgentMails, 4*urgentMails, s.sendMail, 0, 0),
		s.newWorker(api.NotifyEmailBulk, bulkMails, 16*bulkMails, s.sendMail, bulkLinger, 0),
		s.newWorker(api.NotifySMS, 4, 16, s.sendSMS, 0, smsPatience),
		s.newWorker(api.NotifyPush, pushes, 2*pushes, s.sendPush, 0, pushPatience),
	}
	return s, nil
}

// open opens what messages are written with and sent through.
func (s *Service) open(ctx context.Context) error {
	fonts, err := document.NewFonts(document.FontConfig{Log: s.Log})
	if err != nil {
		return err
	}
	if s.texts, err = render.New(fonts, s.from.Name); err != nil {
		return err
	}
	if s.SMTPURL != "" {
		s.mails, err = email.NewSMTP(s.SMTPURL, urgentMails+bulkMails)
	} else {
		s.mails, err = email.NewFolder(s.OutboxDir)
	}
	if err != nil {
		return err
	}
	if s.SMSURL != "" {
		if s.sms, err = sms.New(s.SMSURL); err != nil {
			return err
		}
	}
	if s.keys, err = keyring.Open(ctx, s.DB, "unsubscribe", s.Keys, s.Now); err != nil {
		return err
	}
	for _, c := range webhook.Secrets() {
		if err := c.Adopt(ctx, s.DB, s.Keys); err != nil {
			return err
		}
	}
	s.hooks = webhook.New(webhook.Deps{DB: s.DB, JS: s.JS, Client: s.Client, Live: s.Live, Log: s.Log,
		Metrics: s.Metrics, Now: s.Now, Keys: s.Keys})
	s.push, err = openPush(ctx, s.Deps, "mailto:"+s.from.Address)
	return err
}

// contactsOf returns how to reach people. Those whose accounts are deleted are missing.
func (s *Service) contactsOf(ctx context.Context, users set[ids.User]) (map[ids.User]api.Contact, error) {
	found := map[ids.User]api.Contact{}
	if len(users) == 0 {
		return found, nil
	}
	list, err := rpc.Call(ctx, s.Client, api.GetContacts, &api.GetContactsOf{IDs: slices.Collect(maps.Keys(users))})
	if err != nil {
		return nil, err
	}
	for _, c := range list.Items {
		found[c.ID] = c
	}
	return found, s.addGuests(ctx, users, found)
}

// lookUpContacts returns how to reach people, for all callers that wait at the moment. A deleted account is NotFound.
func (s *Service) lookUpContacts(ctx context.Context, users []ids.User) []batch.Result[api.Contact] {
	wanted := set[ids.User]{}
	for _, user := range users {
		wanted[user] = true
	}
	found, err := s.contactsOf(ctx, wanted)
	if err != nil {
		return batch.Fail[api.Contact](len(users), err)
	}
	results := make([]batch.Result[api.Contact], len(users))
	for i, user := range users {
		var ok bool
		if results[i].Out, ok = found[user]; !ok {
			results[i].Err = fault.New(fault.NotFound, "there is no such person")
		}
	}
	return results
}

func (s *Service) urgent() channelWorker { return s.workers[0] }

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
	rpc.Handle(srv, api.PreviewAnnouncement, s.previewAnnouncement)
	rpc.Handle(srv, api.ListAnnouncements, s.listAnnouncements)
	rpc.Handle(srv, api.GetTicketPages, s.getTicketPages)
	rpc.Handle(srv, api.GetUnsubscribePage, s.getUnsubscribePage)
	rpc.Handle(srv, api.Unsubscribe, s.unsubscribe)
	rpc.Handle(srv, api.ListTemplates, s.listTemplates)
	rpc.Handle(srv, api.PreviewTemplate, s.preview)
	rpc.Handle(srv, api.ListDeadLetters, s.listDead)
	rpc.Handle(srv, api.ReplayDeadLetter, s.replay)
	rpc.Handle(srv, api.DropDeadLetter, s.drop)
	rpc.Handle(srv, api.ExportMessages, s.exportMessages)
	rpc.Handle(srv, api.ExportChoices, s.exportChoices)
	s.hooks.Register(srv)
}

// Run plans and delivers messages until ctx ends and those in progress are delivered. The outbox is published last.
func (s *Service) Run(ctx context.Context) error {
	wake := make(chan struct{}, 1)
	defer s.DB.OnAnnounce(func() { // a mailing starts at once
		select {
		case wake <- struct{}{}:
		default:
		}
	})()
	g := run.NewGroup(s.Log)
	g.Last.Go("relay", stream.NewRelay(s.DB, s.JS, s.Log, s.Metrics).Run)
	g.Last.Every(run.Loop{Name: "claims", Interval: renewEvery, Do: s.claims.renew})
	g.Last.Go("throttle", s.throttle.Run)
	for _, w := range s.workers {
		g.Go(w.subject, func(ctx context.Context) error { return s.work(ctx, w) })
	}
	g.Every(run.Loop{Name: "mailings", Interval: sweepEvery, Wake: wake, Do: s.sweepMailings})
	g.Every(run.Loop{Name: "deferrals", Interval: sweepEvery, Do: s.sweepDeferrals})
	g.Every(run.Loop{Name: "changes", Interval: sweepEvery, Do: s.sweepChanges})
	g.Every(run.Loop{Name: "reminders", Interval: sweepEvery, Do: s.sweepReminders})
	g.Every(run.Loop{Name: "old messages", Interval: tidyEvery, Do: s.deleteOld})
	g.Every(run.Loop{Name: "orphaned mails", Interval: orphansEvery, Do: s.sweepOrphans})
	g.Go("events", s.planAndSend)
	g.Go("webhooks", s.hooks.Run)
	return g.Run(ctx)
}

// Close ends what is open. Call it when no request can come any more and Run has returned.
func (s *Service) Close() {
	for _, w := range s.workers {
		w.loads.Close()
		w.outcomes.Close()
	}
	s.contacts.Close()
	s.mails.Close()
}
