package system

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/auditlog"
	"github.com/starlightsymphony/starlight/shared/keyring"
	"github.com/starlightsymphony/starlight/shared/revocation"
	"github.com/starlightsymphony/starlight/shared/seal"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/stream"
)

// Rewrap seals the secrets in the databases at url by the first of the keys, and returns how many were sealed by
// another one, or by none. Services may run meanwhile, once all of them have that key. The audit log has a line of each
// transaction that seals.
func Rewrap(ctx context.Context, url string, keys *seal.Keys) (n int, err error) {
	for _, r := range services() {
		if r.sealed == nil {
			continue
		}
		sealed, err := rewrap(ctx, url, r, keys)
		n += sealed
		if err != nil {
			return n, fmt.Errorf("%s: %w", r.name, err)
		}
	}
	return n, nil
}

func rewrap(ctx context.Context, url string, r role, keys *seal.Keys) (n int, err error) {
	db, err := store.Open(ctx, url, r.name, nil, nil)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	for _, column := range r.sealed() {
		note := func(ctx context.Context, tx bun.Tx, sealed int) error {
			return auditlog.Add(ctx, tx, r.name, auditlog.Act{Act: "auth.rewrap", Object: keys.ID(), By: byCommand(),
				After: map[string]any{"table": column.Table, "sealed": sealed}})
		}
		sealed, err := column.Rewrap(ctx, db, keys, note)
		n += sealed
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// byCommand is who writes lines of the audit log from the command line.
func byCommand() *api.AuditAuthor { return &api.AuditAuthor{Service: roleAdmin} }

// withRing opens the keys of a purpose, access or tickets, in the databases at url.
func withRing(ctx context.Context, url, purpose string, keys *seal.Keys,
	do func(db *store.DB, service string, ring *keyring.Ring) error) (err error) {
	service := map[string]string{"access": "user", keyring.Tickets: "ticketing"}[purpose]
	db, err := store.Open(ctx, url, service, nil, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	ring, err := keyring.Open(ctx, db, purpose, keys, nil)
	if err != nil {
		return err
	}
	return do(db, service, ring)
}

// Rotate makes the next key of a purpose in the databases at url, and returns the id of the key that waits to sign, and
// for how long a new one does. The audit log has a line if it was made now.
func Rotate(ctx context.Context, url, purpose string, keys *seal.Keys) (id string, lead time.Duration, err error) {
	err = withRing(ctx, url, purpose, keys, func(db *store.DB, service string, ring *keyring.Ring) error {
		err := ring.Rotate(ctx, func(ctx context.Context, tx bun.Tx, id string) error {
			return auditlog.Add(ctx, tx, service, auditlog.Act{Act: "auth.rotate", Object: id, By: byCommand(),
				After: map[string]string{"purpose": purpose}})
		})
		id, lead = ring.Public()[0].ID, ring.Lead()
		return err
	})
	return id, lead, err
}

// Withdraw deletes a signing key of a purpose in the databases at url, which was stolen, and returns the id of the key
// that signs now. Each gateway hears of a key of access tokens by its list of what was taken back.
func Withdraw(ctx context.Context, url, purpose, id string, keys *seal.Keys) (signs string, err error) {
	err = withRing(ctx, url, purpose, keys, func(_ *store.DB, service string, ring *keyring.Ring) error {
		err := ring.Withdraw(ctx, id, func(ctx context.Context, tx bun.Tx) error {
			if purpose != keyring.Tickets {
				taken, err := revocation.OfKey(id).Message()
				if err != nil {
					return err
				}
				if err := stream.AddAll(ctx, tx, taken); err != nil {
					return err
				}
			}
			return auditlog.Add(ctx, tx, service, auditlog.Act{Act: "auth.withdraw", Object: id, By: byCommand(),
				Before: map[string]string{"purpose": purpose}})
		})
		signs = ring.ID()
		return err
	})
	return signs, err
}
