// Package user keeps people and their credentials: accounts, sessions, roles. Other services know a person by an id;
// what that person is called, and how to reach them, stays here.
package user

import (
	"context"
	"embed"
	"io/fs"
	"log/slog"
	"runtime"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/keyring"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/quota"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/run"
	"github.com/starlightsymphony/starlight/shared/seal"
	"github.com/starlightsymphony/starlight/shared/settings"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/stream"
	"github.com/starlightsymphony/starlight/svc/user/challenge"
	"github.com/starlightsymphony/starlight/svc/user/factor"
	"github.com/starlightsymphony/starlight/svc/user/federation"
	"github.com/starlightsymphony/starlight/svc/user/hashing"
	"github.com/starlightsymphony/starlight/svc/user/passkey"
	"github.com/starlightsymphony/starlight/svc/user/passwords"
)

//go:embed migrations
var migrations embed.FS

// Migrations returns the SQL files of the service's database.
func Migrations() fs.FS { return migrations }

// Sealed returns the columns with secrets.
func Sealed() []seal.Column {
	return []seal.Column{keyring.Seeds(), factor.Secrets(), federation.Secrets()}
}

// keyPurpose names the keys of access tokens.
const keyPurpose = "access"

// keysKept is how long a key verifies that signs no more: longer than an access token lives, and than an answer to an
// idempotent request is kept, which has its mark of a password.
const keysKept = 72 * time.Hour

// Deps is what the service runs on. Hashers, Keys, Challenger and Stolen may be zero, everything else is needed.
type Deps struct {
	DB      *store.DB
	JS      jetstream.JetStream
	Client  *rpc.Client
	Live    *settings.Live
	Log     *slog.Logger
	Metrics *observe.Registry
	Now     func() time.Time
	Keys    *seal.Keys // seal the secrets in the database; nil: they lie there in plain
	Hashers int        // password hashes computed at the same time; 0 means one for each processor

	Challenger challenge.Challenger // asks for something under load; nil means for work of the client's machine
	Stolen     *passwords.Filter    // which passwords were stolen and published; nil: none is known
}

// Service is the user service.
type Service struct {
	db      *store.DB
	js      jetstream.JetStream
	client  *rpc.Client
	live    *settings.Live
	log     *slog.Logger
	metrics *observe.Registry
	now     func() time.Time // to the microsecond, as it is stored
	keys    *keyring.Ring
	hasher  *hashing.Hasher
	factors *factor.Store
	made    quota.Counter

	passkeys   *passkey.Store
	federation *federation.Store

	challenger challenge.Challenger
	passwords  passwords.Judge
}

// New returns the service. It makes the first signing key if there is none, and runs nothing in the background.
func New(ctx context.Context, d Deps) (*Service, error) {
	keys, err := keyring.Open(ctx, d.DB, keyPurpose, d.Keys, d.Now)
	if err != nil {
		return nil, err
	}
	for _, secrets := range []seal.Column{factor.Secrets(), federation.Secrets()} {
		if err := secrets.Adopt(ctx, d.DB, d.Keys); err != nil {
			return nil, err
		}
	}
	hashers := d.Hashers
	if hashers <= 0 {
		hashers = runtime.NumCPU()
	}
	now := func() time.Time { return store.Time(d.Now()) }
	s := &Service{
		db:      d.DB,
		js:      d.JS,
		client:  d.Client,
		live:    d.Live,
		log:     d.Log,
		metrics: d.Metrics,
		now:     now,
		keys:    keys,
		hasher:  hashing.New(hashers, d.Metrics, d.Now),
		factors: factor.New(d.DB, d.Keys),
		made:    quota.Counter{DB: d.DB, Live: d.Live, Now: now},

		passkeys:   passkey.New(d.DB, d.Live, keys, now),
		federation: federation.New(d.DB, d.Keys, keys, now),

		challenger: d.Challenger,
		passwords: passwords.Judge{Stolen: d.Stolen,
			Bits:  func() int { return api.PasswordBits.Get(d.Live) },
			Words: func() string { return api.PasswordWords.Get(d.Live) }},
	}
	if s.challenger == nil {
		s.challenger = s.hashcash()
	}
	return s, nil
}

