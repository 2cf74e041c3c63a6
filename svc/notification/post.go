package notification

import (
	"context"
	"encoding/json"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc/live"
	"github.com/starlightsymphony/starlight/shared/stream"
)

// post writes messages and their delivery jobs, by the preferences of each person, and returns those that are new in an
// inbox. A message that is there already stays as it is and gets no second job.
func (s *Service) post(ctx context.Context, tx bun.Tx, notices []notice, people map[ids.User]api.Contact) ([]messageRow, error) {
	if len(notices) == 0 {
		return nil, nil
	}
	wishes, err := s.wishes(ctx, tx, notices)
	if err != nil {
		return nil, err
	}
	b := &batchOf{now: s.Now(), jobs: map[ids.Notification][]stream.Message{}}
	for _, n := range notices {
		c, here := people[n.user]
		if !here { // deleted meanwhile: nobody waits for it
			continue
		}
		if err := s.add(b, n, c, wishes[n.user]); err != nil {
			return nil, err
		}
	}
	return b.write(ctx, tx)
}

// wish is what a person wants, for one message.
type wish struct {
	preferenceRow
	devices []ids.PushSubscription
}

// wishes returns the wishes of the people of notices.
func (s *Service) wishes(ctx context.Context, tx bun.Tx, notices []notice) (map[ids.User]wish, error) {
	people := make([]ids.User, len(notices))
	all := map[ids.User]wish{}
	for i, n := range notices {
		people[i] = n.user
		all[n.user] = wish{preferenceRow: usual(n.user, s.texts.letters[n.name].kind)}
	}
	var chosen []preferenceRow
	if err := tx.NewRaw("SELECT * FROM preferences WHERE user_id IN (?)", bun.List(people)).Scan(ctx, &chosen); err != nil {
		return nil, err
	}
	for _, p := range chosen {
		if w := all[p.UserID]; w.Kind == p.Kind {
			all[p.UserID] = wish{preferenceRow: p}
		}
	}
	var devices []subscriptionRow
	if err := tx.NewRaw("SELECT * FROM push_subscriptions WHERE user_id IN (?)", bun.List(people)).Scan(ctx, &devices); err != nil {
		return nil, err
	}
	for _, d := range devices {
		w := all[d.UserID]
		w.devices = append(w.devices, d.ID)
		all[d.UserID] = w
	}
	return all, nil
}

// batchOf collects the rows of messages.
type batchOf struct {
	now      time.Time
	messages []messageRow
	jobs     map[ids.Notification][]stream.Message
}

// add makes the rows of one message.
func (s *Service) add(b *batchOf, n notice, c api.Contact, w wish) error {
	data, err := json.Marshal(n.facts)
	if err != nil {
		return err
	}
	l := s.texts.letters[n.name]
	lang := s.texts.speech(c, n.facts)
	row := messageRow{ID: messageID(n.cause, n.user), UserID: n.user, Kind: l.kind, Name: n.name, Facts: string(data),
		Inbox: w.Inbox && !n.hidden, CreatedAt: b.now}
	if row.Title, row.Text, err = s.texts.headline(lang, n.name, s.texts.view(lang, c.Name, n.facts)); err != nil {
		return err
	}
	if n.facts.Event != nil {
		row.EventID = n.facts.Event.ID
	}
	row.OrderID = n.facts.order()
	b.messages = append(b.messages, row)
	if w.Email || transactional(l.kind) {
		subject := api.NotifyEmailUrgent
		if n.bulk {
			subject = api.NotifyEmailBulk
		}
		b.job(row.ID, subject, api.ChannelEmail, "")
	}
	if w.SMS && s.sms != nil && c.Phone != "" && !n.hidden {
		b.job(row.ID, api.NotifySMS, api.ChannelSMS, "")
	}
	if w.Push && !n.hidden {
		for _, device := range w.devices {
			b.job(row.ID, api.NotifyPush, api.ChannelPush, device)
		}
	}
	return nil
}

// messageID is that of what a person is told for a cause: the same again is the same message.
func messageID(cause string, user ids.User) ids.Notification {
	return ids.Derive[ids.NotificationKind](cause, user.String())
}

func (b *batchOf) job(id ids.Notification, subject, channel string, target ids.PushSubscription) {
	// The id is that of cause, person and channel, so that the stream too keeps one of two.
	b.jobs[id] = append(b.jobs[id], stream.Message{Subject: subject, ID: id.String() + "." + channel + target.String(),
		Payload: api.NotificationJob{MessageID: id, Channel: channel, Target: target}})
}

// rowsAtATime keeps a statement within the number of parameters that a database takes.
const rowsAtATime = 500

// write inserts what is new and returns the messages among it that show in an inbox.
func (b *batchOf) write(ctx context.Context, tx bun.Tx) ([]messageRow, error) {
	var shown []messageRow
	var jobs []stream.Message
	for len(b.messages) > 0 {
		piece := b.messages[:min(rowsAtATime, len(b.messages))]
		b.messages = b.messages[len(piece):]
		var fresh []ids.Notification
		err := tx.NewInsert().Model(&piece).On("CONFLICT (id) DO NOTHING").Returning("id").Scan(ctx, &fresh)
		if err != nil {
			return nil, err
		}
		isNew := map[ids.Notification]bool{}
		for _, id := range fresh {
			isNew[id] = true
		}
		for _, row := range piece {
			if !isNew[row.ID] {
				continue
			}
			jobs = append(jobs, b.jobs[row.ID]...)
			if row.Inbox {
				shown = append(shown, row)
			}
		}
	}
	if len(jobs) == 0 {
		return shown, nil
	}
	return shown, stream.AddAll(ctx, tx, jobs...)
}

// show tells those who follow their inbox live. It is after the commit and may be lost: the inbox is not.
func (s *Service) show(ctx context.Context, rows []messageRow) {
	for _, row := range rows {
		err := live.Publish(s.NATS, api.LiveInbox{UserID: row.UserID}.LiveSubject(), "notification", row.ID.String(), row.notification())
		if err != nil {
			s.Log.WarnContext(ctx, "a message was not shown live", "message", row.ID, "error", err)
		}
	}
}
