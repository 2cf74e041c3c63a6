package event

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/auditlog"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/idempotency"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/text"
	"github.com/starlightsymphony/starlight/svc/event/organizer"
)

// eventStore reads and writes the tables of events.
type eventStore struct {
	db         *store.DB
	now        func() time.Time
	organizers *organizer.Organizers
}

// row is an event as it is kept.
type row struct {
	bun.BaseModel `bun:"table:events,alias:e"`

	ID            ids.Event `bun:",pk"`
	OrganizerID   ids.Organizer
	Status        string
	Name          string
	Description   string
	Category      string
	StartsAt      time.Time
	EndsAt        time.Time
	Timezone      string
	Place         string
	Address       string
	City          string
	CityKey       string
	Country       string
	Latitude      *float64
	Longitude     *float64
	Capacity      int
	AutoCapacity  bool
	TicketTypes   []api.TicketType `bun:"type:text"`
	Quotas        []api.Quota      `bun:"type:text"`
	Tax           api.Tax          `bun:"type:text"`
	Fees          []api.Fee        `bun:"type:text"`
	OrderRules    api.OrderRules   `bun:"type:text"`
	Questions     []api.Question   `bun:"type:text"`
	Image         api.Picture      `bun:"type:text"`
	ImageID       string
	Language      string
	Translations  []api.Translation `bun:"type:text"`
	SeriesID      ids.Series
	Providers     []string `bun:"payment_providers,type:text"`
	VenueID       ids.Venue
	Reentry       string
	CancelReason  string
	Revision      int64
	CreatedAt     time.Time
	UpdatedAt     time.Time
	SearchText    string
	SearchVersion int

	Pending   string    `bun:",scanonly"`
	PendingAt time.Time `bun:",scanonly,nullzero"`
	Team      string    `bun:",scanonly"` // user and role of each member: "usr_1 door,usr_2 manager"
	organizer.TeamRow
}

func rowOf(r *record) *row {
	e := &r.Event
	return &row{
		ID: e.ID, OrganizerID: e.OrganizerID, Status: e.Status, Name: e.Name, Description: e.Description,
		Category: e.Category, StartsAt: e.StartsAt, EndsAt: e.EndsAt, Timezone: e.Timezone,
		Place: e.Location.Name, Address: e.Location.Address, City: e.Location.City, CityKey: text.Fold(e.Location.City),
		Country: e.Location.Country, Latitude: e.Location.Latitude, Longitude: e.Location.Longitude,
		Capacity: e.Capacity, AutoCapacity: r.AutoCapacity,
		TicketTypes: slices.Clip(append([]api.TicketType{}, e.TicketTypes...)),
		Quotas:      slices.Clip(append([]api.Quota{}, e.Quotas...)),
		Tax:         e.Tax, Fees: slices.Clip(append([]api.Fee{}, e.Fees...)),
		Providers: slices.Clip(append([]string{}, e.Providers...)),
		VenueID:   e.VenueID, Reentry: e.Reentry, OrderRules: e.OrderRules, Image: e.Image, ImageID: e.Image.ID,
		Language:     e.Language,
		Translations: slices.Clip(append([]api.Translation{}, e.Translations...)),
		SeriesID:     e.SeriesID,
		Questions:    slices.Clip(append([]api.Question{}, e.Questions...)),
		CancelReason: e.CancelReason, Revision: e.Revision, CreatedAt: e.CreatedAt, UpdatedAt: e.UpdatedAt,
		SearchText: searchText(e), SearchVersion: searchVersion,
	}
}

func (w *row) event() api.Event {
	types := w.TicketTypes
	if types == nil {
		types = []api.TicketType{}
	}
	return api.Event{
		ID: w.ID, OrganizerID: w.OrganizerID, Status: w.Status, Name: w.Name, Description: w.Description,
		Category: w.Category, StartsAt: w.StartsAt.UTC(), EndsAt: w.EndsAt.UTC(), Timezone: w.Timezone,
		Location: api.Location{Name: w.Place, Address: w.Address, City: w.City, Country: w.Country,
			Latitude: w.Latitude, Longitude: w.Longitude},
		Capacity: w.Capacity, TicketTypes: types, Quotas: w.Quotas, Tax: w.Tax, Fees: w.Fees,
		Providers: w.Providers, VenueID: w.VenueID, Reentry: w.Reentry, CancelReason: w.CancelReason,
		OrderRules: w.OrderRules, Image: w.Image, Language: w.Language, Translations: w.Translations,
		SeriesID: w.SeriesID, Questions: w.Questions, Revision: w.Revision,
		CreatedAt: w.CreatedAt.UTC(), UpdatedAt: w.UpdatedAt.UTC(),
	}
}

func (w *row) record() *record {
	return &record{Offer: api.Offer{Event: w.event(), Team: organizer.Members(w.Team),
		Organizer: w.TeamRow.Team(w.OrganizerID)}, AutoCapacity: w.AutoCapacity}
}

