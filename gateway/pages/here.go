package pages

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// Here is the computer of a venue that serves the pages of its doors by itself, whether or not there is a line to the
// system.
type Here interface {
	// Ask answers as an endpoint does, for who shows a token. The request and the answer are pointers to the types of
	// the endpoint that has the subject. What the computer cannot do is NotFound.
	Ask(ctx context.Context, subject, token string, req any) (any, error)
	// SignIn lets a person in who works for an event of the venue. The system says who that is: without a line to it
	// the fault is Unavailable.
	SignIn(ctx context.Context, req *api.Login, proof api.FactorProof) (*Entered, error)
	// SignOut ends the session of a person.
	SignOut(ctx context.Context, token string) error
	// Standing says how the computer is.
	Standing() Standing
}

// Standing is how the computer of a venue is, for the people at its doors.
type Standing struct {
	Up      bool          // there is a line to the system
	Age     time.Duration // since the list of tickets was known to be that of the system
	Waiting int64         // entries of the journal that the system does not have
	Trouble string        // why nothing is decided, if so
}

// Minutes returns the age of the list of tickets in whole minutes, and 0 if it is not known.
func (s Standing) Minutes() int {
	if s.IsOld() {
		return 0
	}
	return int(s.Age / time.Minute)
}

// IsOld reports whether the list of tickets was not compared with that of the system for a day, or not since the start.
func (s Standing) IsOld() bool { return s.Age > 24*time.Hour }

// askHere is ask where the computer of a venue answers.
func askHere[Req, Resp any](v *visit, e rpc.Endpoint[Req, Resp], req *Req) (*Resp, error) {
	out, err := v.site.cfg.Here.Ask(v.askingHere(), e.Subject(), v.token(), req)
	if err != nil {
		return nil, err
	}
	resp, ok := out.(*Resp)
	if !ok {
		return nil, fmt.Errorf("pages: the computer answers %s with %T", e.Subject(), out)
	}
	return resp, nil
}

func (v *visit) askingHere() context.Context {
	return rpc.WithMeta(context.Background(), rpc.Meta{RequestID: v.ID})
}

// DoorRoutes returns what the computer of a venue serves: the doors of its events, for devices that have a pass and
// people who have signed in.
func (s *Site) DoorRoutes() []Route {
	return append(s.doorRoutes(), Route{"GET", "/", s.doors, false}, Route{"GET", "/sign-in", s.staffPage, false},
		Route{"POST", "/sign-in", s.staffSignIn, false}, Route{"POST", "/sign-out", s.staffSignOut, false},
		Route{"POST", "/language", s.setLanguage, false}, Route{"GET", assetPath, s.asset, false})
}

// passCookie has the event of a pass, and its secret.
const passCookie = "pass"

// passAge is how long a browser remembers its pass. It is taken away in the office.
const passAge = 30 * 24 * time.Hour

// pass returns the secret of the pass that the browser has for an event, or for any with "".
func (v *visit) pass(event ids.Event) string {
	of, secret, _ := strings.Cut(v.cookie(passCookie), ".")
	if event != "" && of != event.String() {
		return ""
	}
	return secret
}

// pairPage asks for the code of a pairing. The address that a picture leads to has it behind the #, where no server
// sees it: a script puts it into the form. Only the button uses it up, since programs look at addresses, too.
func (s *Site) pairPage(v *visit) error { return v.show("pair", map[string]any{"Code": ""}) }

// pair gets the pass of a code, and opens the door that it is for.
func (s *Site) pair(v *visit) error {
	code := strings.TrimSpace(v.form("code"))
	paired, err := ask(v, api.PairDevice, &api.PairRequest{Code: code})
	if err != nil {
		return v.again("pair", err, map[string]any{"Code": code})
	}
	v.setCookie(passCookie, paired.EventID.String()+"."+paired.Secret, passAge)
	v.redirect("/door/" + paired.EventID.String())
	return nil
}

// isPaired reports whether the browser is that of a device that has a pass for an event, at the system: there passes
// are for nothing but scans.
func (v *visit) isPaired(event ids.Event) bool { return v.site.cfg.Here == nil && v.pass(event) != "" }

// scanWithPass admits a ticket, or lets its holder out, at the system with the pass of a device.
func (s *Site) scanWithPass(v *visit, req *api.Admission) error {
	out, err := ask(v, api.ScanWithPass, &api.PassScan{EventID: req.EventID, Secret: v.pass(req.EventID),
		Code: req.Code, Gate: req.Gate, Way: v.form("way")})
	switch {
	case fault.Is(err, fault.NotFound):
		return v.unpaired()
	case err != nil:
		return s.cannotScan(v, err)
	}
	shown := scanned{Result: out.Result, Ticket: out.Ticket,
		Asked: askedAtDoor(out.Ticket, out.Questions, out.Answers, v.lang),
		Good:  out.Result == api.Admitted || out.Result == api.Exited || out.Result == api.HandedOut}
	if out.Result == api.AlreadyAdmitted || out.Result == api.AlreadyHandedOut {
		shown.First = &api.AdmissionResult{FirstAdmittedAt: out.FirstAdmittedAt, FirstGate: out.FirstGate}
	}
	return s.doorWith(v, &shown)
}

// unpaired leads a browser whose pass or session is over, or that has none, to where it gets one. The pass of a device
// stays when the session of a person on it ends.
func (v *visit) unpaired() error {
	if v.staff {
		v.leave()
		v.redirect("/sign-in")
		return nil
	}
	if v.cookie(passCookie) != "" {
		v.setCookie(passCookie, "", 0)
	}
	v.redirect("/pair")
	return nil
}
