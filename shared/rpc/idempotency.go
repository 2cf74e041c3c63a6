package rpc

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/rpc/codec"
)

// ErrDuplicateAnswer is wrapped by the error of a handler that lost the race to store the answer of an idempotency
// key. The server then sends the answer that won.
var ErrDuplicateAnswer = errors.New("an answer is stored under this key")

// Answers looks up the stored answers of idempotent requests. Package idempotency keeps them.
type Answers interface {
	// Lookup returns the stored answer and the hash of the request it was given to. A status of 0 means the one that
	// the endpoint declares.
	Lookup(ctx context.Context, scope, key string) (hash string, status int, body []byte, found bool, err error)
}

// Answer returns how a handler stores the answer of an idempotent request, in the transaction of the change itself. It
// reports false if the client sent no key. Storing the same scope and key twice must fail with ErrDuplicateAnswer.
func Answer(ctx context.Context) (scope, key, hash string, ok bool) {
	m := From(ctx)
	if m.IdempotencyKey == "" {
		return "", "", "", false
	}
	return answerScope(m), m.IdempotencyKey, m.BodyHash, true
}

func answerScope(m *Meta) string { return m.Endpoint + ":" + m.Principal.ID() }

// AnswerScope returns the scope of the answers of an endpoint to a caller, an account or an API key.
func (s Spec) AnswerScope(caller string) string { return s.Service + "." + s.Name + ":" + caller }

// once runs an idempotent request, or gives the answer that an earlier run stored.
func (b *binding) once(ctx context.Context, key string, h nats.Header, body []byte) (answer, error) {
	const longest = 255
	if len(key) > longest || !codec.Plain(key) {
		var check fault.Check
		check.Field(false, IdempotencyKey, "must be plain text of at most %d bytes", longest)
		return answer{}, check.Err()
	}
	m := *From(ctx)
	m.IdempotencyKey = key
	m.BodyHash = requestHash(b.spec, header(h, HeaderParams), body, b.server.hashSecrets)
	if a, found, err := b.stored(ctx, &m); found || err != nil {
		return a, err
	}
	a, err := b.call(WithMeta(ctx, m), h, body)
	if !errors.Is(err, ErrDuplicateAnswer) {
		return a, err
	}
	a, found, err := b.stored(ctx, &m)
	if err == nil && !found {
		err = fault.New(fault.Conflict, "a request with this idempotency key is under way")
	}
	return a, err
}

func (b *binding) stored(ctx context.Context, m *Meta) (answer, bool, error) {
	hash, status, body, found, err := b.server.cfg.Answers.Lookup(ctx, answerScope(m), m.IdempotencyKey)
	if err != nil || !found {
		return answer{}, false, err
	}
	if hash != m.BodyHash {
		return answer{}, false, fault.New(fault.Unprocessable, "this idempotency key was used with another request")
	}
	b.stats.replayed.Add(1)
	return answer{status: status, body: body, replayed: true}, true, nil
}

// requestHash identifies what a request asks for: hex of SHA-256, in which its secrets are by their keyed hash.
func requestHash(spec Spec, params string, body []byte, keyed func([]byte) []byte) string {
	body, secrets := splitSecrets(spec, body)
	sum := sha256.New()
	fmt.Fprintf(sum, "%s %s\n%s\n", spec.Method, spec.Path, params)
	sum.Write(body)
	if keyed != nil && secrets != nil {
		sum.Write(keyed(secrets))
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// splitSecrets returns the body without the members that the spec calls secret, and these. A body that is no object
// stays as it is: no handler will see it, and nothing is stored of it.
func splitSecrets(spec Spec, body []byte) (rest, secrets []byte) {
	var members map[string]json.RawMessage
	if len(spec.Secrets) == 0 || json.Unmarshal(body, &members) != nil {
		return body, nil
	}
	hidden := make(map[string]any, len(spec.Secrets))
	for _, name := range spec.Secrets {
		var plain any // one text has many forms in JSON
		if json.Unmarshal(members[name], &plain) == nil {
			hidden[name] = plain
		}
		delete(members, name)
	}
	rest, err := json.Marshal(members)
	if err != nil { // cannot happen: it was read from JSON
		return nil, nil
	}
	if secrets, err = json.Marshal(hidden); err != nil { // nor this
		return nil, nil
	}
	return rest, secrets
}
