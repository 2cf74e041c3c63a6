package pages

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"slices"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// returnPath is the page to which identity providers send people back: one of a provider's redirect URIs.
const returnPath = "/sign-in/return"

func (s *Site) identityRoutes() []Route {
	return []Route{
		{"GET", "/sign-in/with/{provider}", s.startSignIn, false},
		{"GET", "/account/identities/{provider}", s.startLink, false},
		{"POST", "/account/identities", s.unlink, false},
		{"GET", returnPath, s.returned, false},
	}
}

// away is what a browser keeps while its person is at an identity provider. Only who has it can finish what was begun:
// the provider's state follows from the login token.
type away struct {
	Token string `json:"token"`
	Next  string `json:"next"`
	Link  bool   `json:"link,omitempty"` // an account is to be linked, and nobody signed in
}

const awayAge = 10 * time.Minute

// providers returns the identity providers of the system. Without an answer the other ways to sign in are there.
func (v *visit) providers() []api.SignInProvider {
	list, err := ask(v.stranger(), api.ListSignInProviders, &rpc.None{})
	if err != nil {
		return nil
	}
	return list.Items
}

// linkedProviders returns those at which the person who is signed in has an account.
func (v *visit) linkedProviders() []api.SignInProvider {
	linked, err := ask(v, api.ListIdentities, &rpc.None{})
	if err != nil {
		return nil
	}
	return slices.DeleteFunc(v.providers(), func(p api.SignInProvider) bool {
		return !slices.ContainsFunc(linked.Items, func(i api.Identity) bool { return i.ProviderID == p.ID })
	})
}

// leaving is the request that a person goes to a provider with. Links lead there, not forms: browsers would not let a
// form go on to another host. So other sites must not begin it.
func (v *visit) leaving() (*api.NewSignIn, error) {
	if !sameSite(v.RC) {
		return nil, fault.New(fault.Forbidden, "the link is on another site")
	}
	id, err := ids.Parse[ids.IdentityProviderKind](v.Param("provider"))
	if err != nil {
		return nil, fault.New(fault.NotFound, "there is no such identity provider")
	}
	back := url.URL{Scheme: "http", Host: string(v.RC.Host()), Path: returnPath}
	if v.Secure {
		back.Scheme = "https"
	}
	return &api.NewSignIn{ProviderID: id, RedirectURI: back.String(), Fresh: v.query("fresh") != ""}, nil
}

func (v *visit) leaveFor(started *api.StartedSignIn, next string, link bool) error {
	kept, err := json.Marshal(away{Token: started.LoginToken, Next: next, Link: link})
	if err != nil {
		return err
	}
	v.setCookie(awayCookie, base64.RawURLEncoding.EncodeToString(kept), awayAge)
	v.redirect(started.AuthorizeURL)
	return nil
}

func (s *Site) startSignIn(v *visit) error {
	req, err := v.leaving()
	if err != nil {
		return err
	}
	started, err := ask(v.stranger(), api.StartSignIn, req)
	if err != nil {
		return v.stranger().again("signin", err, v.signInData(""))
	}
	return v.leaveFor(started, v.next(), false)
}

func (s *Site) startLink(v *visit) error {
	req, err := v.leaving()
	if err != nil {
		return err
	}
	started, err := ask(v, api.StartLink, req)
	if err != nil {
		return s.settled(v, err)
	}
	return v.leaveFor(started, "", true)
}

func (s *Site) unlink(v *visit) error {
	id, err := ids.Parse[ids.IdentityKind](v.form("remove"))
	if err != nil {
		return fault.New(fault.NotFound, "there is no such identity")
	}
	_, err = ask(v, api.DeleteIdentity, &api.IdentityRef{ID: id})
	return s.settled(v, err)
}

// returned goes on with a person whom a provider has sent back.
func (s *Site) returned(v *visit) error {
	var kept away
	text, err := base64.RawURLEncoding.DecodeString(v.cookie(awayCookie))
	if err == nil {
		err = json.Unmarshal(text, &kept)
	}
	v.setCookie(awayCookie, "", 0)
	stranger := v.stranger()
	if err != nil || kept.Token == "" || v.query("code") == "" { // or the person has changed their mind there
		return stranger.again("signin", fault.New(fault.Unauthenticated, "this sign-in is over; start again"),
			v.signInData(""))
	}
	back := api.ReturnedSignIn{LoginToken: kept.Token, State: v.query("state"), Code: v.query("code"),
		Issuer: v.query("iss")}
	if kept.Link {
		_, err := ask(v, api.FinishLink, &back)
		return s.settled(v, err)
	}
	v.goal = kept.Next
	done, err := ask(stranger, api.FinishSignIn, &api.FinishedSignIn{ReturnedSignIn: back,
		DeviceToken: v.cookie(deviceCookie), Client: v.browser(), Speaks: v.lang})
	if err != nil {
		return stranger.again("signin", err, v.signInData(""))
	}
	return v.signedIn(done)
}
