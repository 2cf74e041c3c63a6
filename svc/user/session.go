package user

import (
	"context"
	"encoding/base64"
	"errors"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/opaque"
	"github.com/starlightsymphony/starlight/shared/revocation"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/token"
	"github.com/starlightsymphony/starlight/svc/user/factor"
	"github.com/starlightsymphony/starlight/svc/user/hashing"
)

// errWrong is the error of a password that is wrong, or of an account that does not exist: the caller cannot tell.
var errWrong = errors.New("user: wrong password")

// proof is a password that was right.
type proof struct {
	row     userRow
	rehash  string // of the password at the present cost, if the stored hash is of another
	failed  bool   // there were failures before
	attempt attempt
}

// prove checks the password of the person that find returns. NotFound costs what a wrong password costs, in work and in
// further attempts. It returns errWrong, or RateLimited after too many failures.
//
// The failures are looked at again when it is this request's turn, and an account that is being slowed down has its
// attempt counted before the password is looked at: a thousand guesses sent at once, to any number of instances, are
// one guess.
func (s *Service) prove(
	ctx context.Context, a attempt, p passage, password string, find func(context.Context) (userRow, error),
) (proof, error) {
	if _, err := s.allow(ctx, s.db.Read(), a); err != nil {
		return proof{}, err
	}
	leave, err := s.turn(ctx, p)
	if err != nil {
		return proof{}, err
	}
	defer leave()
	past, err := s.allow(ctx, s.db.Read(), a)
	if err != nil {
		return proof{}, err
	}
	claimed, err := s.claim(ctx, past)
	if err != nil {
		return proof{}, err
	}
	row, err := find(ctx)
	if err != nil && !fault.Is(err, fault.NotFound) {
		return proof{}, err
	}
	known := err == nil && row.Password != "" // an account has none whose owner signs in elsewhere
	if !known {
		row.Password = s.hasher.Dummy
	}
	ok, outdated, err := s.hasher.Verify(password, row.Password)
	if err != nil {
		return proof{}, err
	}
	if !ok || !known {
		s.logins("wrong").Inc()
		s.attempted(ctx, "password", row.ID, "wrong")
		counting := context.WithoutCancel(ctx) // even if the caller has gone
		if err := s.fail(counting, a, claimed, past, row.ID); err != nil {
			return proof{}, err
		}
		return proof{}, errWrong
	}
	s.logins("right").Inc()
	s.attempted(ctx, "password", row.ID, "right")
	right := proof{row: row, failed: past.Failures > 0, attempt: a}
	if outdated {
		right.rehash = s.hasher.Hash(password)
	}
	return right, nil
}

// newHash returns the hash of a new password of somebody who is known, when it is its turn.
func (s *Service) newHash(ctx context.Context, password string) (string, error) {
	leave, err := s.turn(ctx, passage{class: hashing.Password})
	if err != nil {
		return "", err
	}
	defer leave()
	return s.hasher.Hash(password), nil
}

// lockProven locks the person of a proof, for a transaction that acts on it, and forgets the failures before it. It
// returns errWrong if the password was changed since, and Forbidden if the account is locked.
func (s *Service) lockProven(ctx context.Context, tx bun.Tx, p proof) (userRow, error) {
	row, err := s.lock(ctx, tx, p.row.ID)
	rehashed := err == nil && p.rehash != "" && row.Password == p.rehash
	if fault.Is(err, fault.NotFound) || err == nil && row.Password != p.row.Password && !rehashed {
		return row, errWrong
	}
	if err != nil {
		return row, err
	}
	if row.Locked { // which only the owner of the password learns
		return row, s.locked(ctx, row.ID)
	}
	if p.failed {
		if err := clearFailures(ctx, tx, p.attempt.account); err != nil {
			return row, err
		}
	}
	if p.rehash == "" {
		return row, nil
	}
	row.Password = p.rehash
	return row, savePassword(ctx, tx, row.ID, p.rehash)
}

// addressOf returns the address that somebody signs in with, if there is a password beside it.
func addressOf(email, password string) (address, error) {
	var check fault.Check
	account, err := parseAddress(email)
	check.Field(err == nil, "email", "%v", err)
	check.Field(password != "", "password", "must not be empty")
	return account, check.Err()
}

