package event

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/text"
)

// list answers with events by start. Without other wishes they are the published ones that are not over.
//
// Stale is a list from memory because the database is away.
func (s *Service) list(ctx context.Context, req *api.EventQuery) (page *api.List[api.Event], stale bool, err error) {
	f, err := s.filter(rpc.Caller(ctx), req)
	if err != nil {
		return nil, false, err
	}
	if f.impossible {
		return &api.List[api.Event]{Items: []api.Event{}}, false, nil
	}
	if f.status != api.EventPublished {
		page, err = s.page(ctx, f)
		return page, false, err
	}
	fromNow := req.From.IsZero()
	page, stale, err = s.recent.get(ctx, listKey(f, fromNow), func(ctx context.Context) (*api.List[api.Event], error) {
		return s.page(ctx, f)
	})
	if err != nil || !fromNow {
		return page, stale, err
	}
	return withoutPast(page, f.from), stale, nil
}

// withoutPast returns a page without the events that were over at a moment.
func withoutPast(page *api.List[api.Event], at time.Time) *api.List[api.Event] {
	over := func(e api.Event) bool { return e.EndsAt.Before(at) }
	if !slices.ContainsFunc(page.Items, over) {
		return page
	}
	return &api.List[api.Event]{Items: slices.DeleteFunc(slices.Clone(page.Items), over), NextCursor: page.NextCursor}
}

// page reads a page of events from the database.
func (s *Service) page(ctx context.Context, f filter) (*api.List[api.Event], error) {
	limit := f.limit
	f.limit++ // one more tells whether there is a next page
	items, err := s.store.list(ctx, f)
	if err != nil {
		return nil, err
	}
	page := &api.List[api.Event]{Items: items}
	if limit = min(limit, fitting(items)); len(page.Items) > limit {
		page.Items = page.Items[:limit]
		last := page.Items[limit-1]
		page.NextCursor = encodeCursor(last.StartsAt, last.ID)
	}
	return page, nil
}

// mostTexts is how many bytes of texts a page of events has, unless the first one has more: a message carries 1 MiB.
const mostTexts = 400 << 10

// fitting returns how many events, at least one, have no more text than a page may have. JSON may write it at twice its
// length.
func fitting(events []api.Event) int {
	sum := 0
	for i := range events {
		e := &events[i]
		sum += len(e.Name) + len(e.Description) + len(e.Image.Alt)
		for _, t := range e.Translations {
			sum += len(t.Name) + len(t.Description) + len(t.ImageAlt)
		}
		if sum > mostTexts && i > 0 {
			return i
		}
	}
	return len(events)
}

// filter checks a query and turns it into what the database is asked.
func (s *Service) filter(p rpc.Principal, req *api.EventQuery) (filter, error) {
	f := filter{
		category: strings.ToLower(strings.TrimSpace(req.Category)), cityKey: text.Fold(strings.TrimSpace(req.City)),
		country: strings.ToUpper(req.Country), from: req.From, to: req.To, status: req.Status, series: req.Series,
		next: req.Dates == "next",
	}
	var c fault.Check
	c.Field(utf8.RuneCountInString(req.Q) <= maxQuery, "q", "must have at most %d characters", maxQuery)
	c.Field(f.category == "" || categoryRule.MatchString(f.category), "category", "must be 1 to 40 of a-z, 0-9 and -")
	c.Field(utf8.RuneCountInString(req.City) <= maxName, "city", "must have at most %d characters", maxName)
	c.Field(f.country == "" || text.Country(f.country), "country", "must be a country code of ISO 3166-1, such as DE")
	c.Field(req.Dates == "" || req.Dates == "all" || f.next, "dates", "must be all or next")
	if !f.from.IsZero() {
		checkTime(&c, "from", f.from)
	}
	if !f.to.IsZero() {
		checkTime(&c, "to", f.to)
	}
	if !f.from.IsZero() && !f.to.IsZero() {
		c.Field(f.from.Before(f.to), "to", "must be after from")
	}
	switch f.status {
	case "":
		f.status = api.EventPublished
	case api.EventDraft, api.EventPublished, api.EventCancelled:
	default:
		c.Field(false, "status", "must be draft, published or cancelled")
	}
	if req.Organizer != "" {
		var ok bool
		f.organizer, ok = organizerOf(req.Organizer)
		c.Field(ok, "organizer", "must be the id of an organizer, or of a person")
	}
	if err := c.Err(); err != nil {
		return f, err
	}
	var err error
	if f.limit, err = store.Limit(req.Limit); err != nil {
		return f, err
	}
	if f.afterStart, f.after, err = decodeCursor(req.Cursor); err != nil {
		return f, err
	}
	if f.from.IsZero() {
		f.from = s.now()
	}
	if req.Q != "" {
		f.terms = terms(req.Q)
		f.impossible = len(f.terms) == 0 // only signs: no event has them
	}
	switch {
	case f.status == api.EventPublished || p.Admin():
	case p.IsKey():
		f.impossible = f.impossible || f.organizer != "" && f.organizer != p.Organizer
		f.organizer = p.Organizer
	default:
		f.of = p.User
		f.impossible = f.impossible || !p.Known()
	}
	return f, nil
}

