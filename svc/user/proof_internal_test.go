package user

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// A password that was right when it was checked opens nothing once it has been changed, or its owner has gone: the
// change has ended all sessions, and this one must not begin after it.
func TestProofIsStaleAfterAChange(t *testing.T) {
	for name, change := range map[string]string{
		"changed": "UPDATE users SET password = 'another'",
		"deleted": "DELETE FROM users",
	} {
		t.Run(name, func(t *testing.T) {
			testkit.DB(t, "user", Migrations(), func(t *testing.T, db *store.DB) {
				s, err := New(t.Context(),
					Deps{DB: db, Log: testkit.Log(t), Metrics: observe.NewRegistry(),
						Now: testkit.NewClock(time.Time{}).Now})
				if err != nil {
					t.Fatal(err)
				}
				if _, _, err := s.EnsureAdmin(t.Context(), "ada@example.org", "correct horse"); err != nil {
					t.Fatal(err)
				}
				account := address{text: "ada@example.org", key: "ada@example.org"}
				p, err := s.prove(t.Context(), newAttempt(t.Context(), account), passage{}, "correct horse",
					func(ctx context.Context) (userRow, error) { return s.byAddress(ctx, account) })
				if err != nil {
					t.Fatal(err)
				}
				if err := db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
					_, err := tx.ExecContext(ctx, change)
					return err
				}); err != nil {
					t.Fatal(err)
				}
				if tokens, err := s.startSession(t.Context(), p, "", &api.Login{}); !errors.Is(err, errWrong) {
					t.Errorf("got %+v, %v; want errWrong", tokens, err)
				}
			})
		})
	}
}