func (s *Service) login(ctx context.Context, req *api.Login) (*api.SignIn, error) {
	account, err := addressOf(req.Email, req.Password)
	if err != nil {
		return nil, err
	}
	device, err := s.knownDevice(ctx, account, req.DeviceToken)
	if err != nil {
		return nil, err
	}
	a := newAttempt(ctx, account)
	if device != "" {
		a = attempt{account: opaque.Hash("device " + device)}
	}
	p, err := s.prove(ctx, a, passage{hashing.Login, "login", req.Answer}, req.Password,
		func(ctx context.Context) (userRow, error) { return s.byAddress(ctx, account) })
	if err == nil {
		var answer *api.SignIn
		if answer, err = s.startSession(ctx, p, device, req); err == nil {
			return answer, nil
		}
	}
	if errors.Is(err, errWrong) {
		return nil, fault.New(fault.Unauthenticated, "the mail address or the password is wrong")
	}
	return nil, err
}

// startSession signs a person in, from the device of this hash, or from a new one if it is "". Who has a second factor
// is asked for it.
func (s *Service) startSession(ctx context.Context, p proof, device string, req *api.Login) (*api.SignIn, error) {
	a := s.arrive(ctx, p.row.ID, req.DeviceToken, device, req.Client)
	asked, challenge := s.newChallenge(ctx, p.row.ID, device)
	var row userRow
	var has factor.Count
	err := s.db.TxRepeatable(ctx, func(ctx context.Context, tx bun.Tx) (err error) {
		if row, err = s.lockProven(ctx, tx, p); err != nil {
			return err
		}
		if has, err = s.factors.Count(ctx, tx, row.ID); err != nil {
			return err
		}
		if has.Any() {
			return insertChallenge(ctx, tx, &asked)
		}
		return s.enter(ctx, tx, &row, a)
	})
	if err != nil {
		return nil, err
	}
	if has.Any() {
		return &api.SignIn{SecondFactorChallenge: challengeOf(challenge, has)}, nil
	}
	tokens, err := s.admitted(ctx, &row, a)
	return &api.SignIn{Tokens: tokens}, err
}

// challengeOf returns what a person who has second factors is asked for.
func challengeOf(secret string, has factor.Count) *api.SecondFactorChallenge {
	return &api.SecondFactorChallenge{SecondFactorRequired: true, Challenge: secret,
		ChallengeExpires: int(challengeTTL / time.Second), Methods: has.Methods()}
}

// arrival is a session that is about to begin.
type arrival struct {
	session              sessionRow
	deviceToken          string
	refresh, refreshHash string
}

// arrive makes a session of a person, on the device of this hash, or on a new one if it is "".
func (s *Service) arrive(ctx context.Context, user ids.User, deviceToken, device, client string) arrival {
	if device == "" {
		deviceToken, device = opaque.New(devicePrefix)
	}
	now := s.now()
	a := arrival{deviceToken: deviceToken, session: sessionRow{ID: ids.New[ids.SessionKind](now), UserID: user,
		CreatedAt: now, LastUsedAt: now, ProvenAt: now, Device: deviceName(client), Address: rpc.From(ctx).Address,
		DeviceHash: device, ExpiresAt: s.endOf(now, now)}}
	a.refresh, a.refreshHash = opaque.New(refreshPrefix)
	return a
}

// endOf returns until when a session lasts that began at one time and is used at another one.
func (s *Service) endOf(began, used time.Time) time.Time {
	idle, last := used.Add(api.RefreshTTL.Get(s.live)), began.Add(api.SessionTTL.Get(s.live))
	if last.Before(idle) {
		return last
	}
	return idle
}

// admitted returns what the client of a session that has begun is given.
func (s *Service) admitted(ctx context.Context, row *userRow, a arrival) (*api.Tokens, error) {
	tokens, err := s.tokens(row, a.session.ID, a.refresh, a.session.CreatedAt)
	if err == nil {
		tokens.DeviceToken = a.deviceToken
		s.log.InfoContext(ctx, "a session has begun", "user", row.ID, "session", a.session.ID, "address",
			a.session.Address, "known_device", a.deviceToken == "", "provider_factor", a.session.ProviderFactor)
	}
	return tokens, err
}

