package pages

import (
	"encoding/json"
	"fmt"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
)

func (s *Site) doorRoutes() []Route {
	return []Route{
		{"GET", "/door", s.doors, false},
		{"GET", "/door.webmanifest", s.doorApp, false},
		{"GET", "/door/{id}", s.door, false},
		{"POST", "/door/{id}", s.scan, false},
		{"POST", "/door/{id}/answers", s.answerAtDoor, false},
		{"POST", framePath, s.frame, false},
		{"GET", "/door/{id}/guests", s.guests, false},
		{"GET", "/door/{id}/scans", s.scans, false},
		{"POST", "/door/{id}/scans", s.undo, false},
		{"GET", "/pair", s.pairPage, false},
		{"POST", "/pair", s.pair, false},
	}
}

// doors lists the events at whose doors a person may be. Others get the link of their event.
func (s *Site) doors(v *visit) error {
	if s.cfg.Here != nil {
		list, err := ask(v, api.ListEvents, &api.EventQuery{})
		if err != nil {
			return err
		}
		return v.show("doors", map[string]any{"Events": list.Items})
	}
	mine, err := ask(v, api.ListOrganizers, &api.Page{Limit: 50})
	if err != nil {
		return err
	}
	var events []api.Event
	for _, m := range mine.Items {
		list, err := ask(v, api.ListEvents, &api.EventQuery{Organizer: m.ID.String(), From: s.cfg.Now(),
			Page: api.Page{Limit: 50}})
		if err != nil {
			return err
		}
		events = append(events, list.Items...)
	}
	return v.show("doors", map[string]any{"Events": events})
}

// scanned is what the page says of a code: for a person who looks for half a second.
type scanned struct {
	Result string
	Good   bool
	Ticket *api.Ticket
	First  *api.AdmissionResult // for one that was admitted before
	Asked  []askedGroup         // what is asked about the ticket at the door
}

func (s *Site) door(v *visit) error { return s.doorWith(v, nil) }

func (s *Site) doorWith(v *visit, result *scanned) error {
	e, err := v.eventHere()
	if err != nil {
		return err
	}
	data := map[string]any{"Event": e, "Result": result, "Gate": v.form("gate"), "Out": v.form("way") == "out",
		"Last": []api.Scan{}, "Standing": (*Standing)(nil), "Paired": v.isPaired(e.ID)}
	if !v.isPaired(e.ID) { // who may not be at this door sees no page of it
		last, err := ask(v, api.ListAdmissions, &api.EventPage{EventID: e.ID, Page: api.Page{Limit: 5}})
		if err != nil {
			return err
		}
		data["Last"] = last.Items
	}
	if s.cfg.Here != nil {
		now := s.cfg.Here.Standing()
		data["Standing"] = &now
	}
	return v.show("door", data)
}

// scan admits a ticket, or lets its holder out.
func (s *Site) scan(v *visit) error {
	ref, err := v.eventRef()
	if err != nil {
		return err
	}
	req := &api.Admission{EventID: ref.ID, Code: v.form("code"), Gate: v.form("gate")}
	var shown scanned
	if v.isPaired(ref.ID) {
		return s.scanWithPass(v, req)
	}
	if v.form("way") == "out" {
		left, err := ask(v, api.ExitTicket, req)
		if err != nil {
			return s.cannotScan(v, err)
		}
		shown = scanned{Result: left.Result, Good: left.Result == api.Exited}
	} else {
		in, err := ask(v, api.AdmitTicket, req)
		if err != nil {
			return s.cannotScan(v, err)
		}
		shown = scanned{Result: in.Result, Good: in.Result == api.Admitted || in.Result == api.HandedOut,
			Ticket: in.Ticket}
		shown.Asked = askedAtDoor(in.Ticket, in.Questions, in.Answers, v.lang)
		if in.Result == api.AlreadyAdmitted || in.Result == api.AlreadyHandedOut {
			shown.First = in
		}
	}
	return s.doorWith(v, &shown)
}

// cannotScan shows that a code was not decided on: the page stays, and the next code may work.
func (s *Site) cannotScan(v *visit, err error) error {
	f := fault.From(err)
	switch f.Code {
	case fault.Unauthenticated, fault.NotFound, fault.Forbidden, fault.Internal:
		return err
	}
	v.RC.Response.SetStatusCode(f.Code.Status())
	return s.doorWith(v, &scanned{Result: "undecided"})
}

// guests finds people by name at the door.
func (s *Site) guests(v *visit) error {
	e, err := v.eventHere()
	if err != nil {
		return err
	}
	list := &api.List[api.EventAttendee]{}
	if q := v.query("q"); q != "" {
		list, err = ask(v, api.ListAttendees, &api.AttendeePage{Query: q, EventPage: api.EventPage{EventID: e.ID,
			Page: api.Page{Limit: 20}}})
		if err != nil {
			return err
		}
	}
	return v.show("guests", map[string]any{"Event": e, "Q": v.query("q"), "People": list.Items})
}

// webManifest says how a browser installs pages like an app: https://www.w3.org/TR/appmanifest/.
type webManifest struct {
	ID              string            `json:"id"`
	Name            string            `json:"name"`
	ShortName       string            `json:"short_name"`
	Lang            string            `json:"lang"`
	StartURL        string            `json:"start_url"`
	Display         string            `json:"display"`
	BackgroundColor string            `json:"background_color"`
	ThemeColor      string            `json:"theme_color"`
	Icons           []webManifestIcon `json:"icons"`
}

type webManifestIcon struct {
	Source string `json:"src"`
	Sizes  string `json:"sizes"`
	Type   string `json:"type"`
}

// doorApp lets a browser put the doors beside the apps of a telephone: they open there without its bars.
func (s *Site) doorApp(v *visit) error {
	icon, err := s.assets.address("icon.svg")
	if err != nil {
		return err
	}
	door, err := s.looks[v.lang].texts.text("door.title")
	if err != nil {
		return err
	}
	const ground = "#14142b" // as that of the icon
	app, err := json.Marshal(webManifest{ID: "/door", Name: door + " · " + s.cfg.Name, ShortName: door, Lang: v.lang,
		StartURL: "/door", Display: "standalone", BackgroundColor: ground, ThemeColor: ground,
		Icons: []webManifestIcon{{Source: icon, Sizes: "any", Type: "image/svg+xml"}}})
	if err != nil {
		return fmt.Errorf("pages: %w", err)
	}
	v.RC.Response.Header.SetContentType("application/manifest+json")
	v.write(app)
	return nil
}
