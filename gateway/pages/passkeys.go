package pages

import (
	"encoding/json"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

func (s *Site) passkeyRoutes() []Route {
	return []Route{
		{"POST", "/passkeys/options", s.passkeyOptions, false},
		{"POST", "/sign-in/passkey", s.signInPasskey, false},
		{"POST", "/account/passkeys", s.changePasskeys, false},
	}
}

// passkeyOptions gives a script what it asks the browser for a passkey with: a new one, one that signs in, one that is
// the second step of a login, or one that proves who is signed in.
func (s *Site) passkeyOptions(v *visit) error {
	var (
		options *api.PasskeyOptions
		err     error
	)
	switch v.form("for") {
	case "new":
		options, err = ask(v, api.GetNewPasskeyOptions, &rpc.None{})
	case "step":
		options, err = ask(v.stranger(), api.GetPasskeyOptions, &api.PasskeyRequest{Challenge: v.cookie(stepCookie)})
	case "proof":
		options, err = ask(v, api.GetPasskeyOptions, &api.PasskeyRequest{})
	default:
		options, err = ask(v.stranger(), api.GetPasskeyOptions, &api.PasskeyRequest{})
	}
	if err != nil {
		return err
	}
	body, err := json.Marshal(options)
	if err != nil {
		return err
	}
	v.RC.Response.Header.SetContentType("application/json")
	v.RC.Response.SetBodyRaw(body)
	return nil
}

// stranger is the same request of a person who is not signed in.
func (v *visit) stranger() *visit {
	other := *v
	other.access, other.guest = "", ""
	return &other
}

// credential returns what the browser has answered with. A form has none if the browser could not be asked.
func (v *visit) credential() (json.RawMessage, error) {
	if text := v.form("credential"); json.Valid([]byte(text)) {
		return json.RawMessage(text), nil
	}
	return nil, fault.New(fault.Invalid, "the browser gave no passkey")
}

// signInPasskey signs in without a password, or goes the second step of a login.
func (s *Site) signInPasskey(v *visit) error {
	page, data := "signin", v.signInData("")
	if v.form("for") == "step" {
		page, data = "code", map[string]any{"Next": v.next()}
	}
	credential, err := v.credential()
	if err != nil {
		return v.again(page, err, data)
	}
	var tokens *api.Tokens
	if page == "code" {
		tokens, err = ask(v.stranger(), api.CreateSessionWithFactor, &api.SecondStep{Challenge: v.cookie(stepCookie),
			Passkey: credential, DeviceToken: v.cookie(deviceCookie), Client: v.browser()})
	} else {
		tokens, err = ask(v.stranger(), api.CreateSessionWithPasskey, &api.PasskeyLogin{Credential: credential,
			DeviceToken: v.cookie(deviceCookie), Client: v.browser()})
	}
	if err != nil {
		return v.again(page, err, data)
	}
	v.setCookie(stepCookie, "", 0)
	return v.welcome(tokens)
}

// changePasskeys adds a passkey, or takes one away.
func (s *Site) changePasskeys(v *visit) error {
	if remove := v.form("remove"); remove != "" {
		id, err := ids.Parse[ids.PasskeyKind](remove)
		if err != nil {
			return fault.New(fault.NotFound, "there is no such passkey")
		}
		_, err = ask(v, api.DeletePasskey, &api.PasskeyRef{ID: id})
		return s.settled(v, err)
	}
	credential, err := v.credential()
	if err != nil {
		// The reason may be another one, such as a proof that is asked for.
		if _, wrong := ask(v, api.GetNewPasskeyOptions, &rpc.None{}); wrong != nil {
			err = wrong
		}
		return s.settled(v, err)
	}
	added, err := ask(v, api.AddPasskey, &api.NewPasskey{Name: v.form("name"), Credential: credential})
	if err != nil {
		return s.settled(v, err)
	}
	if len(added.RecoveryCodes) == 0 {
		return s.settled(v, nil)
	}
	v.RC.Response.Header.Set("Cache-Control", "no-store")
	return v.show("recovery", map[string]any{"Codes": added.RecoveryCodes})
}
