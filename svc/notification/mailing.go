package notification

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/auditlog"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/idempotency"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/text"
	"github.com/starlightsymphony/starlight/svc/notification/render"
)

// mailingPage is how many recipients of a mailing a transaction takes: few enough that other messages hardly wait for
// it, and that one call returns all of their contacts.
const mailingPage = 200

// mailing is a message to all who hold a ticket of an event.
type mailing struct {
	cause string
	name  string
	event ids.Event
	facts render.Facts
	by    ids.User
}

// startMailing stores a mailing. The same cause again changes nothing.
func (s *Service) startMailing(ctx context.Context, tx bun.Tx, m mailing) error {
	data, err := json.Marshal(m.facts)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO mailings
		(cause, name, event_id, facts, by_user, reached, recipients, created_at)
		VALUES (?, ?, ?, ?, ?, '', 0, ?) ON CONFLICT (cause) DO NOTHING`,
		m.cause, m.name, m.event, string(data), m.by, s.Now())
	store.Announce(ctx)
	return err
}

// mailingRow is a row of the table mailings.
type mailingRow struct {
	bun.BaseModel `bun:"table:mailings,alias:mailings"`

	Cause      string     `bun:"cause,pk"`
	Name       string     `bun:"name"`
	EventID    ids.Event  `bun:"event_id"`
	Facts      string     `bun:"facts"`
	ByUser     ids.User   `bun:"by_user"`
	Reached    ids.User   `bun:"reached"`
	Recipients int        `bun:"recipients"`
	CreatedAt  time.Time  `bun:"created_at"`
	DoneAt     *time.Time `bun:"done_at"`
}

// sweepMailings advances every open mailing by a page, until all are done. Its position is in the transaction of what
// was posted, so a mailing goes on after a crash where it was, and of two instances at the same page one wins.
func (s *Service) sweepMailings(ctx context.Context) error {
	for ctx.Err() == nil {
		var open []mailingRow
		const query = "SELECT * FROM mailings WHERE done_at IS NULL ORDER BY created_at LIMIT 20"
		err := s.DB.Read().NewRaw(query).Scan(ctx, &open)
		if err != nil || len(open) == 0 {
			return err
		}
		for _, m := range open { // in turns: a small mailing does not wait for a large one
			if err := s.advance(ctx, m); err != nil {
				return fmt.Errorf("mailing %s: %w", m.Cause, err)
			}
		}
	}
	return nil
}

// advance posts the next page of a mailing.
func (s *Service) advance(ctx context.Context, m mailingRow) error {
	var f render.Facts
	if err := json.Unmarshal([]byte(m.Facts), &f); err != nil {
		return err
	}
	people, err := s.recipients(ctx, m)
	if err != nil {
		return err
	}
	notices := make([]notice, len(people))
	for i, p := range people {
		notices[i] = notice{cause: m.Cause, user: p.UserID, name: m.Name, facts: f, bulk: true, bought: p.Paid &&
			(m.Name == "event_changed" || m.Name == "event_cancelled")}
	}
	contacts, err := s.recipientsOf(ctx, notices)
	if err != nil {
		return err
	}
	var done posted
	err = s.DB.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		done = posted{}
		reached, doneAt := m.Reached, (*time.Time)(nil)
		if len(people) > 0 {
			reached = people[len(people)-1].UserID
		}
		if len(people) < mailingPage {
			now := s.Now()
			doneAt = &now
		}
		res, err := tx.ExecContext(ctx, `UPDATE mailings SET reached = ?, recipients = recipients + ?, done_at = ?
			WHERE cause = ? AND reached = ? AND done_at IS NULL`, reached, len(contacts), doneAt, m.Cause, m.Reached)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 { // another instance was first
			return err
		}
		done, err = s.post(ctx, tx, notices, contacts)
		return err
	})
	if err != nil {
		return err
	}
	s.publishLive(ctx, done.inbox)
	return nil
}

// recipient is a person whom a mailing concerns.
type recipient struct {
	UserID ids.User
	Paid   bool // for one of the tickets
}

// recipients returns the next people that a mailing concerns, in order. The cancellation of an event revokes its
// tickets, perhaps before this is read: it concerns their holders all the same.
func (s *Service) recipients(ctx context.Context, m mailingRow) (people []recipient, err error) {
	err = s.DB.Read().NewRaw(`SELECT user_id, MAX(CASE WHEN paid THEN 1 ELSE 0 END) = 1 AS paid FROM holders
		WHERE event_id = ? AND user_id > ? AND (revoked_at IS NULL OR cancelled AND ?)
		GROUP BY user_id ORDER BY user_id LIMIT ?`, m.EventID, m.Reached, m.Name == "event_cancelled", mailingPage).Scan(ctx, &people)
	return people, err
}

// maxReminders bounds one sweep.
const maxReminders = 100

// sweepReminders starts the mailings of reminders that are due. Their times are in the database: one that was due while
// no instance ran is still sent, unless the event has begun.
func (s *Service) sweepReminders(ctx context.Context) error {
	now := s.Now()
	var due []struct {
		EventID ids.Event
		Hours   int
	}
	err := s.DB.Read().NewRaw("SELECT event_id, hours FROM reminders WHERE due_at <= ? ORDER BY due_at LIMIT ?",
		now, maxReminders).Scan(ctx, &due)
	if err != nil {
		return err
	}
	for _, r := range due {
		err := s.DB.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
			res, err := tx.ExecContext(ctx, "DELETE FROM reminders WHERE event_id = ? AND hours = ? AND due_at <= ?",
				r.EventID, r.Hours, now)
			if err != nil {
				return err
			}
			if n, err := res.RowsAffected(); err != nil || n == 0 { // moved, or started by another instance
				return err
			}
			e, known, err := knownEvent(ctx, tx, r.EventID)
			if err != nil || !known || e.Status != api.EventPublished || !now.Before(e.StartsAt) {
				return err
			}
			return s.startMailing(ctx, tx, mailing{cause: fmt.Sprintf("reminder.%s.%d.%d", e.ID,
				r.Hours, e.StartsAt.Unix()), name: "reminder", event: e.ID,
				facts: render.Facts{Event: e.event(), Hours: r.Hours}})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// createAnnouncement starts a mailing of what a manager writes.
func (s *Service) createAnnouncement(ctx context.Context, req *api.NewAnnouncement) (*api.Announcement, error) {
	e, err := s.managed(ctx, req.EventID)
	if err != nil {
		return nil, err
	}
	if err := checkAnnouncement(e, req); err != nil {
		return nil, err
	}
	now := store.Time(s.Now())
	a := &api.Announcement{ID: ids.New[ids.AnnouncementKind](now), EventID: e.ID,
		By: callerOf(ctx), Subject: req.Subject, Text: req.Text, Status: "sending", CreatedAt: now}
	err = s.DB.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		if err := idempotency.KeepFor(ctx, tx, api.CreateAnnouncement.Success(), a); err != nil {
			return err
		}
		if err := s.allowAnnouncement(ctx, tx, e); err != nil {
			return err
		}
		if err := auditlog.Add(ctx, tx, "notification", auditlog.Act{At: now, Object: a.ID.String(), Event: e.ID,
			After: map[string]any{"subject": a.Subject}}); err != nil {
			return err
		}
		return s.startMailing(ctx, tx, mailing{cause: announcementCause(a.ID),
			name: "announcement", event: e.ID, by: a.By, facts: render.Facts{Event: render.EventOf(e),
				Subject: req.Subject, Text: req.Text, For: a.ID}})
	})
	if err != nil {
		return nil, err
	}
	return a, nil
}

func checkAnnouncement(e api.Event, req *api.NewAnnouncement) error {
	const maxSubject, maxText = 200, 20_000 // characters
	var check fault.Check
	req.Subject, req.Text = text.Clean(req.Subject), text.CleanLines(req.Text)
	text.CheckLine(&check, "subject", req.Subject, 1, maxSubject)
	text.CheckLines(&check, "text", req.Text, 1, maxText)
	if err := check.Err(); err != nil {
		return err
	}
	if e.Status != api.EventPublished {
		return fault.New(fault.Conflict, "the event is %s: there are no tickets to it", e.Status)
	}
	return nil
}

// previewAnnouncement writes an announcement to the caller alone, and counts whom it would reach.
func (s *Service) previewAnnouncement(
	ctx context.Context, req *api.NewAnnouncement,
) (*api.AnnouncementPreview, error) {
	e, err := s.managed(ctx, req.EventID)
	if err != nil {
		return nil, err
	}
	if err := checkAnnouncement(e, req); err != nil {
		return nil, err
	}
	caller, err := s.contacts.Do(ctx, callerOf(ctx))
	if err != nil {
		return nil, err
	}
	const name = "announcement"
	f := render.Facts{Event: render.EventOf(e), Subject: req.Subject, Text: req.Text}
	t, _ := s.texts.Template(name)
	lang := s.texts.LanguageOf(caller, f)
	m, err := s.texts.Message(lang, name, s.texts.View(lang, caller.Name, f), f,
		render.Links{Action: t.Link(s.PublicURL, f, "")})
	if err != nil {
		return nil, err
	}
	p := &api.AnnouncementPreview{Subject: m.Subject, Text: m.Text, HTML: m.HTML}
	p.Recipients, err = s.holdersOf(ctx, s.DB.Read(), e.ID)
	return p, err
}

func announcementCause(id ids.Announcement) string { return "announcement." + id.String() }

// listAnnouncements returns what was announced to the holders of an event.
func (s *Service) listAnnouncements(ctx context.Context, req *api.EventPage) (*api.List[api.Announcement], error) {
	if _, err := s.managed(ctx, req.EventID); err != nil {
		return nil, err
	}
	limit, err := store.Limit(req.Limit)
	if err != nil {
		return nil, err
	}
	before, err := store.DecodeCursor(req.Cursor, 1)
	if err != nil {
		return nil, err
	}
	query := s.DB.Read().NewSelect().Model((*mailingRow)(nil)).
		Where("event_id = ? AND name = 'announcement'", req.EventID)
	if before != nil {
		last, err := ids.Parse[ids.AnnouncementKind](before[0])
		if err != nil {
			return nil, fault.New(fault.Invalid, "the cursor is not one that a list returned")
		}
		query = query.Where("cause < ?", announcementCause(last)) // causes sort by age, as the ids in them do
	}
	var rows []mailingRow
	if err := query.Order("cause DESC").Limit(int64(limit+1)).Scan(ctx, &rows); err != nil {
		return nil, err
	}
	list := &api.List[api.Announcement]{Items: []api.Announcement{}}
	more := len(rows) > limit
	rows = rows[:min(len(rows), limit)]
	for _, r := range rows {
		var f render.Facts
		if err := json.Unmarshal([]byte(r.Facts), &f); err != nil {
			return nil, err
		}
		a := api.Announcement{ID: f.For, EventID: r.EventID, By: r.ByUser, Subject: f.Subject, Text: f.Text,
			Status: "sending", Recipients: r.Recipients, CreatedAt: r.CreatedAt.UTC()}
		if r.DoneAt != nil {
			a.Status = "sent"
		}
		list.Items = append(list.Items, a)
	}
	if more {
		list.NextCursor = store.EncodeCursor(list.Items[limit-1].ID.String())
	}
	return list, nil
}
