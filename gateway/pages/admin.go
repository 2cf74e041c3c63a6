package pages

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/settings"
)

func (s *Site) adminRoutes() []Route {
	return []Route{
		{"GET", "/admin", s.mesh, false},
		{"GET", "/admin/mesh.svg", s.meshPicture, false},
		{"GET", "/admin/settings", s.settings, false},
		{"GET", "/admin/settings/{key}", s.setting, false},
		{"POST", "/admin/settings/{key}", s.setSetting, false},
		{"GET", "/admin/logs", s.logs, false},
		{"GET", "/admin/dead-letters", s.deadLetters, false},
		{"POST", "/admin/dead-letters", s.changeDeadLetter, false},
		{"GET", "/admin/users", s.users, false},
		{"GET", "/admin/users/{user}", s.user, false},
		{"POST", "/admin/users/{user}", s.changeUser, false},
		{"GET", "/admin/audit-log", s.auditLog, false},
	}
}

// instance is a row of what runs.
type instance struct {
	api.ServiceInstance
	Requests, Errors uint64
}

// mesh shows what runs, who calls whom, and what is not as it should be.
func (s *Site) mesh(v *visit) error {
	m, err := ask(v, api.GetMesh, &rpc.None{})
	if err != nil {
		return err
	}
	rows := make([]instance, len(m.Instances))
	for i, one := range m.Instances {
		rows[i].ServiceInstance = one
		for _, e := range one.Endpoints {
			rows[i].Requests, rows[i].Errors = rows[i].Requests+e.Requests, rows[i].Errors+e.Errors
		}
	}
	return v.show("mesh", map[string]any{"Instances": rows, "Drift": m.Drift, "At": s.cfg.Now().UTC()})
}

func (s *Site) meshPicture(v *visit) error {
	picture, err := ask(v, api.GetTopology, &api.TopologyQuery{})
	if err != nil {
		return err
	}
	v.RC.Response.Header.SetContentType(picture.ContentType)
	v.RC.Response.SetBodyRaw(picture.Data)
	return nil
}

// settingGroup is the settings of one service.
type settingGroup struct {
	Name  string
	Items []api.Setting
}

// settings lists the live settings by service, or those that have some words.
func (s *Site) settings(v *visit) error {
	list, err := ask(v, api.ListSettings, &rpc.None{})
	if err != nil {
		return err
	}
	var groups []settingGroup
	q := strings.ToLower(strings.TrimSpace(v.query("q")))
	for _, one := range list.Items {
		if !strings.Contains(strings.ToLower(one.Key+" "+one.Doc), q) {
			continue
		}
		name, _, _ := strings.Cut(one.Key, ".")
		i := slices.IndexFunc(groups, func(g settingGroup) bool { return g.Name == name })
		if i < 0 {
			i, groups = len(groups), append(groups, settingGroup{Name: name})
		}
		groups[i].Items = append(groups[i].Items, one)
	}
	return v.show("settings", map[string]any{"Groups": groups, "Q": v.query("q")})
}

// setting shows one with its history.
func (s *Site) setting(v *visit) error { return s.settingAgain(v, nil, nil) }

// settingAgain shows what was wrong with a change, or what it would make of the setting.
func (s *Site) settingAgain(v *visit, failed error, would *api.Setting) error {
	ref := &api.SettingRef{Key: v.Param("key")}
	one, err := ask(v, api.GetSetting, ref)
	if err != nil {
		return err
	}
	history, err := ask(v, api.GetSettingHistory, ref)
	if err != nil {
		return err
	}
	value := one.Value
	if v.RC.IsPost() {
		value = v.form("value")
	}
	above, base := "", "" // the setting above a key of the base, and the base below one of the environment
	if name, inBase := settings.CutBase(one.Key); inBase {
		above = name
	}
	if one.Base != nil {
		base = *one.Base
	}
	data := map[string]any{"Setting": one, "Above": above, "Base": base, "History": history.Items, "Value": value,
		"Would": would}
	if failed != nil {
		return v.again("setting", failed, data)
	}
	return v.show("setting", data)
}

