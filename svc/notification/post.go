package notification

import (
	"context"
	"encoding/json"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc/live"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/stream"
)

// post writes messages and their delivery jobs, by the preferences of each person. A message that exists already stays
// as it is and gets no second job.
func (s *Service) post(ctx context.Context, tx bun.Tx, notices []notice,
	people map[ids.User]api.Contact) (posted, error) {
	if len(notices) == 0 {
		return posted{}, nil
	}
	preferences, err := s.preferencesFor(ctx, tx, notices)
	if err != nil {
		return posted{}, err
	}
	var drafts []*draft
	for _, n := range notices {
		if c, ok := people[n.user]; ok { // or the account is deleted
			drafts = append(drafts, s.draft(n, c, preferences[n.user]))
		}
	}
	if err := s.ration(ctx, tx, drafts); err != nil {
		return posted{}, err
	}
	b := &posting{now: s.Now(), queued: map[ids.Notification][]stream.Message{},
		direct: map[ids.Notification]*outgoing{}}
	for _, d := range drafts {
		if err := s.add(b, d); err != nil {
			return posted{}, err
		}
	}
	return b.write(ctx, tx, s.claims)
}

// preference is over which channels a person wants one message.
type preference struct {
	preferenceRow
	devices []ids.PushSubscription
}

// preferencesFor returns the preferences of the people of notices.
func (s *Service) preferencesFor(ctx context.Context, tx bun.Tx, notices []notice) (map[ids.User]preference, error) {
	people := make([]ids.User, len(notices))
	all := map[ids.User]preference{}
	for i, n := range notices {
		people[i] = n.user
		t, _ := s.texts.Template(n.name)
		all[n.user] = preference{preferenceRow: defaultPreference(n.user, t.Kind)}
	}
	var chosen []preferenceRow
	err := store.Select(ctx, tx, &chosen, "SELECT * FROM preferences WHERE user_id IN (?)", store.List(people))
	if err != nil {
		return nil, err
	}
	for _, p := range chosen {
		if all[p.UserID].Kind == p.Kind {
			all[p.UserID] = preference{preferenceRow: p}
		}
	}
	var devices []subscriptionRow
	err = store.Select(ctx, tx, &devices, "SELECT * FROM push_subscriptions WHERE user_id IN (?)", store.List(people))
	if err != nil {
		return nil, err
	}
	for _, d := range devices {
		p := all[d.UserID]
		p.devices = append(p.devices, d.ID)
		all[d.UserID] = p
	}
	return all, nil
}

// posting collects the rows of messages and their jobs.
type posting struct {
	now      time.Time
	messages []messageRow
	queued   map[ids.Notification][]stream.Message // jobs for the stream
	direct   map[ids.Notification]*outgoing        // mails that this instance sends at once
}

// posted is what is new after a posting.
type posted struct {
	inbox  []messageRow // that appear in an inbox
	direct []*outgoing  // that this instance has claimed
}

// add makes the rows of one message.
func (s *Service) add(b *posting, d *draft) error {
	n, c, p := d.notice, d.to, d.preference
	data, err := json.Marshal(n.facts)
	if err != nil {
		return err
	}
	t, _ := s.texts.Template(n.name)
	lang := s.texts.LanguageOf(c, n.facts)
	row := messageRow{ID: messageID(n.cause, n.user), UserID: n.user, Kind: t.Kind, Name: n.name, Facts: string(data),
		Inbox: p.Inbox && !n.hidden, Held: d.held, CreatedAt: b.now}
	row.Title, row.Text, err = s.texts.Headline(lang, n.name, s.texts.View(lang, c.Name, n.facts))
	if err != nil {
		return err
	}
	if n.facts.Event != nil {
		row.EventID = n.facts.Event.ID
	}
	row.OrderID = n.facts.AboutOrder()
	b.messages = append(b.messages, row)
	if d.email {
		job := api.NotificationJob{MessageID: row.ID, Channel: api.ChannelEmail}
		switch {
		case n.bulk:
			b.queue(api.NotifyEmailBulk, job)
		case s.hasRoom():
			b.direct[row.ID] = &outgoing{job: job, row: row, facts: n.facts, to: c}
		default:
			b.queue(api.NotifyEmailUrgent, job)
		}
	}
	if d.sms {
		b.queue(api.NotifySMS, api.NotificationJob{MessageID: row.ID, Channel: api.ChannelSMS})
	}
	if p.Push && !n.hidden {
		for _, device := range p.devices {
			b.queue(api.NotifyPush, api.NotificationJob{MessageID: row.ID, Channel: api.ChannelPush, Target: device})
		}
	}
	return nil
}

// messageID returns the id of the message of a cause to a person: the same again is the same message.
func messageID(cause string, user ids.User) ids.Notification {
	return ids.Derive[ids.NotificationKind](cause, user.String())
}

func (b *posting) queue(subject string, job api.NotificationJob) {
	b.queued[job.MessageID] = append(b.queued[job.MessageID], jobMessage(subject, job))
}

// jobMessage returns a job as it stands in the stream. Its id is made of message and channel, so that the stream, too,
// keeps one of two.
func jobMessage(subject string, job api.NotificationJob) stream.Message {
	id := job.MessageID.String() + "." + job.Channel + job.Target.String()
	return stream.Message{Subject: subject, ID: id, Payload: job}
}

// rowsAtATime keeps a statement within the number of parameters that a database takes.
const rowsAtATime = 500

// write inserts what is new. Mails to be sent at once are claimed.
func (b *posting) write(ctx context.Context, tx bun.Tx, claims *claims) (posted, error) {
	var p posted
	var jobs []stream.Message
	for len(b.messages) > 0 {
		piece := b.messages[:min(rowsAtATime, len(b.messages))]
		b.messages = b.messages[len(piece):]
		fresh, err := store.Insert(ctx, tx, piece, "CONFLICT (id) DO NOTHING")
		if err != nil {
			return p, err
		}
		for _, row := range fresh {
			jobs = append(jobs, b.queued[row.ID]...)
			if row.Inbox {
				p.inbox = append(p.inbox, row)
			}
			if out := b.direct[row.ID]; out != nil {
				p.direct = append(p.direct, out)
			}
		}
	}
	if err := claims.insert(ctx, tx, p.direct); err != nil || len(jobs) == 0 {
		return p, err
	}
	return p, stream.AddAll(ctx, tx, jobs...)
}

// publishLive sends messages to the live streams of their recipients. That is after the commit and may be lost, unlike
// the inbox.
func (s *Service) publishLive(ctx context.Context, rows []messageRow) {
	for _, row := range rows {
		subject := api.LiveInbox{UserID: row.UserID}.LiveSubject()
		err := live.Publish(s.NATS, subject, "notification", row.ID.String(), row.notification())
		if err != nil {
			s.Log.WarnContext(ctx, "a message was not published live", "message", row.ID, "error", err)
		}
	}
}
