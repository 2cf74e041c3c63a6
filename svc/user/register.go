package user

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"

	"github.com/uptrace/bun"
	"golang.org/x/text/language"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/idempotency"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/stream"
	"github.com/starlightsymphony/starlight/svc/user/hashing"
)

func (s *Service) register(ctx context.Context, req *api.Register) (*api.User, error) {
	var check fault.Check
	account, err := parseAddress(req.Email)
	check.Field(err == nil, "email", "%v", err)
	name := checkName(&check, req.Name)
	s.judge(&check, "password", req.Password, name, account)
	if err := check.Err(); err != nil {
		return nil, err
	}
	hash, err := s.firstHash(ctx, account, req)
	if err != nil {
		return nil, err
	}
	row := newUserRow(account, name, hash, false, s.now())
	answer := row.user()
	proof := s.confirmation(&row, account, "")
	err = s.db.TxRepeatable(ctx, func(ctx context.Context, tx bun.Tx) error {
		if err := idempotency.KeepFor(ctx, tx, api.RegisterUser.Success(), answer); err != nil {
			return err
		}
		return s.insert(ctx, tx, &row, acceptedLanguages(req.Speaks), &proof)
	})
	if err != nil {
		return nil, err
	}
	return answer, nil
}

// firstHash returns the hash of the password of a new account, when it is its turn. An address that has an account
// costs no hash, and counts as a wrong password of whoever asked. It is looked at when a slot is there and not before,
// so that a refusal for want of one says nothing about it.
func (s *Service) firstHash(ctx context.Context, account address, req *api.Register) (string, error) {
	a := attempt{address: newAttempt(ctx, account).address}
	if _, err := s.allow(ctx, s.db.Read(), a); err != nil {
		return "", err
	}
	leave, err := s.turn(ctx, passage{hashing.Password, "register", req.Answer})
	if err != nil {
		return "", err
	}
	defer leave()
	if _, err := s.allow(ctx, s.db.Read(), a); err != nil {
		return "", err
	}
	switch _, err := s.byAddress(ctx, account); {
	case err == nil:
		return "", s.taken(ctx, a)
	case !fault.Is(err, fault.NotFound):
		return "", err
	}
	return s.hasher.Hash(req.Password), nil
}

// taken is the error of a registration whose address has an account. That may have been made by the same request, sent
// twice.
func (s *Service) taken(ctx context.Context, a attempt) error {
	if scope, key, _, ok := rpc.Answer(ctx); ok {
		_, _, _, found, err := idempotency.In(s.db).Lookup(ctx, scope, key)
		if err != nil {
			return err
		}
		if found {
			return rpc.ErrDuplicateAnswer
		}
	}
	if err := s.fail(context.WithoutCancel(ctx), a, false, failureRow{}, ""); err != nil {
		return err
	}
	return errTaken()
}

// acceptedLanguages returns the languages of an Accept-Language header, the best first, and nothing if it is not
// readable.
func acceptedLanguages(header string) string {
	const most = 5
	tags, _, err := language.ParseAcceptLanguage(header)
	if err != nil {
		return ""
	}
	var names []string
	for _, tag := range tags[:min(len(tags), most)] {
		names = append(names, tag.String())
	}
	return strings.Join(names, ", ")
}

// insert writes a new person, who speaks a language if it is known, with the domain event. The address is to be proven
// unless proof is nil. One that is written already stays.
func (s *Service) insert(
	ctx context.Context, tx bun.Tx, row *userRow, language string, proof *confirmationRow,
) error {
	if fresh, err := insertUser(ctx, tx, row); err != nil || !fresh {
		return err
	}
	event := api.UserEvent{UserID: row.ID, Language: language, At: s.now()}
	if proof != nil { // the welcome brings the token along
		if _, err := tx.NewInsert().Model(proof).Exec(ctx); err != nil {
			return err
		}
		event.ConfirmationID = proof.ID.String()
	}
	return stream.Add(ctx, tx, api.UserRegistered.Subject, event)
}

// publish adds a domain event about a person to the outbox.
func (s *Service) publish(ctx context.Context, tx bun.Tx, topic api.Topic[api.UserEvent], id ids.User) error {
	return stream.Add(ctx, tx, topic.Subject, api.UserEvent{UserID: id, At: s.now()})
}

// DefaultAdminEmail is the address of the first administrator if none is given.
const DefaultAdminEmail = "admin@localhost"

// EnsureAdmin makes the first administrator. If there is one already it does nothing and returns created false.
//
// An empty email means DefaultAdminEmail. An empty password means a random one, which is returned, and which the caller
// shows once: it is stored nowhere. An address or password that is no good is a fault of code Invalid; an account that
// has the address and is no administrator is never promoted, but a fault of code Conflict.
func (s *Service) EnsureAdmin(ctx context.Context, email, password string) (created bool, generated string, err error) {
	if exists, err := s.adminExists(ctx); exists || err != nil {
		return false, "", err
	}
	if email == "" {
		email = DefaultAdminEmail
	}
	if password == "" {
		generated = rand.Text()
		password = generated
	}
	var check fault.Check
	account, err := parseAddress(email)
	check.Field(err == nil, "email", "%v", err)
	s.judge(&check, "password", password, "", account)
	if err := check.Err(); err != nil {
		return false, "", err
	}
	hash, err := s.newHash(ctx, password)
	if err != nil {
		return false, "", err
	}
	row := newUserRow(account, "Administrator", hash, true, s.now())
	row.EmailVerified = true // by who runs the system
	err = s.db.TxRepeatable(ctx, func(ctx context.Context, tx bun.Tx) error { return s.insert(ctx, tx, &row, "", nil) })
	if err == nil {
		return true, generated, nil
	}
	if !fault.Is(err, fault.Conflict) {
		return false, "", err
	}
	if exists, err := s.adminExists(ctx); exists || err != nil { // another instance was quicker
		return false, "", err
	}
	return false, "", fmt.Errorf("the first administrator: %w", err)
}

func (s *Service) adminExists(ctx context.Context) (exists bool, err error) {
	err = s.db.Read().NewRaw("SELECT EXISTS (SELECT 1 FROM users WHERE admin)").Scan(ctx, &exists)
	return exists, err
}