// setSetting sets a setting, looks whether it could, or returns it to its default or to a value of before.
func (s *Site) setSetting(v *visit) error {
	key := v.Param("key")
	var err error
	switch v.form("do") {
	case "check":
		would, err := ask(v, api.PutSetting, &api.SetSetting{Key: key, Value: v.form("value"), DryRun: true})
		return s.settingAgain(v, err, would)
	case "default":
		_, err = ask(v, api.DeleteSetting, &api.SettingRef{Key: key})
	case "rollback":
		revision, wrong := strconv.ParseUint(v.form("revision"), 10, 64)
		if wrong != nil || revision == 0 {
			return fault.New(fault.NotFound, "there is no such revision")
		}
		_, err = ask(v, api.RollbackToSetting, &api.RollbackSetting{Key: key, Revision: revision})
	default:
		_, err = ask(v, api.PutSetting, &api.SetSetting{Key: key, Value: v.form("value")})
	}
	if err != nil {
		return s.settingAgain(v, err, nil)
	}
	v.redirect("/admin/settings/" + key)
	return nil
}

// logPeriods are how far back logs are read, in minutes.
func logPeriods() []int { return []int{15, 60, 6 * 60, 24 * 60, 7 * 24 * 60} }

// logs shows what the processes have logged: of one request over all services, or of one service.
func (s *Site) logs(v *visit) error {
	minutes, err := strconv.Atoi(v.query("minutes"))
	if err != nil || !slices.Contains(logPeriods(), minutes) {
		minutes = 60
	}
	q := &api.LogQuery{Request: strings.TrimSpace(v.query("request")), Service: v.query("service"),
		Level: v.query("level"), Page: api.Page{Limit: 100, Cursor: v.query("cursor")},
		From: s.cfg.Now().Add(-time.Duration(minutes) * time.Minute).UTC().Format(time.RFC3339)}
	data := map[string]any{"Request": q.Request, "Service": q.Service, "Level": q.Level, "Minutes": minutes,
		"Lines": []api.LogLine(nil), "Next": "", "Levels": observe.Levels(), "Periods": logPeriods()}
	list, err := ask(v, api.ListLogs, q)
	if fault.Is(err, fault.Invalid) {
		return v.again("logs", err, data)
	}
	if err != nil {
		return err
	}
	data["Lines"], data["Next"] = list.Items, list.NextCursor
	return v.show("logs", data)
}

// deadLetters lists the messages that consumers gave up.
func (s *Site) deadLetters(v *visit) error { return s.deadLettersAgain(v, nil) }

func (s *Site) deadLettersAgain(v *visit, failed error) error {
	list, err := ask(v, api.ListDeadLetters, &api.Page{Limit: 50, Cursor: v.query("cursor")})
	if err != nil {
		return err
	}
	data := map[string]any{"Letters": list.Items, "Next": list.NextCursor}
	if failed != nil {
		return v.again("deadletters", failed, data)
	}
	return v.show("deadletters", data)
}

// changeDeadLetter hands a dead letter to its consumer once more, or gives it up.
func (s *Site) changeDeadLetter(v *visit) error {
	ref := &api.DeadLetterRef{ID: cmp.Or(v.form("replay"), v.form("drop"))}
	var err error
	if v.form("replay") != "" {
		_, err = ask(v, api.ReplayDeadLetter, ref)
	} else {
		_, err = ask(v, api.DropDeadLetter, ref)
	}
	if err != nil {
		return s.deadLettersAgain(v, err)
	}
	v.redirect("/admin/dead-letters")
	return nil
}

// auditLog shows what was done, by whom and to what.
func (s *Site) auditLog(v *visit) error {
	q := &api.AuditQuery{User: strings.TrimSpace(v.query("user")), Act: strings.TrimSpace(v.query("act")),
		Object: strings.TrimSpace(v.query("object")), From: dayBegins(v.query("from"), 0),
		To: dayBegins(v.query("to"), 1), Page: api.Page{Limit: 100, Cursor: v.query("cursor")}}
	data := map[string]any{"Lines": []api.AuditEntry(nil), "Next": "", "Act": q.Act, "Object": q.Object,
		"User": q.User, "From": v.day("from"), "To": v.day("to")}
	list, err := ask(v, api.ListAuditLog, q)
	if fault.Is(err, fault.Invalid) {
		return v.again("auditlog", err, data)
	}
	if err != nil {
		return err
	}
	data["Lines"], data["Next"] = list.Items, list.NextCursor
	return v.show("auditlog", data)
}

// day returns a day of the address; no browser takes anything else for a field of this kind.
func (v *visit) day(name string) string {
	if _, err := time.Parse(time.DateOnly, v.query(name)); err != nil {
		return ""
	}
	return v.query(name)
}

// dayBegins returns when a day begins, or one some days later, as a query has it; what is no day is left for the
// endpoint to judge.
func dayBegins(text string, later int) string {
	day, err := time.Parse(time.DateOnly, text)
	if err != nil {
		return text
	}
	return day.AddDate(0, 0, later).Format(time.RFC3339)
}