// Register binds every endpoint of the service.
func (s *Service) Register(srv *rpc.Server) {
	rpc.Handle(srv, api.RegisterUser, s.register)
	rpc.Handle(srv, api.CreateSession, s.login)
	rpc.Handle(srv, line.CheckUserPassword, s.checkPassword)
	rpc.Handle(srv, line.BeginVenueSession, s.beginAtVenue)
	rpc.Handle(srv, line.EndVenueSession, s.endAtVenue)
	rpc.Handle(srv, line.CheckSignedIn, s.checkSignedIn)
	rpc.Handle(srv, api.RefreshSession, s.refresh)
	rpc.Handle(srv, api.EndSession, s.logout)
	rpc.Handle(srv, api.GetMe, s.me)
	rpc.Handle(srv, api.UpdateMe, s.updateMe)
	rpc.Handle(srv, api.DeleteMe, s.deleteMe)
	rpc.Handle(srv, api.ChangeMyPassword, s.changePassword)
	rpc.HandleParts(srv, api.ExportMe, s.export)
	rpc.Handle(srv, api.RequestPasswordReset, s.requestReset)
	rpc.Handle(srv, api.ConfirmPasswordReset, s.confirmReset)
	rpc.Handle(srv, api.RequestEmailConfirmation, s.requestConfirmation)
	rpc.Handle(srv, api.ConfirmEmailAddress, s.confirmAddress)
	rpc.Handle(srv, api.MintConfirmationToken, s.mintConfirmation)
	rpc.Handle(srv, api.GetFormerContact, s.formerContact)
	rpc.Handle(srv, api.RequestPhoneConfirmation, s.requestPhone)
	rpc.Handle(srv, api.ConfirmPhoneNumber, s.confirmPhone)
	rpc.Handle(srv, api.MintPhoneCode, s.mintPhone)
	rpc.Handle(srv, api.ListUsers, s.list)
	rpc.Handle(srv, api.GetUser, s.get)
	rpc.Handle(srv, api.SetUserRoles, s.setRoles)
	rpc.Handle(srv, api.LockUser, s.lockUser)
	rpc.Handle(srv, api.UnlockUser, s.unlockUser)
	rpc.Handle(srv, api.GetKeys, s.publicKeys)
	rpc.Handle(srv, api.FindUserByEmail, s.find)
	rpc.Handle(srv, api.GetDemographics, s.demographics)
	rpc.Handle(srv, api.GetContact, s.contact)
	rpc.Handle(srv, api.GetContacts, s.contacts)
	rpc.Handle(srv, api.MintResetToken, s.mintReset)
	rpc.Handle(srv, api.CreateLiveTicket, s.issueTicket)
	rpc.Handle(srv, api.UseLiveTicket, s.useTicket)
	rpc.Handle(srv, api.CheckSession, s.check)
	rpc.Handle(srv, api.ListSessions, s.sessions)
	rpc.Handle(srv, api.EndOneSession, s.endOne)
	rpc.Handle(srv, api.EndAllSessions, s.endAll)
	rpc.Handle(srv, api.ListUserSessions, s.userSessions)
	rpc.Handle(srv, api.EndUserSessions, s.endUser)
	rpc.Handle(srv, api.GetSessionInfo, s.session)
	rpc.Handle(srv, api.CreateSessionWithFactor, s.secondStep)
	rpc.Handle(srv, api.ProveIdentity, s.proveAgain)
	rpc.Handle(srv, api.ListSecondFactors, s.listFactors)
	rpc.Handle(srv, api.AddSecondFactor, s.addFactor)
	rpc.Handle(srv, api.ConfirmSecondFactor, s.confirmFactor)
	rpc.Handle(srv, api.DeleteSecondFactor, s.deleteFactor)
	rpc.Handle(srv, api.RenewRecoveryCodes, s.renewRecoveryCodes)
	rpc.Handle(srv, api.ResetSecondFactors, s.resetFactors)
	rpc.Handle(srv, api.GetPasskeyOptions, s.passkeyOptions)
	rpc.Handle(srv, api.CreateSessionWithPasskey, s.passkeyLogin)
	rpc.Handle(srv, api.ListPasskeys, s.listPasskeys)
	rpc.Handle(srv, api.GetNewPasskeyOptions, s.newPasskeyOptions)
	rpc.Handle(srv, api.AddPasskey, s.addPasskey)
	rpc.Handle(srv, api.RenamePasskey, s.renamePasskey)
	rpc.Handle(srv, api.DeletePasskey, s.deletePasskey)
	rpc.Handle(srv, api.ListSignInProviders, s.signInProviders)
	rpc.Handle(srv, api.StartSignIn, s.startSignIn)
	rpc.Handle(srv, api.FinishSignIn, s.finishSignIn)
	rpc.Handle(srv, api.StartLink, s.startLink)
	rpc.Handle(srv, api.FinishLink, s.finishLink)
	rpc.Handle(srv, api.ListIdentities, s.listIdentities)
	rpc.Handle(srv, api.DeleteIdentity, s.deleteIdentity)
	rpc.Handle(srv, api.CreateIdentityProvider, s.createProvider)
	rpc.Handle(srv, api.ListIdentityProviders, s.listProviders)
	rpc.Handle(srv, api.GetIdentityProvider, s.getProvider)
	rpc.Handle(srv, api.UpdateIdentityProvider, s.updateProvider)
	rpc.Handle(srv, api.DeleteIdentityProvider, s.deleteProvider)
	rpc.Handle(srv, api.ReceiveProviderLogout, s.providerLogout)
	srv.HashSecrets(func(secrets []byte) []byte {
		_, sum := s.keys.MAC(secrets)
		return sum
	})
}

