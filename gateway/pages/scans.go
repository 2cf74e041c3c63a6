package pages

import (
	"slices"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// scanLine is a scan in the list of a door.
type scanLine struct {
	api.Scan
	CanUndo bool // the person who looks may take the admission back, and nobody has
}

// scans lists what was scanned at an event, the newest first. Supervisors take admissions back there.
func (s *Site) scans(v *visit) error { return s.scansAgain(v, nil) }

func (s *Site) scansAgain(v *visit, failed error) error {
	e, err := v.eventHere()
	if err != nil {
		return err
	}
	list, err := ask(v, api.ListAdmissions, &api.EventPage{EventID: e.ID, Page: api.Page{Limit: 50,
		Cursor: v.query("cursor")}})
	if err != nil {
		return err
	}
	may, err := v.mayUndo(e)
	if err != nil {
		return err
	}
	data := map[string]any{"Event": e, "Scans": scanLines(list.Items, may), "Next": list.NextCursor, "MayUndo": may}
	if failed != nil {
		return v.again("scans", failed, data)
	}
	return v.show("scans", data)
}

// scanLines says of each scan, the newest first, whether it can be undone. The computer of a venue does not say of an
// admission that it was: that is a later scan of its list.
func scanLines(scans []api.Scan, may bool) []scanLine {
	lines, undone := make([]scanLine, len(scans)), map[ids.Ticket]bool{}
	for i, scan := range scans {
		lines[i].Scan = scan
		switch {
		case scan.Kind == "undo":
			undone[scan.TicketID] = true
		case scan.Result == api.Admitted:
			lines[i].CanUndo = may && scan.UndoneAt == nil && !undone[scan.TicketID]
		}
	}
	return lines
}

// undo takes an admission back.
func (s *Site) undo(v *visit) error {
	ref, err := v.eventRef()
	if err != nil {
		return err
	}
	id, err := ids.Parse[ids.AdmissionKind](v.form("admission"))
	if err != nil {
		return fault.New(fault.NotFound, "there is no such scan")
	}
	if _, err := ask(v, api.UndoAdmission, &api.AdmissionRef{EventID: ref.ID, ID: id}); err != nil {
		return s.scansAgain(v, err)
	}
	v.redirect("/door/" + ref.ID.String() + "/scans")
	return nil
}

// mayUndo reports whether the person may take admissions of an event back.
func (v *visit) mayUndo(e *api.Event) (bool, error) {
	if here := v.site.cfg.Here; here != nil {
		return here.May(v.token(), e.ID, api.MayUndoAdmission), nil
	}
	me, err := ask(v, api.GetMe, &rpc.None{})
	if err != nil || slices.Contains(me.Roles, rpc.RoleAdmin) {
		return err == nil, err
	}
	mine, err := ask(v, api.ListOrganizers, &api.Page{Limit: 200})
	if err != nil {
		return false, err
	}
	for _, m := range mine.Items {
		if m.ID == e.OrganizerID && slices.Contains(m.Permissions, api.MayUndoAdmission) {
			return true, nil
		}
	}
	team, err := ask(v, api.ListTeam, &api.EventRef{ID: e.ID})
	if fault.Is(err, fault.NotFound) || fault.Is(err, fault.Forbidden) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(team.Items, func(m api.TeamMember) bool {
		return m.UserID == me.ID &&
			slices.Contains((&api.OrganizerTeam{}).Permissions(m.Role), api.MayUndoAdmission)
	}), nil
}
