package user

import (
	"context"
	"errors"
	"net/url"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/revocation"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/stream"
	"github.com/starlightsymphony/starlight/svc/user/federation"
)

func (s *Service) listIdentities(ctx context.Context, _ *rpc.None) (*api.Identities, error) {
	row, err := s.current(ctx)
	if err != nil {
		return nil, err
	}
	list := &api.Identities{HasPassword: row.Password != ""}
	list.Items, err = s.federation.Identities(ctx, s.db.Read(), row.ID)
	return list, err
}

func (s *Service) startLink(ctx context.Context, req *api.NewSignIn) (*api.StartedSignIn, error) {
	if _, err := s.current(ctx); err != nil {
		return nil, err
	}
	return s.begin(ctx, req, rpc.Caller(ctx).Session)
}

// finishLink links who came back from a provider with the caller, in the session that has started it.
func (s *Service) finishLink(ctx context.Context, req *api.ReturnedSignIn) (*api.Identity, error) {
	row, err := s.current(ctx)
	if err != nil {
		return nil, err
	}
	over := fault.New(fault.Forbidden, "this sign-in is over or was not confirmed; start again")
	a, ok := s.federation.Open(ctx, req.LoginToken)
	if !ok || a.Session == "" || a.Session != rpc.Caller(ctx).Session {
		return nil, over
	}
	p, c, err := s.confirmed(ctx, a, *req)
	if err == nil {
		err = s.complete(ctx, p, c)
	}
	var linked api.Identity
	if err == nil {
		err = s.db.TxRepeatable(ctx, func(ctx context.Context, tx bun.Tx) error {
			if p, err := s.federation.Hold(ctx, tx, p.ID, false); err != nil || !p.Enabled {
				return errors.Join(err, errNotConfirmed)
			}
			if _, err := s.lock(ctx, tx, row.ID); err != nil {
				return err
			}
			var fresh bool
			if linked, fresh, err = s.federation.Link(ctx, tx, row.ID, p, c); err != nil || !fresh {
				return err
			}
			return s.tellIdentity(ctx, tx, api.IdentityWasLinked, row.ID, p.Name)
		})
	}
	if errors.Is(err, errNotConfirmed) {
		return nil, over
	}
	if err != nil {
		return nil, err
	}
	return &linked, nil
}

// providerLogout ends what a person began at a provider who has left there. Each word of a provider counts once.
func (s *Service) providerLogout(ctx context.Context, req *api.ProviderLogout) (*rpc.None, error) {
	if _, err := s.allow(ctx, s.db.Read(), networkAttempt(ctx)); err != nil {
		return nil, err
	}
	p, err := s.federation.Provider(ctx, s.db.Read(), req.ID)
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(req.Body))
	if err != nil {
		form = nil
	}
	logout, err := s.federation.Logout(ctx, p, form.Get("logout_token"))
	if errors.Is(err, federation.ErrRefused) {
		err = s.notConfirmed(ctx, p, err)
	}
	if errors.Is(err, errNotConfirmed) {
		var check fault.Check
		check.Field(false, "logout_token", "is none of this provider's, or is over")
		return nil, check.Err()
	}
	if err != nil {
		return nil, s.providerFault(ctx, p, err)
	}
	return nil, s.revoking(ctx, func(ctx context.Context, tx bun.Tx) ([]revocation.Fact, error) {
		fresh, err := spendIn(ctx, tx, logout.ID, logout.Until)
		if err != nil || !fresh {
			return nil, err
		}
		ends := federated{provider: p.ID, session: logout.Who.Session}
		if logout.Who.Subject != "" {
			ends.user, err = s.federation.Owner(ctx, tx, p, &logout.Who)
			if fault.Is(err, fault.NotFound) { // who never came here
				return nil, nil
			}
			if err != nil {
				return nil, err
			}
			if _, err := s.lock(ctx, tx, ends.user); err != nil {
				return nil, err
			}
		}
		return s.endFederated(ctx, tx, ends)
	})
}

// tellIdentity adds a domain event about a person's identity at a provider to the outbox.
func (s *Service) tellIdentity(
	ctx context.Context, tx bun.Tx, topic api.Topic[api.IdentityEvent], id ids.User, provider string,
) error {
	return stream.Add(ctx, tx, topic.Subject, api.IdentityEvent{UserID: id, Provider: provider, At: s.now()})
}

// deleteIdentity unlinks an identity of the caller, and ends the sessions that began there but this one. The last way
// to sign in stays.
func (s *Service) deleteIdentity(ctx context.Context, req *api.IdentityRef) (*rpc.None, error) {
	row, err := s.current(ctx)
	if err != nil {
		return nil, err
	}
	runs := 0
	return nil, s.revoking(ctx, func(ctx context.Context, tx bun.Tx) ([]revocation.Fact, error) {
		row, err := s.lock(ctx, tx, row.ID)
		if err != nil {
			return nil, err
		}
		all, err := s.federation.Identities(ctx, tx, row.ID)
		if err != nil {
			return nil, err
		}
		has, err := s.factors.Count(ctx, tx, row.ID)
		if err != nil {
			return nil, err
		}
		runs++
		for _, i := range all {
			if i.ID != req.ID {
				continue
			}
			if row.Password == "" && has.Passkeys == 0 && len(all) == 1 {
				return nil, fault.New(fault.Conflict, "the account has no other way to sign in: set a password first")
			}
			if err := s.federation.Unlink(ctx, tx, row.ID, i.ID); err != nil {
				return nil, err
			}
			ended, err := s.endFederated(ctx, tx,
				federated{provider: i.ProviderID, user: row.ID, keep: rpc.Caller(ctx).Session})
			if err != nil {
				return nil, err
			}
			return ended, s.tellIdentity(ctx, tx, api.IdentityWasUnlinked, row.ID, i.Provider)
		}
		if runs > 1 { // an earlier run has done it
			return nil, nil
		}
		return nil, fault.New(fault.NotFound, "there is no such identity")
	})
}
