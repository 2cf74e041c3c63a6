package notification

import (
	"cmp"
	"context"
	"slices"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/phone"
	"github.com/starlightsymphony/starlight/shared/quota"
	"github.com/starlightsymphony/starlight/shared/stream"
	"github.com/starlightsymphony/starlight/svc/notification/render"
)

// Whoever makes an account may give the address of a stranger. Until the address is confirmed, mails go there that
// confirm it, and those about what was paid for: a buyer must have them, and they cost who would use them against a
// stranger money each time. All else is in the inbox alone. Of what others cause, a person gets so many mails a day.

// proves reports whether a mail is how an address is confirmed.
func proves(name string) bool {
	return name == "guest_order" || name == "welcome" || name == "email_confirmation" || name == "password_reset"
}

// follows reports whether a mail is sent once the address is confirmed, if it could not be sent before.
func follows(name string) bool { return name == "order_paid" || name == "ticket_received" }

// isLimited reports whether others can cause a mail at will. What a person must know is no such mail: that an event is
// cancelled, or money on its way back.
func isLimited(name string) bool {
	switch name {
	case "ticket_received", "event_changed", "reminder", "announcement", "order_expired", "order_cancelled",
		"payment_failed", "cancellation_declined", "order_due":
		return true
	}
	return false
}

// draft is a message with the channels over which it goes.
type draft struct {
	notice
	to         api.Contact
	preference preference
	email, sms bool
	held       bool // the mail waits for the address to be confirmed
}

// draft decides over which channels a message goes, but for quotas.
func (s *Service) draft(n notice, to api.Contact, p preference) *draft {
	t, _ := s.texts.Template(n.name)
	d := &draft{notice: n, to: to, preference: p}
	if n.code {
		d.sms = s.sms != nil
		return d
	}
	d.email = p.Email || render.IsTransactional(t.Kind)
	if d.email && !to.EmailVerified && !n.bought && !proves(n.name) {
		d.email, d.held = false, follows(n.name)
		s.refused(api.ChannelEmail, "unconfirmed")
	}
	d.sms = p.SMS && s.sms != nil && to.Phone != "" && !n.hidden
	if d.sms && phone.Check(to.Phone, api.SMSCountries.Get(s.Live)) != nil {
		d.sms = false
		s.refused(api.ChannelSMS, "country")
	}
	return d
}

// refused counts a message that does not go over a channel, of which the inbox may have it.
func (s *Service) refused(channel, reason string) {
	s.Metrics.Counter("starlight_notification_refused_total",
		"Messages that did not go over a channel: the address is not confirmed, a quota is used up, or the country of "+
			"the number is not allowed.", "channel", channel, "reason", reason).Inc()
}

// The keys of quotas.
const smsOfAll = "sms"

func mailsOf(user ids.User) string        { return "mail." + user.String() }
func smsOf(user ids.User) string          { return "sms." + user.String() }
func announcementsOf(e ids.Event) string  { return "announcements." + e.String() }
func recipientsOf(o ids.Organizer) string { return "recipients." + o.String() }

// use takes one of each quota, or as many as by says, where so many are left, and returns the keys of those.
func (s *Service) use(ctx context.Context, tx bun.Tx, keys []string, by, limit int) (map[string]bool, error) {
	return quota.Use(ctx, tx, s.Now(), keys, by, limit)
}

