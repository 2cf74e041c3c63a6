package notification

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/schema"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/batch"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/text"
	"github.com/starlightsymphony/starlight/svc/notification/channel"
	"github.com/starlightsymphony/starlight/svc/notification/render"
)

// outgoing is a message on its way to one person on one channel.
type outgoing struct {
	job   api.NotificationJob
	row   messageRow
	facts render.Facts
	to    api.Contact
	token string // of a guest, who has no account to sign in to; made as the mail is sent
	stop  error  // why it should not be sent: *obsolete or *channel.Undeliverable
}

// set is ids to ask for, each once.
type set[ID comparable] map[ID]bool

func (s set[ID]) list() schema.QueryAppender { return store.List(slices.Collect(maps.Keys(s))) }

// load claims jobs and reads what they are about, for all that wait at the moment: a few statements, however many there
// are. The fault of a job is NotFound if it is done or its message is deleted, and Conflict while another instance has
// it.
func (s *Service) load(ctx context.Context, jobs []api.NotificationJob) []batch.Result[*outgoing] {
	found, elsewhere, err := s.claimMessages(ctx, jobs)
	if err != nil {
		return batch.Fail[*outgoing](len(jobs), err)
	}
	for _, step := range []func(context.Context, map[api.NotificationJob]*outgoing) error{
		s.address, s.stopBlocked, s.stopFormerHolders, s.stopEndedOrders,
	} {
		if err := step(ctx, found); err != nil {
			return batch.Fail[*outgoing](len(jobs), err)
		}
	}
	results := make([]batch.Result[*outgoing], len(jobs))
	for i, job := range jobs {
		out, ok := found[job]
		switch {
		case ok:
			results[i].Out = out
		case elsewhere[job]:
			results[i].Err = fault.New(fault.Conflict, "another instance is sending the message")
		default:
			results[i].Err = fault.New(fault.NotFound, "there is nothing to deliver")
		}
	}
	return results
}

// claimMessages claims jobs and returns the messages of those that are not done, and the jobs that another instance
// has. It reads after it has claimed: what another instance had until then is stored by now.
func (s *Service) claimMessages(ctx context.Context, jobs []api.NotificationJob) (
	found map[api.NotificationJob]*outgoing, elsewhere set[api.NotificationJob], err error) {
	messages := set[ids.Notification]{}
	for _, job := range jobs {
		messages[job.MessageID] = true
	}
	err = s.group.Do(ctx, func(ctx context.Context, tx bun.Tx) error {
		found, elsewhere = map[api.NotificationJob]*outgoing{}, set[api.NotificationJob]{}
		mine, err := s.claims.acquire(ctx, tx, jobs)
		if err != nil {
			return err
		}
		var rows []messageRow
		if err := tx.NewRaw("SELECT * FROM messages WHERE id IN (?)", messages.list()).Scan(ctx, &rows); err != nil {
			return err
		}
		var ended []api.NotificationJob
		err = tx.NewRaw("SELECT message_id, channel, target FROM deliveries WHERE message_id IN (?)", messages.list()).
			Scan(ctx, &ended)
		if err != nil {
			return err
		}
		row := make(map[ids.Notification]messageRow, len(rows))
		for _, r := range rows {
			row[r.ID] = r
		}
		var void []api.NotificationJob
		for _, job := range jobs {
			r, here := row[job.MessageID]
			switch {
			case !here || slices.Contains(ended, job):
				void = append(void, job)
			case !slices.Contains(mine, job):
				elsewhere[job] = true
			default:
				out := &outgoing{job: job, row: r}
				out.facts, out.stop = r.decodeFacts()
				found[job] = out
			}
		}
		return s.claims.release(ctx, tx, void)
	})
	return found, elsewhere, err
}

// address adds how to reach the recipients of messages.
func (s *Service) address(ctx context.Context, found map[api.NotificationJob]*outgoing) error {
	people := set[ids.User]{}
	for _, out := range found {
		people[out.row.UserID] = true
	}
	contacts, err := s.contactsOf(ctx, people)
	if err != nil {
		return err
	}
	for _, out := range found {
		var ok bool
		if out.to, ok = contacts[out.row.UserID]; !ok {
			out.stop = &obsolete{"the account is deleted"}
		}
	}
	return nil
}

// stopBlocked stops mails to addresses that do not exist, but for those without which an account would be lost.
func (s *Service) stopBlocked(ctx context.Context, found map[api.NotificationJob]*outgoing) error {
	concerns := func(out *outgoing) bool {
		return out.job.Channel == api.ChannelEmail && out.row.Name != "password_reset" &&
			out.row.Name != "email_confirmation" && out.row.Name != "email_change" && out.row.Name != "ticket_offer"
	}
	people := set[ids.User]{}
	for _, out := range found {
		if concerns(out) {
			people[out.row.UserID] = true
		}
	}
	if len(people) == 0 {
		return nil
	}
	var rows []bounceRow
	err := store.Select(ctx, s.DB.Read(), &rows, "SELECT * FROM bounces WHERE user_id IN (?)", people.list())
	if err != nil || len(rows) == 0 {
		return err
	}
	off := map[ids.User]string{}
	for _, row := range rows {
		off[row.UserID] = row.Address
	}
	for _, out := range found {
		hash, some := off[out.row.UserID]
		if some && out.stop == nil && concerns(out) && hash == hashed(out.to.Email) {
			out.stop = &channel.Undeliverable{Reason: "the address is switched off"}
		}
	}
	return nil
}

