package pages

import (
	"crypto/rand"
	"html/template"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
)

func (s *Site) checkInRoutes() []Route {
	return []Route{
		{"GET", "/office/events/{id}/check-in", s.checkIn, false},
		{"POST", "/office/events/{id}/check-in", s.changeCheckIn, false},
	}
}

// hall is a venue of the person, and how its computer is.
type hall struct {
	api.Venue
	Status *api.VenueStatus // nil: the person may not know
	Leases []leaseRow       // of the event
}

// leaseRow is a lease with what it is of.
type leaseRow struct {
	api.Lease
	Type string
}

// checkIn shows who is in, who admits, and with which devices.
func (s *Site) checkIn(v *visit) error { return s.checkInAgain(v, nil) }

func (s *Site) checkInAgain(v *visit, failed error) error {
	e, err := v.eventHere()
	if err != nil {
		return err
	}
	doors, err := ask(v, api.GetAuthority, &api.EventRef{ID: e.ID})
	if err != nil {
		return err
	}
	data := map[string]any{"Event": e, "Doors": doors, "At": s.cfg.Now().UTC(), "Gates": []api.Breakdown(nil),
		"Numbers": (*api.EventSummary)(nil), "Passes": []api.Pass(nil), "Manages": false,
		"Key": rand.Text()}
	if err := v.counters(e, data); err != nil {
		return err
	}
	halls, err := v.halls(e)
	if err != nil {
		return err
	}
	data["Halls"] = halls
	passes, err := ask(v, api.ListPasses, &api.EventRef{ID: e.ID})
	switch {
	case fault.Is(err, fault.Forbidden): // the page goes without what managers do
	case err != nil:
		return err
	default:
		data["Passes"], data["Manages"] = passes.Items, true
	}
	if failed != nil {
		return v.again("checkin", failed, data)
	}
	return v.show("checkin", data)
}

// counters adds how many came, by type and by gate. The page goes without them while nothing has happened, while they
// cannot be had, and for those who may not read numbers.
func (v *visit) counters(e *api.Event, data map[string]any) error {
	without := func(err error) bool {
		return fault.Is(err, fault.NotFound) || fault.Is(err, fault.Forbidden) || fault.Is(err, fault.Unavailable) ||
			fault.Is(err, fault.Timeout)
	}
	numbers, err := ask(v, api.GetEventAnalytics, &api.EventRef{ID: e.ID})
	if without(err) {
		return nil
	}
	if err != nil {
		return err
	}
	data["Numbers"] = numbers
	arrivals, err := ask(v, api.GetAttendance, &api.SeriesQuery{ID: e.ID, Interval: "day"})
	if without(err) {
		return nil
	}
	if err == nil {
		data["Gates"] = arrivals.Gates
	}
	return err
}

// halls returns the venues of the person with their computers and what is leased to them.
func (v *visit) halls(e *api.Event) ([]hall, error) {
	list, err := ask(v, api.ListVenues, &api.Page{Limit: 20})
	if err != nil || len(list.Items) == 0 {
		return nil, err
	}
	leases, err := ask(v, api.ListLeases, &api.EventRef{ID: e.ID})
	if fault.Is(err, fault.Forbidden) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	halls := make([]hall, len(list.Items))
	for i, venue := range list.Items {
		halls[i].Venue = venue
		status, err := ask(v, api.GetVenueStatus, &api.VenueRef{ID: venue.ID})
		if err != nil && !fault.Is(err, fault.NotFound) {
			return nil, err
		}
		halls[i].Status = status
		for _, l := range leases.Items {
			if l.VenueID != venue.ID || l.State == "closed" {
				continue
			}
			row := leaseRow{Lease: l}
			if t := e.TicketType(l.TicketTypeID); t != nil {
				row.Type = t.Name
			}
			halls[i].Leases = append(halls[i].Leases, row)
		}
	}
	return halls, nil
}

// changeCheckIn hands the doors over or asks for them back, leases seats, and lets devices in or out.
func (s *Site) changeCheckIn(v *visit) error {
	e, f, err := v.fieldsHere()
	if err != nil {
		return err
	}
	if v.form("do") == "pair" {
		return s.newDevice(v, e)
	}
	if err := v.checkInDone(e, f); err != nil {
		return s.checkInAgain(v, err)
	}
	v.redirect("/office/events/" + e.ID.String() + "/check-in")
	return nil
}

func (v *visit) checkInDone(e *api.Event, f *fields) (err error) {
	switch v.form("do") {
	case "hand-over":
		venue, wrong := ids.Parse[ids.VenueKind](v.form("venue"))
		f.check.Field(wrong == nil, "venue", "must be one of yours")
		if err := f.check.Err(); err != nil {
			return err
		}
		_, err = ask(v, api.SetAuthority, &api.NewAuthority{EventID: e.ID, VenueID: venue, Policy: v.form("policy"),
			Unknown: v.form("unknown")})
	case "return":
		_, err = ask(v, api.EndAuthority, &api.AuthorityEnd{EventID: e.ID})
	case "lease":
		venue, wrong := ids.Parse[ids.VenueKind](v.form("venue"))
		f.check.Field(wrong == nil, "venue", "must be one of yours")
		typ, wrong := ids.Parse[ids.TicketTypeKind](v.form("type"))
		f.check.Field(wrong == nil, "type", "must be one of the event")
		quantity := f.number("quantity", 1)
		if err := f.check.Err(); err != nil {
			return err
		}
		_, err = askOnce(v, api.CreateLease, &api.NewLease{EventID: e.ID, VenueID: venue, TicketTypeID: typ,
			Quantity: quantity}, v.form("key"))
	case "resize", "close":
		lease, wrong := ids.Parse[ids.LeaseKind](v.form("lease"))
		if wrong != nil {
			return fault.New(fault.NotFound, "there is no such lease")
		}
		if v.form("do") == "close" {
			_, err = ask(v, api.CloseLease, &api.LeaseToClose{EventID: e.ID, LeaseID: lease})
			return err
		}
		quantity := f.number("quantity", 1)
		if err := f.check.Err(); err != nil {
			return err
		}
		_, err = ask(v, api.ResizeLease, &api.PatchLease{EventID: e.ID, LeaseID: lease, Quantity: quantity})
	case "end":
		pass, wrong := ids.Parse[ids.PassKind](v.form("pass"))
		if wrong != nil {
			return fault.New(fault.NotFound, "there is no such device")
		}
		_, err = ask(v, api.DeletePass, &api.PassRef{EventID: e.ID, ID: pass})
	default:
		return fault.New(fault.NotFound, "there is nothing of this name to do")
	}
	return err
}

// newDevice makes a pass for a device, and shows the code that it reads. No browser keeps the page.
func (s *Site) newDevice(v *visit, e *api.Event) error {
	made, err := ask(v, api.CreatePass, &api.NewPass{EventID: e.ID, Name: v.form("name"), Gate: v.form("gate")})
	if err != nil {
		return s.checkInAgain(v, err)
	}
	v.RC.Response.Header.Set("Cache-Control", "no-store")
	return v.show("device", map[string]any{"Event": e, "Device": made.Name, "Pairing": made.Pairing,
		"Picture": template.URL(made.Pairing.QR)})
}