// ration takes the channels from drafts for which a quota is used up.
func (s *Service) ration(ctx context.Context, tx bun.Tx, drafts []*draft) error {
	var mails []string
	for _, d := range drafts {
		if d.email && isLimited(d.name) {
			mails = append(mails, mailsOf(d.user))
		}
	}
	left, err := s.use(ctx, tx, mails, 1, api.MailsPerPerson.Get(s.Live))
	if err != nil {
		return err
	}
	if err := s.rationGuests(ctx, tx, drafts); err != nil {
		return err
	}
	for _, d := range drafts {
		if d.email && isLimited(d.name) && !left[mailsOf(d.user)] {
			d.email = false
			s.refused(api.ChannelEmail, "quota")
		}
		if !d.sms {
			continue
		}
		// The one of the person first: who has used it up takes nothing from the budget of all.
		for _, q := range []struct {
			key    string
			limit  int
			reason string
		}{{smsOf(d.user), api.SMSPerPerson.Get(s.Live), "quota"}, {smsOfAll, api.SMSPerDay.Get(s.Live), "budget"}} {
			got, err := s.use(ctx, tx, []string{q.key}, 1, q.limit)
			if err != nil {
				return err
			}
			if !got[q.key] {
				d.sms = false
				s.refused(api.ChannelSMS, q.reason)
				break
			}
		}
	}
	return nil
}

// allowAnnouncement takes an announcement to so many people from the quotas of its event and organizer, or refuses it
// with RateLimited.
func (s *Service) allowAnnouncement(ctx context.Context, tx bun.Tx, e api.Event) error {
	tomorrow := quota.Rest(s.Now())
	most := api.AnnouncementsPerEvent.Get(s.Live)
	got, err := s.use(ctx, tx, []string{announcementsOf(e.ID)}, 1, most)
	if err != nil {
		return err
	}
	if len(got) == 0 {
		s.refused(api.ChannelEmail, "announcements")
		return fault.New(fault.RateLimited, "an event has at most %d announcements a day (UTC)", most).After(tomorrow)
	}
	people, err := s.holdersOf(ctx, tx, e.ID)
	if err != nil {
		return err
	}
	most = api.MailsPerOrganizer.Get(s.Live)
	if got, err = s.use(ctx, tx, []string{recipientsOf(e.OrganizerID)}, people, most); err != nil {
		return err
	}
	if len(got) == 0 {
		s.refused(api.ChannelEmail, "organizer")
		return fault.New(fault.RateLimited, "this would reach %d people; the announcements of an organizer reach at "+
			"most %d a day (UTC)", people, most).After(tomorrow)
	}
	return nil
}

// holdersOf counts the people who have a ticket to an event that is good.
func (s *Service) holdersOf(ctx context.Context, db bun.IDB, event ids.Event) (people int, err error) {
	err = db.NewRaw("SELECT COUNT(DISTINCT user_id) FROM holders WHERE event_id = ? AND revoked_at IS NULL", event).
		Scan(ctx, &people)
	return people, err
}

// onAccount sends the mails that waited for a person's address to be confirmed, once it is.
func (s *Service) onAccount(ctx context.Context, user ids.User) (step, error) {
	var waiting bool
	err := s.DB.Read().NewRaw("SELECT EXISTS (SELECT 1 FROM messages WHERE user_id = ? AND held)", user).
		Scan(ctx, &waiting)
	if err != nil || !waiting {
		return step{}, err
	}
	c, err := s.contacts.Do(ctx, user)
	if fault.Is(err, fault.NotFound) {
		return step{}, nil
	}
	if err != nil || !c.EmailVerified {
		return step{}, err
	}
	return step{change: func(ctx context.Context, tx bun.Tx) error {
		var rows []messageRow
		err := tx.NewRaw("UPDATE messages SET held = FALSE WHERE user_id = ? AND held RETURNING *", user).
			Scan(ctx, &rows)
		if err != nil {
			return err
		}
		slices.SortFunc(rows, func(a, b messageRow) int {
			return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.ID, b.ID))
		})
		var jobs []stream.Message
		for _, row := range rows {
			got, err := s.use(ctx, tx, []string{mailsOf(user)}, 1, api.MailsPerPerson.Get(s.Live))
			if err != nil {
				return err
			}
			if len(got) == 0 {
				s.refused(api.ChannelEmail, "quota")
				break
			}
			jobs = append(jobs, jobMessage(api.NotifyEmailUrgent,
				api.NotificationJob{MessageID: row.ID, Channel: api.ChannelEmail}))
		}
		return stream.AddAll(ctx, tx, jobs...)
	}}, nil
}
