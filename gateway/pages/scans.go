package pages

import (
	"slices"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
)

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
	data := map[string]any{"Event": e, "Scans": list.Items, "Next": list.NextCursor,
		"MayUndo": slices.ContainsFunc(list.Items, func(s api.Scan) bool { return s.CanUndo })}
	if failed != nil {
		return v.again("scans", failed, data)
	}
	return v.show("scans", data)
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