// Run publishes the events of the service and deletes what has expired, until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	work := run.NewGroup(s.log)
	work.Every(run.Loop{Name: "expired sessions", Interval: sweepEvery, Jitter: sweepEvery / 10, Do: s.sweep})
	work.Go("signing keys", func(ctx context.Context) error {
		return s.keys.Run(ctx, keyring.Schedule{Keep: keysKept, Log: s.log,
			Lifetime: func() time.Duration { return api.AccessKeyLifetime.Get(s.live) }})
	})
	work.Last.Go("outbox", stream.NewRelay(s.db, s.js, s.log, s.metrics).Run)
	return work.Run(ctx)
}

// sweepEvery is how often what has expired is deleted, and failureTTL how long a failed login is kept.
const (
	sweepEvery = 10 * time.Minute
	failureTTL = 24 * time.Hour
)

// sweep deletes sessions, refresh tokens, resets, failed logins and solved challenges that have expired.
func (s *Service) sweep(ctx context.Context) error {
	now := s.now()
	return s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		for _, old := range []struct {
			query string
			until time.Time
		}{
			{"DELETE FROM sessions WHERE expires_at <= ?", now},
			{"DELETE FROM refresh_tokens WHERE expires_at <= ?", now},
			{"DELETE FROM passkey_challenges WHERE expires_at <= ?", now},
			{"DELETE FROM login_challenges WHERE expires_at <= ?", now},
			{"DELETE FROM live_tickets WHERE expires_at <= ?", now},
			{"DELETE FROM password_resets WHERE requested_at <= ?", now.Add(-resetKept)},
			{"DELETE FROM email_confirmations WHERE requested_at <= ?", now.Add(-confirmationTTL - confirmationKept)},
			{"DELETE FROM phone_confirmations WHERE requested_at <= ?", now.Add(-phoneWindow)},
			{"DELETE FROM devices WHERE last_used_at <= ?", now.Add(-deviceTTL)},
			{"DELETE FROM login_failures WHERE last_at <= ?", now.Add(-failureTTL)},
			{"DELETE FROM spent_challenges WHERE expires_at <= ?", now},
		} {
			if _, err := tx.ExecContext(ctx, old.query, old.until); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *Service) logins(outcome string) *observe.Counter {
	return s.metrics.Counter("starlight_user_logins_total", "Attempts to give a password, by outcome.", "outcome",
		outcome)
}

func (s *Service) challenges(outcome string) *observe.Counter {
	return s.metrics.Counter("starlight_user_challenges_total",
		"Challenges that were asked for because very many logged in or registered, and their answers.", "outcome",
		outcome)
}

func (s *Service) factorGuesses(outcome string) *observe.Counter {
	return s.metrics.Counter("starlight_user_factors_total", "Attempts to give a second factor, by outcome.", "outcome",
		outcome)
}

func (s *Service) signIns(outcome string) *observe.Counter {
	return s.metrics.Counter("starlight_user_sign_ins_total", "Sign-ins through identity providers, by outcome.",
		"outcome", outcome)
}
