package store

import (
	"context"
	"encoding/json"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/rpc"
)

// RememberAnswer keeps resp as the answer to the request in ctx, if that request came with an Idempotency-Key; otherwise
// it does nothing. Call it in the transaction of the change, and return its error: a duplicate makes rpc send the answer
// that was first.
func RememberAnswer(ctx context.Context, tx bun.IDB, status int, resp any) error {
	scope, key, hash, ok := rpc.Answer(ctx)
	if !ok {
		return nil
	}
	body, err := json.Marshal(resp)
	if err != nil {
		return err
	}
	return Remember(ctx, tx, scope, key, hash, status, body)
}
