package idempotency_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/idempotency"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

func each(t *testing.T, test func(t *testing.T, db *store.DB)) {
	schema := fstest.MapFS{"0001_things.sql": {Data: []byte("CREATE TABLE things (id TEXT PRIMARY KEY);")}}
	testkit.DB(t, "user", schema, test)
}

func TestAnswers(t *testing.T) {
	each(t, func(t *testing.T, db *store.DB) {
		ctx := t.Context()
		answers := idempotency.In(db)
		keep := func(key, body string) error {
			return db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
				return idempotency.Keep(ctx, tx, "orders", key, "h", 201, []byte(body))
			})
		}
		if _, _, _, found, err := answers.Lookup(ctx, "orders", "k"); found || err != nil {
			t.Fatalf("Lookup before Keep: %t, %v", found, err)
		}
		if err := keep("k", `{"a":"'?"}`); err != nil {
			t.Fatal(err)
		}
		if err := keep("k", "other"); !errors.Is(err, rpc.ErrDuplicateAnswer) {
			t.Errorf("second Keep: %v", err)
		}
		hash, status, body, found, err := answers.Lookup(ctx, "orders", "k")
		if err != nil || !found || hash != "h" || status != 201 || string(body) != `{"a":"'?"}` {
			t.Errorf("Lookup: %s %d %s %t %v", hash, status, body, found, err)
		}
		if _, _, _, found, _ := answers.Lookup(ctx, "refunds", "k"); found {
			t.Error("found in another scope")
		}
		if err := keep("usr_1", `{"id":"usr_1"}`); err != nil {
			t.Fatal(err)
		}
		if err := db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error { return idempotency.DeleteAbout(ctx, tx, "usr_1") }); err != nil {
			t.Fatal(err)
		}
		if _, _, _, found, err := answers.Lookup(ctx, "orders", "usr_1"); found || err != nil {
			t.Errorf("an answer about a deleted person: %t, %v", found, err)
		}
		if n, err := answers.DeleteBefore(ctx, time.Now().Add(-time.Hour)); n != 0 || err != nil {
			t.Errorf("DeleteBefore of older ones: %d, %v", n, err)
		}
		if n, err := answers.DeleteBefore(ctx, time.Now().Add(time.Hour)); n != 1 || err != nil {
			t.Errorf("DeleteBefore: %d, %v", n, err)
		}

		// Of many with one key exactly one makes the change.
		var wg sync.WaitGroup
		won := make(chan struct{}, 20)
		for i := range cap(won) {
			wg.Go(func() {
				err := db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
					if err := idempotency.Keep(ctx, tx, "orders", "race", "h", 201, nil); err != nil {
						return err
					}
					_, err := tx.ExecContext(ctx, "INSERT INTO things (id) VALUES (?)", fmt.Sprint(i))
					return err
				})
				if err == nil {
					won <- struct{}{}
				} else if !errors.Is(err, rpc.ErrDuplicateAnswer) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		var n int
		if err := db.Read().NewRaw("SELECT count(*) FROM things").Scan(ctx, &n); err != nil || n != 1 || len(won) != 1 {
			t.Errorf("%d changes, %d winners, %v; want one", n, len(won), err)
		}
	})
}

func TestKeepForTakesTheRequestFromTheContext(t *testing.T) {
	each(t, func(t *testing.T, db *store.DB) {
		meta := rpc.Meta{Endpoint: "ticketing.order", IdempotencyKey: "k", BodyHash: "h"}
		for _, m := range []rpc.Meta{{}, meta} {
			ctx := rpc.WithMeta(t.Context(), m)
			if err := db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
				return idempotency.KeepFor(ctx, tx, 0, map[string]int{"a": 1})
			}); err != nil {
				t.Fatal(err)
			}
		}
		scope, key, hash, _ := rpc.Answer(rpc.WithMeta(t.Context(), meta))
		got, _, body, found, err := idempotency.In(db).Lookup(t.Context(), scope, key)
		if err != nil || !found || got != hash || string(body) != `{"a":1}` {
			t.Errorf("Lookup: %s %s %t %v", got, body, found, err)
		}
		var n int
		if err := db.Read().NewRaw("SELECT count(*) FROM answers").Scan(t.Context(), &n); err != nil || n != 1 {
			t.Errorf("%d answers, %v; want 1", n, err)
		}
	})
}
