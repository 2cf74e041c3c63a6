package system

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/starlightsymphony/starlight/shared/keyring"
	"github.com/starlightsymphony/starlight/shared/seal"
	"github.com/starlightsymphony/starlight/shared/store"
)

// Rewrap seals the secrets in the databases at url by the first of the keys, and returns how many were sealed by
// another one, or by none. Services may run meanwhile, once all of them have that key.
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
		sealed, err := column.Rewrap(ctx, db, keys)
		n += sealed
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// Rotate makes the next key of a purpose, access or tickets, in the databases at url, and returns the id of the key
// that waits to sign, and for how long a new one does.
func Rotate(ctx context.Context, url, purpose string, keys *seal.Keys) (id string, lead time.Duration, err error) {
	service := map[string]string{"access": "user", keyring.Tickets: "ticketing"}[purpose]
	db, err := store.Open(ctx, url, service, nil, nil)
	if err != nil {
		return "", 0, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	ring, err := keyring.Open(ctx, db, purpose, keys, nil)
	if err != nil {
		return "", 0, err
	}
	if err := ring.Rotate(ctx); err != nil {
		return "", 0, err
	}
	return ring.Public()[0].ID, ring.Lead(), nil
}
