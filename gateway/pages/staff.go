package pages

import (
	"encoding/base64"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
)

// Entered is a person who has signed in at the computer of a venue.
type Entered struct {
	Token string
	Name  string
	For   time.Duration // that the token is good
}

// staffPage lets the people of a venue's events sign in at its computer, with their accounts of the system.
func (s *Site) staffPage(v *visit) error {
	return v.show("staff", map[string]any{"Email": "", "Cut": !s.cfg.Here.Standing().Up})
}

func (s *Site) staffSignIn(v *visit) error {
	v.access = "" // of before: what is wrong now is in the form
	req, proof := &api.Login{Email: v.form("email"), Password: v.form("password")}, api.FactorProof{}
	if code := v.form("code"); len(code) == 6 {
		proof.Code = code
	} else {
		proof.RecoveryCode = code
	}
	in, err := s.cfg.Here.SignIn(v.askingHere(), req, proof)
	if fault.Is(err, fault.Unavailable) || fault.Is(err, fault.Timeout) {
		v.RC.Response.SetStatusCode(fault.Unavailable.Status())
		return v.show("staff", map[string]any{"Email": req.Email, "Cut": true})
	}
	if err != nil {
		return v.again("staff", err, map[string]any{"Email": req.Email, "Cut": false})
	}
	v.setCookie(accessCookie, in.Token, in.For)
	v.setCookie(nameCookie, base64.RawURLEncoding.EncodeToString([]byte(in.Name)), in.For)
	v.redirect("/door")
	return nil
}

func (s *Site) staffSignOut(v *visit) error {
	if err := s.cfg.Here.SignOut(v.askingHere(), v.cookie(accessCookie)); err != nil {
		return err
	}
	v.leave()
	v.redirect("/")
	return nil
}