// columns are those of an event itself, but for its questions, which lists do not have.
const columns = `e.id, e.organizer_id, e.status, e.name, e.description, e.category, e.starts_at, e.ends_at, e.timezone,
	e.place, e.address, e.city, e.country, e.latitude, e.longitude, e.capacity, e.auto_capacity, e.ticket_types, e.quotas,
	e.tax, e.fees, e.order_rules, e.image, e.language, e.translations, e.series_id, e.payment_providers, e.venue_id,
	e.reentry, e.cancel_reason, e.revision, e.created_at, e.updated_at`

// storedEvent is an event as it is in the database, with the change that ticketing is being asked about, if there is
// one.
type storedEvent struct {
	*record
	pending   string // JSON of a change, or ""
	pendingAt time.Time
}

// load returns an event with its team, both as of one moment, or a NotFound fault.
func (b eventStore) load(ctx context.Context, id ids.Event) (storedEvent, error) {
	var w row
	err := b.db.Read().NewRaw(withTeam()+` WHERE e.id = ?`, id).Scan(ctx, &w)
	if err != nil {
		return storedEvent{}, store.OrNotFound(err, api.NoSuchEvent)
	}
	return w.stored(), nil
}

// loadSeries returns the dates of a series that end after a moment, by their begin, all as of one moment.
func (b eventStore) loadSeries(ctx context.Context, id ids.Series, after time.Time) ([]storedEvent, error) {
	var rows []row
	err := b.db.Read().NewRaw(withTeam()+` WHERE e.series_id = ? AND e.series_id <> '' AND e.ends_at > ?
		ORDER BY e.starts_at, e.id`, id, store.Time(after)).Scan(ctx, &rows)
	all := make([]storedEvent, len(rows))
	for i := range rows {
		all[i] = rows[i].stored()
	}
	return all, err
}

// withTeam returns SQL that reads events with what may be done to them, and by whom.
func withTeam() string {
	return `SELECT ` + columns + `, e.questions, e.pending, e.pending_at,
		COALESCE((SELECT string_agg(t.user_id || ' ' || t.role, ',') FROM team AS t WHERE t.event_id = e.id), '') AS team, ` +
		organizer.Columns("e.organizer_id") + ` FROM events AS e`
}

func (w *row) stored() storedEvent {
	return storedEvent{record: w.record(), pending: w.Pending, pendingAt: w.PendingAt}
}

// change is what happens to an event in one step.
type change struct {
	Next    *record `json:"next"`
	Subject string  `json:"subject"` // of its domain event
	Delete  bool    `json:"delete,omitempty"`
	Answer  *answer `json:"answer,omitempty"` // the answer to the request when it is repeated
	// whose own organizer the event gets, which is made if need be; "" if the event stays where it is
	Owner     ids.User `json:"owner,omitempty"`
	OwnerName string   `json:"-"` // what a new organizer is called; "" if that is not known yet

	Act string           `json:"act,omitempty"` // the endpoint that it is made by
	By  *api.AuditAuthor `json:"by,omitempty"`  // who makes it
}

// logged is an event as the audit log compares it.
type logged struct {
	api.Event
	Team map[ids.User]string `json:"team,omitempty"`
}

func newLogged(r *record) *logged {
	l := &logged{Event: r.Event, Team: map[ids.User]string{}}
	for _, m := range r.Team {
		l.Team[m.UserID] = m.Role
	}
	return l
}

// note writes the line of a change into the audit log. There is no event before it is created, and none after it is
// deleted.
func note(ctx context.Context, tx bun.Tx, before *record, c change) error {
	id := c.Next.Event.ID
	act := auditlog.Act{Act: c.Act, By: c.By, At: c.Next.Event.UpdatedAt, Object: id.String(), Event: id,
		Of: c.Next.Event.OrganizerID, Without: []string{"id", "revision", "created_at", "updated_at"}}
	if before != nil {
		act.Before = newLogged(before)
	}
	if !c.Delete {
		act.After = newLogged(c.Next)
	}
	return auditlog.Add(ctx, tx, "event", act)
}

// answer names a request that came with an Idempotency-Key.
type answer struct {
	Scope  string `json:"scope"`
	Key    string `json:"key"`
	Hash   string `json:"hash"`
	Status int    `json:"status"`
}

// insert keeps a new event if its organizer is one that may have it.
func (b eventStore) insert(ctx context.Context, c change, may func(*api.OrganizerTeam) error) error {
	return b.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		if err := b.ensureOrganizer(ctx, tx, c); err != nil {
			return err
		}
		team, err := organizer.Team(ctx, tx, c.Next.Event.OrganizerID)
		if err != nil {
			return err
		}
		if err := may(team); err != nil {
			return err
		}
		if err := keepAnswer(ctx, tx, c); err != nil {
			return err
		}
		return b.insertIn(ctx, tx, c)
	})
}

