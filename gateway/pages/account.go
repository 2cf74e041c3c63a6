package pages

import (
	"encoding/base64"
	"html/template"
	"slices"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/document"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/rpc/codec"
)

func (s *Site) accountRoutes() []Route {
	return []Route{
		{"GET", "/account", s.account, false},
		{"GET", "/account/settings", s.profile, false},
		{"POST", "/account/settings", s.changeProfile, false},
		{"POST", "/account/password", s.changePassword, false},
		{"POST", "/account/sessions", s.endSessions, false},
		{"POST", "/account/preferences", s.changePreferences, false},
		{"POST", "/account/confirmation", s.askForConfirmation, false},
		{"POST", "/account/second-factors", s.addFactor, false},
		{"POST", "/account/second-factors/{id}", s.confirmFactor, false},
		{"POST", "/account/deletion", s.deleteAccount, false},
		{"GET", "/forgot", s.forgotPage, false},
		{"POST", "/forgot", s.forgot, false},
		{"GET", "/reset", s.resetPage, false},
		{"POST", "/reset", s.reset, false},
		{"GET", "/confirm", s.confirmPage, false},
		{"POST", "/confirm", s.confirm, false},
	}
}

// account shows what a person has: tickets and orders.
func (s *Site) account(v *visit) error {
	tickets, err := ask(v, api.ListMyTickets, &api.Page{Limit: 50, Cursor: v.query("tickets")})
	if err != nil {
		return err
	}
	orders, err := ask(v, api.ListMyOrders, &api.Page{Limit: 20, Cursor: v.query("orders")})
	if err != nil {
		return err
	}
	return v.show("account", map[string]any{"Tickets": tickets.Items, "MoreTickets": tickets.NextCursor,
		"Orders": orders.Items, "MoreOrders": orders.NextCursor})
}

// profile shows who a person is to the system: name, address, password, devices, second factors, messages.
func (s *Site) profile(v *visit) error { return s.profileAgain(v, nil) }

func (s *Site) profileAgain(v *visit, failed error) error {
	me, err := ask(v, api.GetMe, &rpc.None{})
	if err != nil {
		return err
	}
	sessions, err := ask(v, api.ListSessions, &api.SessionQuery{Page: api.Page{Limit: 50}})
	if err != nil {
		return err
	}
	factors, err := ask(v, api.ListSecondFactors, &rpc.None{})
	if err != nil {
		return err
	}
	preferences, err := ask(v, api.GetPreferences, &rpc.None{})
	if err != nil {
		return err
	}
	passkeys, err := ask(v, api.ListPasskeys, &rpc.None{})
	if err != nil {
		return err
	}
	identities, err := ask(v, api.ListIdentities, &rpc.None{})
	if err != nil {
		return err
	}
	data := map[string]any{"Me": me, "Passkeys": passkeys.Items, "Identities": identities.Items,
		"Providers": v.providers(), "Sessions": sessions.Items,
		"Factors": factors, "Kinds": preferences.Kinds,
		"Done": v.query("done"), "Declined": v.query("declined") != ""}
	if failed != nil {
		return v.again("profile", failed, data)
	}
	return v.show("profile", data)
}

// settled leads back to the settings after a change, or shows there what was wrong with it.
func (s *Site) settled(v *visit, err error) error {
	if err != nil {
		return s.profileAgain(v, err)
	}
	v.redirect("/account/settings?done=yes")
	return nil
}

func (s *Site) changeProfile(v *visit) error {
	me, err := ask(v, api.GetMe, &rpc.None{})
	if err != nil {
		return err
	}
	name := v.form("name")
	me.Profile.Language, me.Profile.Phone = v.form("language"), v.form("phone")
	me.Profile.City, me.Profile.Country = v.form("city"), v.form("country")
	req := &api.UpdateProfile{Name: &name, Profile: codec.To(me.Profile)}
	if email := v.form("email"); email != me.Email && email != "" {
		req.Email, req.CurrentPassword = &email, v.form("password")
	}
	if _, err = ask(v, api.UpdateMe, req); err == nil {
		v.setCookie(nameCookie, base64.RawURLEncoding.EncodeToString([]byte(name)), sessionAge)
	}
	return s.settled(v, err)
}

func (s *Site) changePassword(v *visit) error {
	_, err := ask(v, api.ChangeMyPassword, &api.ChangePassword{CurrentPassword: v.form("current"),
		NewPassword: v.form("new")})
	return s.settled(v, err)
}

// endSessions ends one session, or all of them.
func (s *Site) endSessions(v *visit) error {
	if v.form("session") == "all" {
		if _, err := ask(v, api.EndAllSessions, &rpc.None{}); err != nil {
			return s.settled(v, err)
		}
		v.leave()
		v.redirect("/sign-in")
		return nil
	}
	id, err := ids.Parse[ids.SessionKind](v.form("session"))
	if err != nil {
		return fault.New(fault.NotFound, "there is no such session")
	}
	_, err = ask(v, api.EndOneSession, &api.SessionRef{ID: id})
	return s.settled(v, err)
}