// stopFormerHolders stops messages to ticket holders whose recipient holds no ticket any more, by the projection.
func (s *Service) stopFormerHolders(ctx context.Context, found map[api.NotificationJob]*outgoing) error {
	events, people := set[ids.Event]{}, set[ids.User]{}
	for _, out := range found {
		if forHolders(out.row.Name) {
			events[out.row.EventID], people[out.row.UserID] = true, true
		}
	}
	if len(events) == 0 {
		return nil
	}
	type seat struct {
		EventID ids.Event
		UserID  ids.User
	}
	var rows []seat
	err := s.DB.Read().NewRaw(`SELECT DISTINCT event_id, user_id FROM holders
		WHERE event_id IN (?) AND user_id IN (?) AND revoked_at IS NULL
		AND NOT EXISTS (SELECT 1 FROM known_events WHERE known_events.id = holders.event_id AND known_events.status = ?)`,
		events.list(), people.list(), api.EventCancelled).Scan(ctx, &rows)
	if err != nil {
		return err
	}
	holds := make(map[seat]bool, len(rows))
	for _, row := range rows {
		holds[row] = true
	}
	for _, out := range found {
		if out.stop == nil && forHolders(out.row.Name) && !holds[seat{out.row.EventID, out.row.UserID}] {
			out.stop = &obsolete{"it is no longer so"}
		}
	}
	return nil
}

// stopEndedOrders stops messages that ask to pay again for an order that has ended, or is paid by now.
func (s *Service) stopEndedOrders(ctx context.Context, found map[api.NotificationJob]*outgoing) error {
	about := map[ids.Notification]ids.Order{} // by the messages about an order's end
	for _, out := range found {
		if out.row.Name != "payment_failed" {
			continue
		}
		for _, id := range finalMessages(out.row.OrderID, out.row.UserID) {
			about[id] = out.row.OrderID
		}
	}
	if len(about) == 0 {
		return nil
	}
	var final []ids.Notification
	err := s.DB.Read().NewRaw("SELECT id FROM messages WHERE id IN (?)", bun.List(slices.Collect(maps.Keys(about)))).
		Scan(ctx, &final)
	if err != nil {
		return err
	}
	ended := set[ids.Order]{}
	for _, id := range final {
		ended[about[id]] = true
	}
	for _, out := range found {
		if out.stop == nil && out.row.Name == "payment_failed" && ended[out.row.OrderID] {
			out.stop = &obsolete{"the order has ended, or is paid"}
		}
	}
	return nil
}

// outcome is how a job ended. Without a status it is to be tried again: when it is due, if that is said.
type outcome struct {
	job            api.NotificationJob
	status, reason string
	due            time.Time
}

// storeOutcomes stores the outcomes of jobs that end together, in a transaction that they may share with plans.
func (s *Service) storeOutcomes(ctx context.Context, outcomes []outcome) []batch.Result[struct{}] {
	err := s.group.Do(ctx, func(ctx context.Context, tx bun.Tx) error { return s.insertOutcomes(ctx, tx, outcomes) })
	if err != nil {
		return batch.Fail[struct{}](len(outcomes), err)
	}
	return make([]batch.Result[struct{}], len(outcomes))
}

// insertOutcomes stores the outcomes of jobs and ends the claims to them. The first outcome of a job stays.
func (s *Service) insertOutcomes(ctx context.Context, tx bun.Tx, outcomes []outcome) error {
	const maxReason = 500 // characters
	var rows []deliveryRow
	var later []deferralRow
	jobs := make([]api.NotificationJob, len(outcomes))
	now := s.Now()
	for i, o := range outcomes {
		jobs[i] = o.job
		if o.status != "" {
			rows = append(rows, deliveryRow{MessageID: o.job.MessageID, Channel: o.job.Channel, Target: o.job.Target,
				Status: o.status, Reason: text.Shorten(o.reason, maxReason), EndedAt: now})
		}
		if !o.due.IsZero() {
			later = append(later, deferralRow{MessageID: o.job.MessageID, Channel: o.job.Channel, Target: o.job.Target,
				DueAt: o.due})
		}
	}
	if _, err := store.Insert(ctx, tx, later, "CONFLICT DO NOTHING"); err != nil {
		return err
	}
	if _, err := store.Insert(ctx, tx, rows, "CONFLICT DO NOTHING"); err != nil {
		return err
	}
	return s.claims.release(ctx, tx, jobs)
}