// organizerOf reads the id of an organizer, or that of a person for the person's own.
func organizerOf(id string) (ids.Organizer, bool) {
	if user, err := ids.Parse[ids.UserKind](id); err == nil {
		return api.OrganizerOf(user), true
	}
	org, err := ids.Parse[ids.OrganizerKind](id)
	return org, err == nil
}

// encodeCursor names the last event of a page by its sort key.
func encodeCursor(start time.Time, id ids.Event) string {
	return store.EncodeCursor(strconv.FormatInt(start.UnixMicro(), 36), id.String())
}

func decodeCursor(cursor string) (time.Time, ids.Event, error) {
	key, err := store.DecodeCursor(cursor, 2)
	if err != nil || key == nil {
		return time.Time{}, "", err
	}
	micros, err := strconv.ParseInt(key[0], 36, 64)
	id, idErr := ids.Parse[ids.EventKind](key[1])
	start := time.UnixMicro(micros).UTC()
	if err != nil || idErr != nil || start.Year() < firstYear || start.Year() > lastYear ||
		encodeCursor(start, id) != cursor {
		var c fault.Check
		c.Field(false, "cursor", "is not one that a list returned")
		return time.Time{}, "", c.Err()
	}
	return start, id, nil
}

// filter says which events a list has.
type filter struct {
	terms      []term // all must occur
	category   string
	cityKey    string
	country    string
	from, to   time.Time
	organizer  ids.Organizer
	series     ids.Series
	next       bool // only the next date of each series
	status     string
	of         ids.User // only events that this person runs or works for
	afterStart time.Time
	after      ids.Event // with afterStart: the last one of the page before
	limit      int
	impossible bool // no event can match
}

// list returns events by start, without their teams.
func (b eventStore) list(ctx context.Context, f filter) ([]api.Event, error) {
	q := b.db.Read().NewSelect().Model((*row)(nil)).ColumnExpr(columns).Where("e.status = ?", f.status)
	if len(f.terms) > 0 {
		if b.db.Postgres() {
			q = q.Where("e.search @@ ?::tsquery", tsquery(f.terms))
		} else {
			q = q.Where("e.num IN (SELECT rowid FROM event_search WHERE event_search MATCH ?)", ftsquery(f.terms))
		}
	}
	equal := func(column, value string) {
		if value != "" {
			q = q.Where("? = ?", bun.Ident(column), value)
		}
	}
	equal("e.category", f.category)
	equal("e.city_key", f.cityKey)
	equal("e.country", f.country)
	equal("e.organizer_id", string(f.organizer))
	equal("e.series_id", string(f.series))
	if f.next {
		q = q.Where(`(e.series_id = '' OR NOT EXISTS (SELECT 1 FROM events AS x WHERE x.series_id = e.series_id
			AND x.series_id <> '' AND x.status = e.status AND x.ends_at >= ? AND (x.starts_at, x.id) < (e.starts_at, e.id)))`,
			store.Time(f.from))
	}
	if f.of != "" {
		q = q.Where(`(e.organizer_id IN (SELECT organizer_id FROM organizer_members WHERE user_id = ?)
			OR e.id IN (SELECT event_id FROM team WHERE user_id = ?))`, f.of, f.of)
	}
	if !f.from.IsZero() {
		q = q.Where("e.ends_at >= ?", store.Time(f.from))
	}
	if !f.to.IsZero() {
		q = q.Where("e.starts_at < ?", store.Time(f.to))
	}
	if f.after != "" {
		q = q.Where("(e.starts_at, e.id) > (?, ?)", store.Time(f.afterStart), f.after)
	}
	var rows []row
	if err := q.OrderExpr("e.starts_at, e.id").Limit(int64(f.limit)).Scan(ctx, &rows); err != nil {
		return nil, store.OrNotFound(err, "there are no events")
	}
	events := make([]api.Event, len(rows))
	for i := range rows {
		events[i] = rows[i].event()
	}
	return events, nil
}