// insertIn writes a new event, with what is counted and told of it.
func (b eventStore) insertIn(ctx context.Context, tx bun.Tx, c change) error {
	if _, err := tx.NewInsert().Model(rowOf(c.Next)).Exec(ctx); err != nil {
		return err
	}
	if err := replaceTeam(ctx, tx, &record{}, c.Next); err != nil {
		return err
	}
	if err := b.countAndNote(ctx, tx, nil, c); err != nil {
		return err
	}
	return publishChange(ctx, tx, c)
}

// ensureOrganizer makes the own organizer of the person whom a change gives the event to. One that is another person's
// by now is not given an event.
func (b eventStore) ensureOrganizer(ctx context.Context, tx bun.Tx, c change) error {
	if c.Owner == "" {
		return nil
	}
	if err := b.organizers.Own(ctx, tx, c.Owner, c.OwnerName); err != nil {
		return err
	}
	team, err := organizer.Team(ctx, tx, c.Next.Event.OrganizerID)
	if err == nil && !slices.Contains(team.Permissions(team.RoleOf(c.Owner)), api.MayEditEvent) {
		err = fault.New(fault.Conflict, "the person's own organizer belongs to others by now: name an organizer_id")
	}
	return err
}

// replace makes a change if the event still has the revision and the pending change that it is based on, and reports
// whether it had.
func (b eventStore) replace(ctx context.Context, before storedEvent, c change) (made bool, err error) {
	err = b.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		if err := keepAnswer(ctx, tx, c); err != nil {
			return err
		}
		return b.replaceIn(ctx, tx, before, c)
	})
	if err == errMoved {
		return false, nil
	}
	return err == nil, err
}

// replaceIn makes a change, or returns errMoved if the event is not as it was.
func (b eventStore) replaceIn(ctx context.Context, tx bun.Tx, before storedEvent, c change) error {
	query := `UPDATE events SET pending = '', pending_at = NULL WHERE id = ? AND revision = ? AND pending = ?`
	if c.Delete {
		query = `DELETE FROM events WHERE id = ? AND revision = ? AND pending = ?`
	}
	made, err := one(tx.ExecContext(ctx, query, before.Event.ID, before.Event.Revision, before.pending))
	if err != nil || !made {
		return cmp.Or(err, errMoved)
	}
	if !c.Delete {
		if err := b.ensureOrganizer(ctx, tx, c); err != nil {
			return err
		}
		if _, err := tx.NewUpdate().Model(rowOf(c.Next)).WherePK().Exec(ctx); err != nil {
			return err
		}
		if err := replaceTeam(ctx, tx, before.record, c.Next); err != nil {
			return err
		}
	}
	noteMade := b.countAndNote
	if before.pending != "" { // prepare has counted it
		noteMade = note
	}
	if err := noteMade(ctx, tx, before.record, c); err != nil {
		return err
	}
	return publishChange(ctx, tx, c)
}

// replaceTeam writes the members that are new or different, and deletes those that are gone.
func replaceTeam(ctx context.Context, tx bun.Tx, before, next *record) error {
	id := next.Event.ID
	for _, m := range before.Team {
		if next.memberIndex(m.UserID) >= 0 {
			continue
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM team WHERE event_id = ? AND user_id = ?", id,
			m.UserID); err != nil {
			return err
		}
	}
	for _, m := range next.Team {
		if slices.Contains(before.Team, m) {
			continue
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO team (event_id, user_id, role) VALUES (?, ?, ?)
			ON CONFLICT (event_id, user_id) DO UPDATE SET role = excluded.role`, id, m.UserID, m.Role)
		if err != nil {
			return err
		}
	}
	return nil
}

// withdraw takes the note of a change away.
func (b eventStore) withdraw(ctx context.Context, id ids.Event, pending string) error {
	_, err := b.note(
		ctx,
		`UPDATE events SET pending = '', pending_at = NULL WHERE id = ? AND pending = ?`,
		id,
		pending,
	)
	return err
}

func (b eventStore) note(ctx context.Context, query string, args ...any) (done bool, err error) {
	err = b.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		done, err = one(tx.ExecContext(ctx, query, args...))
		return err
	})
	return done, err
}

// keepAnswer keeps the answer to the request that wanted the change, if it may be repeated.
func keepAnswer(ctx context.Context, tx bun.Tx, c change) error {
	if c.Answer == nil {
		return nil
	}
	body, err := json.Marshal(c.Next.Event)
	if err != nil {
		return err
	}
	a := c.Answer
	return idempotency.Keep(ctx, tx, a.Scope, a.Key, a.Hash, a.Status, body)
}

// one reports whether a statement changed exactly one row.
func one(res sql.Result, err error) (bool, error) {
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n == 1, err
}
