package pages

import (
	"strings"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
)

// importPath is where files of orders are posted.
const importPath = "/office/events/{id}/imports"

func (s *Site) importRoutes() []Route {
	return []Route{
		{"GET", "/office/events/{id}/imports", s.imports, false},
		{"POST", importPath, s.upload, false},
		{"GET", "/office/events/{id}/imports/{import}", s.importPage, false},
		{"POST", "/office/events/{id}/imports/{import}", s.runImport, false},
	}
}

// importColumns are those that a person may name who has a file with other titles.
func importColumns() []string {
	return []string{api.ImportEmail, api.ImportName, api.ImportTicketType, api.ImportQuantity, api.ImportPrice,
		api.ImportComplimentary, api.ImportReference}
}

// imports lists the files of which orders were made, and takes another one.
func (s *Site) imports(v *visit) error { return s.importsAgain(v, nil) }

func (s *Site) importsAgain(v *visit, failed error) error {
	e, err := v.eventHere()
	if err != nil {
		return err
	}
	list, err := ask(v, api.ListImports, &api.EventPage{EventID: e.ID, Page: api.Page{Limit: 20,
		Cursor: v.query("cursor")}})
	if err != nil {
		return err
	}
	form := map[string]string{}
	for _, name := range importColumns() {
		form[name] = v.form("column." + name)
	}
	data := map[string]any{"Event": e, "Imports": list.Items, "Next": list.NextCursor, "Columns": importColumns(),
		"Form": form}
	if failed != nil {
		return v.again("imports", failed, data)
	}
	return v.show("imports", data)
}

// upload has a file checked.
func (s *Site) upload(v *visit) error {
	e, f, err := v.fieldsHere()
	if err != nil {
		return err
	}
	req := &api.NewImport{EventID: e.ID, File: f.file("file")}
	for _, name := range importColumns() {
		if title := f.text("column." + name); title != "" {
			req.Columns = append(req.Columns, name+":"+title)
		}
	}
	if most := api.CreateImport.BodyLimit(); len(req.File) > most { // a form may be a little larger
		return s.importsAgain(v, fault.New(fault.TooLarge, "the file is larger than %d bytes", most))
	}
	if err := f.check.Err(); err != nil {
		return s.importsAgain(v, err)
	}
	made, err := ask(v, api.CreateImport, req)
	if err != nil {
		return s.importsAgain(v, err)
	}
	v.redirect("/office/events/" + e.ID.String() + "/imports/" + made.ID.String())
	return nil
}

// importRef returns which import the address is about.
func (v *visit) importRef() (ref api.ImportRef, err error) {
	event, err := v.eventRef()
	if err != nil {
		return ref, err
	}
	id, err := ids.Parse[ids.ImportKind](v.Param("import"))
	if err != nil {
		return ref, fault.New(fault.NotFound, "there is no such import")
	}
	return api.ImportRef{EventID: event.ID, ID: id}, nil
}

// refreshEvery is how often the page of an import that runs is loaded again, in seconds.
const refreshEvery = "3"

// importPage shows what becomes of the rows of a file.
func (s *Site) importPage(v *visit) error { return s.importAgain(v, nil) }

func (s *Site) importAgain(v *visit, failed error) error {
	ref, err := v.importRef()
	if err != nil {
		return err
	}
	e, err := v.eventHere()
	if err != nil {
		return err
	}
	m, err := ask(v, api.GetImport, &ref)
	if err != nil {
		return err
	}
	status := v.query("status")
	if !v.RC.QueryArgs().Has("status") && m.Status == api.ImportChecked && m.Rows.Wrong > 0 {
		status = api.RowWrong
	}
	rows, err := ask(v, api.ListImportRows, &api.ImportRowPage{EventID: ref.EventID, ID: ref.ID, Status: status,
		Page: api.Page{Limit: 100, Cursor: v.query("cursor")}})
	if err != nil {
		return err
	}
	all := m.Rows.Ready + m.Rows.Wrong + m.Rows.There + m.Rows.Made + m.Rows.Failed
	data := map[string]any{"Event": e, "Import": m, "Rows": rows.Items, "Next": rows.NextCursor, "Status": status,
		"All": all, "Counts": []importCount{{api.RowReady, m.Rows.Ready}, {api.RowWrong, m.Rows.Wrong},
			{api.RowThere, m.Rows.There}, {api.RowMade, m.Rows.Made}, {api.RowFailed, m.Rows.Failed}}}
	if failed != nil {
		return v.again("import", failed, data)
	}
	if m.Status == api.ImportRunning && v.query("cursor") == "" {
		v.RC.Response.Header.Set("Refresh", refreshEvery)
	}
	return v.show("import", data)
}

// importCount is how many rows are in a state.
type importCount struct {
	Status string
	N      int
}

// runImport makes the orders of a file, or makes no more of them.
func (s *Site) runImport(v *visit) error {
	ref, err := v.importRef()
	if err != nil {
		return err
	}
	if v.form("do") == "stop" {
		_, err = ask(v, api.StopImport, &ref)
	} else {
		_, err = ask(v, api.StartImport, &api.ImportStart{EventID: ref.EventID, ID: ref.ID,
			Mail: v.form("mail") == "yes", SkipWrong: v.form("skip") == "yes"})
	}
	if err != nil {
		return s.importAgain(v, err)
	}
	v.redirect(strings.TrimSuffix(string(v.RC.Path()), "/") + "?status=")
	return nil
}
