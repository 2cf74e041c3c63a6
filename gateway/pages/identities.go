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

// returnPath is the page to which identity providers send people back: one of a provider's redirect URIs. Each has its
// own below it, so that an answer of one is not taken for another's.
const returnPath = "/sign-in/return"

func (s *Site) identityRoutes() []Route {
	return []Route{
		{"POST", "/sign-in/with/{provider}", s.startSignIn, false},
		{"POST", "/account/identities/{provider}", s.startLink, false},
		{"POST", "/account/identities", s.unlink, false},
		{"GET", returnPath, s.returned, false},
		{"GET", returnPath + "/{provider}", s.returned, false},
	}
}

// away is what a browser keeps while its person is at an identity provider. Only who has it can finish what was begun:
// the provider's state follows from the login token.
type away struct {
	Token string `json:"token"`
	Next  string `json:"next"`
	Link  bool   `json:"link,omitempty"` // an account is to be linked, and nobody signed in
	At    string `json:"at"`             // what people know the provider by
}

const (
	awayAge     = 10 * time.Minute
	longestGoal = 1000 // bytes of an address that a cookie has room for, beside the login token
)

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

// leaveFor begins something at a provider, and leads there. Forms begin it, which other sites cannot send: an address
// could be where a person is led after signing in here, and begin what they do not mean. The form itself may not lead
// to another host, so a page does.
func (s *Site) leaveFor(v *visit, link bool, start func(*api.NewSignIn) (*api.StartedSignIn, error)) error {
	id, err := ids.Parse[ids.IdentityProviderKind](v.Param("provider"))
	if err != nil {
		return fault.New(fault.NotFound, "there is no such identity provider")
	}
	req := &api.NewSignIn{ProviderID: id, RedirectURI: v.origin() + returnPath + "/" + id.String(),
		Fresh: v.form("fresh") != ""}
	started, err := start(req)
	if fault.Is(err, fault.Invalid) { // the provider has the page of all
		req.RedirectURI = v.origin() + returnPath
		started, err = start(req)
	}
	if err != nil {
		return err
	}
	gone := away{Token: started.LoginToken, Next: v.next(), Link: link}
	if len(gone.Next) > longestGoal {
		gone.Next = "/"
	}
	for _, p := range v.providers() {
		if p.ID == id {
			gone.At = p.Name
		}
	}
	kept, err := json.Marshal(gone)
	if err != nil {
		return err
	}
	v.setCookie(awayCookie, base64.RawURLEncoding.EncodeToString(kept), awayAge)
	return v.show("away", map[string]any{"To": started.AuthorizeURL, "Name": gone.At})
}

func (s *Site) startSignIn(v *visit) error {
	stranger := v.stranger()
	err := s.leaveFor(v, false, func(req *api.NewSignIn) (*api.StartedSignIn, error) {
		return ask(stranger, api.StartSignIn, req)
	})
	if err != nil {
		return stranger.again("signin", err, v.signInData(""))
	}
	return nil
}

func (s *Site) startLink(v *visit) error {
	err := s.leaveFor(v, true, func(req *api.NewSignIn) (*api.StartedSignIn, error) {
		return ask(v, api.StartLink, req)
	})
	if err != nil {
		return s.settled(v, err)
	}
	return nil
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
	v.goal = kept.Next
	stranger := v.stranger()
	switch {
	case err != nil || kept.Token == "":
		return stranger.again("signin", fault.New(fault.Unauthenticated, "this sign-in is over; start again"),
			v.signInData(""))
	case v.query("code") == "" && kept.Link: // the person has changed their mind there
		v.redirect("/account/settings?declined=yes")
		return nil
	case v.query("code") == "":
		data := v.signInData("")
		data["Declined"] = kept.At
		return stranger.show("signin", data)
	}
	back := api.ReturnedSignIn{LoginToken: kept.Token, State: v.query("state"), Code: v.query("code"),
		Issuer: v.query("iss"), RedirectURI: v.origin() + string(v.RC.Path())}
	if kept.Link {
		return s.finishLink(v, &back)
	}
	done, err := ask(stranger, api.FinishSignIn, &api.FinishedSignIn{ReturnedSignIn: back,
		DeviceToken: v.cookie(deviceCookie), Client: v.browser(), Speaks: v.lang})
	if err != nil {
		return stranger.again("signin", err, v.signInData(""))
	}
	return v.signedIn(done)
}

// finishLink ends a link. Who is signed in no more signs in first, and begins again: the code is kept in no address.
func (s *Site) finishLink(v *visit, back *api.ReturnedSignIn) error {
	_, err := ask(v, api.FinishLink, back)
	if fault.Is(err, fault.Unauthenticated) {
		v.leave()
		v.redirect("/sign-in?next=" + url.QueryEscape("/account/settings"))
		return nil
	}
	return s.settled(v, err)
}