// refresh rotates a token. Of several requests with the same token one wins; each of the others meets a used token,
// takes it for stolen, and ends the session, the winner's new token included.
func (s *Service) refresh(ctx context.Context, req *api.Refresh) (*api.Tokens, error) {
	if !opaque.Is(refreshPrefix, req.RefreshToken) {
		return nil, errRefresh()
	}
	now := s.now()
	secret, hash := opaque.New(refreshPrefix)
	var row userRow
	var old refreshRow
	var reused bool
	err := s.revoking(ctx, func(ctx context.Context, tx bun.Tx) (_ []revocation.Fact, err error) {
		reused = false
		presented := opaque.Hash(req.RefreshToken)
		if old, err = refreshByHash(ctx, tx, presented); err != nil {
			return nil, err
		}
		if row, err = s.lock(ctx, tx, old.UserID); err != nil {
			return nil, err
		}
		if old, err = refreshByHash(ctx, tx, presented); err != nil { // as it is behind the lock
			return nil, err
		}
		if old.Used {
			switch _, err := refreshByHash(ctx, tx, hash); { // only this request has ever known the new token
			case err == nil:
				return nil, nil
			case !fault.Is(err, fault.NotFound):
				return nil, err
			}
			reused = true
			return []revocation.Fact{revocation.OfSession(old.SessionID)}, endSession(ctx, tx, old.SessionID)
		}
		until := s.endOf(old.CreatedAt, now)
		if !now.Before(old.ExpiresAt) || !now.Before(until) {
			return nil, errRefresh()
		}
		return nil, rotate(ctx, tx, presented, hash, old.SessionID, now, until)
	})
	if fault.Is(err, fault.NotFound) {
		return nil, errRefresh()
	}
	if err != nil {
		return nil, err
	}
	if reused {
		s.metrics.Counter("starlight_user_refresh_reuse_total",
			"Used refresh tokens that were presented again; each ended its session.").Inc()
		s.log.WarnContext(ctx, "a used refresh token came again; its session is ended", "user", old.UserID,
			"session", old.SessionID)
		return nil, errRefresh()
	}
	return s.tokens(&row, old.SessionID, secret, now)
}

func errRefresh() error {
	return fault.New(fault.Unauthenticated, "the refresh token is not valid; sign in again")
}

func rotate(
	ctx context.Context, tx bun.Tx, used, fresh string, session ids.Session, now, until time.Time,
) error {
	res, err := tx.ExecContext(ctx, "UPDATE refresh_tokens SET used = ? WHERE hash = ? AND NOT used", true, used)
	if err != nil {
		return err
	}
	if err := changed(res, errRefresh()); err != nil {
		return err
	}
	if err := insertRefresh(ctx, tx, fresh, session, until); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, "UPDATE sessions SET expires_at = ?, last_used_at = ?, address = ? WHERE id = ?",
		until, now, rpc.From(ctx).Address, session)
	return err
}

func endSession(ctx context.Context, tx bun.Tx, id ids.Session) error {
	_, err := tx.ExecContext(ctx, "DELETE FROM sessions WHERE id = ?", id)
	return err
}

func (s *Service) logout(ctx context.Context, _ *rpc.None) (*rpc.None, error) {
	caller := rpc.Caller(ctx)
	return nil, s.revoking(ctx, func(ctx context.Context, tx bun.Tx) ([]revocation.Fact, error) {
		_, err := tx.ExecContext(ctx, "DELETE FROM sessions WHERE id = ? AND user_id = ?", caller.Session, caller.User)
		return []revocation.Fact{revocation.OfSession(caller.Session)}, err
	})
}

// current returns the caller, whose access token was valid when it came in and whose session has not ended since: the
// one may outlive the other by the life of an access token.
func (s *Service) current(ctx context.Context) (userRow, error) {
	row, err := s.bySession(ctx, rpc.Caller(ctx))
	if fault.Is(err, fault.NotFound) {
		return row, errEnded()
	}
	return row, err
}

func errEnded() error {
	return fault.New(fault.Unauthenticated, "the session has ended; sign in again")
}

// currentAdmin is current for what only administrators may do, by the roles of this moment.
func (s *Service) currentAdmin(ctx context.Context) error {
	row, err := s.current(ctx)
	if err == nil && !row.Admin {
		return fault.New(fault.Forbidden, "only administrators may do this")
	}
	return err
}

// tokens returns what the client of a session is given.
func (s *Service) tokens(row *userRow, session ids.Session, refresh string, now time.Time) (*api.Tokens, error) {
	ttl := api.AccessTTL.Get(s.live)
	kid, key := s.keys.Private()
	access, err := token.Sign(key, kid,
		token.Claims{User: row.ID, Session: session, Roles: row.roles(), Generation: row.Generation, IssuedAt: now,
			ExpiresAt: now.Add(ttl)})
	if err != nil {
		return nil, err
	}
	return &api.Tokens{AccessToken: access, TokenType: "Bearer", ExpiresIn: int(ttl / time.Second),
		RefreshToken: refresh}, nil
}

func (s *Service) publicKeys(context.Context, *rpc.None) (*api.KeySet, error) {
	set := &api.KeySet{Keys: []api.Key{}}
	for _, k := range s.keys.Public() {
		set.Keys = append(set.Keys, api.Key{KeyType: "OKP", Curve: "Ed25519", ID: k.ID, Use: "sig", Algorithm: "EdDSA",
			X: base64.RawURLEncoding.EncodeToString(k.Public)})
	}
	return set, nil
}

// The prefixes tell what a secret that turns up somewhere is good for.
const (
	refreshPrefix = "rt_"
	resetPrefix   = "pr_"
)