// changePreferences takes the ticks of the form: what is not ticked is not wanted.
func (s *Site) changePreferences(v *visit) error {
	p, err := ask(v, api.GetPreferences, &rpc.None{})
	if err != nil {
		return err
	}
	want := func(kind, channel string) bool { return v.form(kind+"."+channel) != "" }
	for i := range p.Kinds {
		k := &p.Kinds[i]
		k.SMS, k.Push = want(k.Kind, "sms"), want(k.Kind, "push")
		k.Email = k.Transactional || want(k.Kind, "email")
	}
	p.Email = nil
	_, err = ask(v, api.PutPreferences, p)
	return s.settled(v, err)
}

func (s *Site) askForConfirmation(v *visit) error {
	_, err := ask(v, api.RequestEmailConfirmation, &rpc.None{})
	return s.settled(v, err)
}

// addFactor begins to enrol an authenticator app, or takes one away.
func (s *Site) addFactor(v *visit) error {
	if id := v.form("remove"); id != "" {
		factor, err := ids.Parse[ids.FactorKind](id)
		if err != nil {
			return fault.New(fault.NotFound, "there is no such second factor")
		}
		_, err = ask(v, api.DeleteSecondFactor, &api.FactorRef{ID: factor})
		return s.settled(v, err)
	}
	e, err := ask(v, api.AddSecondFactor, &api.NewFactor{Name: v.form("name")})
	if err != nil {
		return s.settled(v, err)
	}
	return v.enrol(e.ID, e.Secret, e.URI, nil)
}

// enrol shows what an authenticator app is to read. The page is not kept, and has all that its form needs.
func (v *visit) enrol(id ids.Factor, secret, uri string, failed error) error {
	qr, err := document.NewQR(uri)
	if err != nil {
		return err
	}
	picture := template.URL("data:image/png;base64," + base64.StdEncoding.EncodeToString(qr.PNG()))
	v.RC.Response.Header.Set("Cache-Control", "no-store")
	data := map[string]any{"ID": id, "Secret": secret, "URI": uri, "Picture": picture}
	if failed != nil {
		return v.again("enrol", failed, data)
	}
	return v.show("enrol", data)
}

// confirmFactor takes the first code of an app, and shows the recovery codes, once.
func (s *Site) confirmFactor(v *visit) error {
	id, err := ids.Parse[ids.FactorKind](v.Param("id"))
	if err != nil {
		return fault.New(fault.NotFound, "there is no such second factor")
	}
	codes, err := ask(
		v,
		api.ConfirmSecondFactor,
		&api.FirstCode{FactorRef: api.FactorRef{ID: id}, Code: v.form("code")},
	)
	if err != nil {
		return v.enrol(id, v.form("secret"), v.form("uri"), err)
	}
	v.RC.Response.Header.Set("Cache-Control", "no-store")
	return v.show("recovery", map[string]any{"Codes": codes.RecoveryCodes})
}

func (s *Site) deleteAccount(v *visit) error {
	if _, err := ask(v, api.DeleteMe, &api.DeleteAccount{Password: v.form("password")}); err != nil {
		return s.settled(v, err)
	}
	v.leave()
	v.redirect("/")
	return nil
}

func (s *Site) forgotPage(v *visit) error {
	return v.show("forgot", map[string]any{"Sent": false, "Email": v.query("email")})
}

// forgot says the same whether or not there is an account.
func (s *Site) forgot(v *visit) error {
	data := map[string]any{"Sent": true, "Email": v.form("email")}
	if _, err := ask(v, api.RequestPasswordReset, &api.RequestReset{Email: v.form("email")}); err != nil {
		data["Sent"] = false
		return v.again("forgot", err, data)
	}
	return v.show("forgot", data)
}

func (s *Site) resetPage(v *visit) error {
	return v.show("reset", map[string]any{"Token": v.query("token")})
}

func (s *Site) reset(v *visit) error {
	token := v.form("token")
	req := &api.ConfirmReset{Token: token, NewPassword: v.form("new")}
	if _, err := ask(v, api.ConfirmPasswordReset, req); err != nil {
		return v.again("reset", err, map[string]any{"Token": token})
	}
	v.leave()
	v.redirect("/sign-in")
	return nil
}

// confirmPage asks to press a button: programs that look at the links of mails must not confirm anything.
func (s *Site) confirmPage(v *visit) error {
	return v.show("confirm", map[string]any{"Token": v.query("token"), "Done": false})
}

func (s *Site) confirm(v *visit) error {
	token := v.form("token")
	if _, err := ask(v, api.ConfirmEmailAddress, &api.ConfirmEmail{Token: token}); err != nil {
		return v.again("confirm", err, map[string]any{"Token": token, "Done": false})
	}
	return v.show("confirm", map[string]any{"Token": "", "Done": true})
}

// choosable returns the kinds of messages whose channels a person can choose.
func choosable(kinds []api.Preference) []api.Preference {
	return slices.DeleteFunc(slices.Clone(kinds), func(p api.Preference) bool { return p.Kind == api.AboutAccount })
}
