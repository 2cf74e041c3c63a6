package ticketing

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// statements keeps the statements by which a database reads pages of tickets, with what was set before them.
type statements struct {
	mu   sync.Mutex
	set  string
	list [][2]string
}

func (*statements) BeforeQuery(ctx context.Context, _ *bun.QueryEvent) context.Context { return ctx }

func (s *statements) AfterQuery(_ context.Context, e *bun.QueryEvent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case strings.HasPrefix(e.Query, "SET LOCAL"):
		s.set = e.Query
	case strings.Contains(e.Query, `FROM "tickets"`) && strings.Contains(e.Query, "LIMIT 2501"):
		s.list = append(s.list, [2]string{s.set, e.Query})
	}
}

func (s *statements) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = nil
}

func (s *statements) pages() [][2]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.list
}

// A page of a manifest is read from where it begins in an index, also by a PostgreSQL that knows nothing of the table:
// a sort of all tickets for each page makes the manifest of a large event take minutes. The pages are the same.
func TestManifestNeedsNoStatistics(t *testing.T) {
	testkit.DB(t, "ticketing", Migrations(), func(t *testing.T, db *store.DB) {
		if !db.Postgres() {
			t.Skip("SQLite reads the index it is asked for")
		}
		pool := db.Read().(*bun.DB)
		var seen statements
		//lint:ignore SA1019 the other way makes another database, which the service would not use
		pool.AddQueryHook(&seen)
		h := newHarness(t, db)
		h.start()
		offer := h.publish(10, 0)
		event := offer.Event.ID
		bought := h.buy(offer, 4).tickets
		e := h.edge(ownerOf(offer))
		h.handOver(e, offer, "")
		e.mustHello()
		const fill = `INSERT INTO tickets (id, order_id, position, event_id, event_name, ticket_type_id, type_name, owner_id,
				holder_name, holder_email, status, revision, issued_at, manifest_position)
			SELECT 'tkt_' || lpad(n::text, 26, '0'), 'ord_' || lpad(n::text, 26, '0'), 1, ?, '', ?, '', '', 'Ada', '',
				'valid', 1, now(), n % 2 FROM generate_series(?, ?) n`
		typ := offer.Event.TicketTypes[0].ID
		other := ids.New[ids.EventKind](h.clock.Now()) // which follows on this one
		for _, statement := range []struct {
			text string
			args []any
		}{{"ALTER TABLE tickets SET (autovacuum_enabled = false)", nil}, {fill, []any{event, typ, 1, 20000}},
			{fill, []any{other, typ, 20001, 30000}}} {
			if _, err := pool.ExecContext(t.Context(), statement.text, statement.args...); err != nil {
				t.Fatal(err)
			}
		}
		seen.forget()
		if err := e.read(event, line.ManifestLimit); err != nil {
			t.Fatal(err)
		}
		if len(e.tickets) != 20004 {
			t.Errorf("the manifest has %d tickets", len(e.tickets))
		}
		must(t.Context(), h, line.VenueManifest, line.Manifest{Session: e.session, EventID: event, Since: 1,
			After: bought[0].ID})
		kinds := map[string]bool{}
		for _, page := range seen.pages() {
			var plan []string
			err := pool.RunInTx(t.Context(), nil, func(ctx context.Context, tx bun.Tx) error {
				if page[0] != "" {
					if _, err := tx.ExecContext(ctx, page[0]); err != nil {
						return err
					}
				}
				return tx.NewRaw("EXPLAIN "+page[1]).Scan(ctx, &plan)
			})
			text := strings.Join(plan, "\n")
			if err != nil || strings.Contains(text, "Sort") || !strings.Contains(text, "Index Scan using tickets_") {
				t.Errorf("%v\n%s\n%v", page, text, err)
			}
			_, where, _ := strings.Cut(page[1], "WHERE")
			kinds[fmt.Sprint(strings.Count(where, ","), strings.Contains(where, "manifest"))] = true
		}
		if len(kinds) != 4 {
			t.Errorf("pages of %d kinds were read: %v", len(kinds), seen.pages())
		}
	})
}
