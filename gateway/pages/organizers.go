package pages

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc/codec"
)

func (s *Site) organizerRoutes() []Route {
	return []Route{
		{"GET", "/office/organizers/{org}", s.organizer, false},
		{"POST", "/office/organizers/{org}", s.changeOrganizer, false},
		{"GET", "/office/organizers/{org}/team", s.team, false},
		{"POST", "/office/organizers/{org}/team", s.changeTeam, false},
		{"POST", "/office/organizers/{org}/roles", s.changeRole, false},
		{"GET", "/office/organizers/{org}/audit-log", s.organizerLog, false},
		{"GET", "/office/organizers/{org}/audit-log.csv", s.organizerLogFile, false},
		{"GET", "/office/organizers/{org}/webhooks", s.webhooks, false},
		{"POST", "/office/organizers/{org}/webhooks", s.createWebhook, false},
		{"GET", "/office/organizers/{org}/webhooks/{hook}", s.webhook, false},
		{"POST", "/office/organizers/{org}/webhooks/{hook}", s.changeWebhook, false},
		{"GET", "/office/organizers/{org}/api-keys", s.apiKeys, false},
		{"POST", "/office/organizers/{org}/api-keys", s.changeAPIKeys, false},
	}
}

// organizerHere returns the organizer of the page's address, and what the caller is there.
func (v *visit) organizerHere() (*api.Membership, error) {
	id, err := ids.Parse[ids.OrganizerKind](v.Param("org"))
	if err != nil {
		return nil, fault.New(fault.NotFound, api.NoSuchOrganizer)
	}
	mine, err := ask(v, api.ListOrganizers, &api.Page{Limit: 200})
	if err != nil {
		return nil, err
	}
	for i := range mine.Items {
		if mine.Items[i].ID == id {
			return &mine.Items[i], nil
		}
	}
	return nil, fault.New(fault.NotFound, api.NoSuchOrganizer)
}

// showOrganizer shows a page about an organizer, or shows it again with what was wrong.
func (v *visit) showOrganizer(page string, m *api.Membership, failed error, data map[string]any) error {
	data["Organizer"], data["May"] = m, map[string]bool{
		"edit":    slices.Contains(m.Permissions, api.MayEditOrganizer),
		"members": slices.Contains(m.Permissions, api.MayManageMembers),
		"keys":    slices.Contains(m.Permissions, api.MayManageKeys),
		"money":   slices.Contains(m.Permissions, api.MayReadMoney),
	}
	if failed != nil {
		return v.again(page, failed, data)
	}
	return v.show(page, data)
}

func organizerPath(id ids.Organizer) string { return "/office/organizers/" + id.String() }

// organizer shows who sells: what stands on invoices, and what new events begin with.
func (s *Site) organizer(v *visit) error { return s.organizerAgain(v, nil) }

func (s *Site) organizerAgain(v *visit, failed error) error {
	m, err := v.organizerHere()
	if err != nil {
		return err
	}
	return v.showOrganizer("organizer", m, failed, map[string]any{"Done": v.query("done") != "",
		"Countries": countries(v.lang), "Zones": zoneNames()})
}

func (s *Site) changeOrganizer(v *visit) error {
	m, err := v.organizerHere()
	if err != nil {
		return err
	}
	patch := func(name string) codec.Patch[string] {
		if value := v.form(name); value != "" {
			return codec.To(value)
		}
		return codec.Clear[string]()
	}
	name, slug, invoices := v.form("name"), v.form("slug"), v.form("invoices") != ""
	reverse, unanswered := v.form("reverse_charge"), v.form("vat_unanswered")
	_, err = ask(v, api.UpdateOrganizer, &api.PatchOrganizer{ID: m.ID, Name: &name, Slug: &slug,
		LegalName: patch("legal_name"), Address: patch("address"), Country: patch("country"), TaxID: patch("tax_id"),
		Email: patch("email"), Phone: patch("phone"), Website: patch("website"), Currency: patch("currency"),
		Language: patch("language"), Timezone: patch("timezone"), Invoices: &invoices,
		InvoicePrefix: patch("invoice_prefix"), InvoiceNote: patch("invoice_note"),
		ReverseCharge: &reverse, VATUnanswered: &unanswered})
	if err != nil {
		return s.organizerAgain(v, err)
	}
	v.redirect(organizerPath(m.ID) + "?done=yes")
	return nil
}

// team shows who works for an organizer, who is invited, and what each role may do.
func (s *Site) team(v *visit) error { return s.teamAgain(v, nil) }

func (s *Site) teamAgain(v *visit, failed error) error {
	m, err := v.organizerHere()
	if err != nil {
		return err
	}
	members, err := ask(v, api.ListOrganizerMembers, &api.OrganizerRef{ID: m.ID})
	if err != nil {
		return err
	}
	roles, err := ask(v, api.ListRoles, &api.OrganizerRef{ID: m.ID})
	if err != nil {
		return err
	}
	return v.showOrganizer("team", m, failed, map[string]any{"Members": members.Items, "Roles": roles.Items,
		"Permissions": api.Permissions(), "Email": v.form("email")})
}

// changeTeam invites somebody, gives a member another role, or takes a member or an invitation away.
func (s *Site) changeTeam(v *visit) error {
	m, err := v.organizerHere()
	if err != nil {
		return err
	}
	member := func() (ids.User, error) {
		id, err := ids.Parse[ids.UserKind](v.form("user"))
		if err != nil {
			return "", fault.New(fault.NotFound, "there is no such member")
		}
		return id, nil
	}
	switch v.form("do") {
	case "role":
		if id, wrong := member(); wrong != nil {
			err = wrong
		} else {
			_, err = ask(v, api.PutOrganizerMember, &api.SetOrganizerMember{ID: m.ID, UserID: id, Role: v.form("role")})
		}
	case "remove":
		if id, wrong := member(); wrong != nil {
			err = wrong
		} else {
			_, err = ask(v, api.DeleteOrganizerMember, &api.OrganizerMemberRef{ID: m.ID, UserID: id})
		}
	case "withdraw":
		_, err = ask(v, api.DeleteOrganizerInvitation, &api.OrganizerInvitationRef{ID: m.ID, Email: v.form("email")})
	default:
		_, err = ask(v, api.InviteOrganizerMember, &api.OrganizerInvite{ID: m.ID, Email: v.form("email"),
			Role: v.form("role")})
	}
	if err != nil {
		return s.teamAgain(v, err)
	}
	v.redirect(organizerPath(m.ID) + "/team")
	return nil
}

// changeRole adds a role, changes it, or takes it away.
func (s *Site) changeRole(v *visit) error {
	m, err := v.organizerHere()
	if err != nil {
		return err
	}
	if v.form("do") == "delete" {
		_, err = ask(v, api.DeleteRole, &api.RoleRef{ID: m.ID, Name: v.form("name")})
	} else {
		req := &api.SetRole{ID: m.ID, Name: v.form("name"), Permissions: []api.Permission{}}
		for _, p := range api.Permissions() {
			if v.form("may."+string(p)) != "" {
				req.Permissions = append(req.Permissions, p)
			}
		}
		_, err = ask(v, api.PutRole, req)
	}
	if err != nil {
		return s.teamAgain(v, err)
	}
	v.redirect(organizerPath(m.ID) + "/team#roles")
	return nil
}

// organizerLog shows what was done for an organizer, and by whom.
func (s *Site) organizerLog(v *visit) error {
	m, err := v.organizerHere()
	if err != nil {
		return err
	}
	list, err := ask(v, api.ListOrganizerAuditLog, &api.OrganizerAuditQuery{ID: m.ID, User: v.query("user"),
		Act: v.query("act"), Event: v.query("event"), Page: api.Page{Limit: 100, Cursor: v.query("cursor")}})
	if err != nil {
		return err
	}
	members, err := ask(v, api.ListOrganizerMembers, &api.OrganizerRef{ID: m.ID})
	if err != nil {
		return err
	}
	names := map[ids.User]string{}
	for _, one := range members.Items {
		names[one.UserID] = cmp.Or(one.Name, one.Email)
	}
	return v.showOrganizer("organizerlog", m, nil, map[string]any{"Lines": list.Items, "Next": list.NextCursor,
		"Names": names, "Act": v.query("act"), "User": v.query("user"), "Event": v.query("event")})
}

func (s *Site) organizerLogFile(v *visit) error {
	m, err := v.organizerHere()
	if err != nil {
		return err
	}
	file, err := ask(v, api.GetOrganizerAuditCSV, &api.OrganizerAuditExport{ID: m.ID})
	if err != nil {
		return err
	}
	v.download(file, "audit-log.csv")
	return nil
}

func (s *Site) invoiceRoutes() []Route {
	return []Route{
		{"GET", "/orders/{id}/invoices/{invoice}/invoice.pdf", s.invoicePDF, false},
		{"GET", "/office/organizers/{org}/invoices", s.invoices, false},
		{"GET", "/office/organizers/{org}/invoices.csv", s.invoicesFile, false},
		{"GET", "/office/organizers/{org}/invoices/{invoice}/invoice.pdf", s.invoicePDF, false},
		{"GET", "/office/organizers/{org}/invoices/{invoice}/invoice.xml", s.invoiceXML, false},
	}
}

func invoiceOf(v *visit) (ids.Invoice, error) {
	id, err := ids.Parse[ids.InvoiceKind](v.Param("invoice"))
	if err != nil {
		return "", fault.New(fault.NotFound, "there is no such invoice")
	}
	return id, nil
}

// invoicePDF is an invoice on paper.
func (s *Site) invoicePDF(v *visit) error {
	id, err := invoiceOf(v)
	if err != nil {
		return err
	}
	file, err := ask(v, api.GetInvoicePDF, &api.InvoiceFile{ID: id, Language: v.lang})
	if err != nil {
		return err
	}
	v.download(file, "invoice.pdf")
	return nil
}

func (s *Site) invoiceXML(v *visit) error {
	id, err := invoiceOf(v)
	if err != nil {
		return err
	}
	file, err := ask(v, api.GetInvoiceXML, &api.InvoiceOf{ID: id})
	if err != nil {
		return err
	}
	v.download(file, "invoice.xml")
	return nil
}

// invoices shows what an organizer has issued, newest first.
func (s *Site) invoices(v *visit) error {
	m, err := v.organizerHere()
	if err != nil {
		return err
	}
	list, err := ask(v, api.ListInvoices, &api.InvoicePage{ID: m.ID,
		Page: api.Page{Limit: 100, Cursor: v.query("cursor")}})
	if err != nil {
		return err
	}
	year := strconv.Itoa(time.Now().Year())
	years := []string{year}
	for _, doc := range list.Items {
		if y := doc.IssuedOn[:4]; !slices.Contains(years, y) {
			years = append(years, y)
		}
	}
	return v.showOrganizer("invoices", m, nil, map[string]any{"Invoices": list.Items, "Next": list.NextCursor,
		"Years": years})
}

func (s *Site) invoicesFile(v *visit) error {
	m, err := v.organizerHere()
	if err != nil {
		return err
	}
	year, err := strconv.Atoi(v.query("year"))
	if err != nil {
		return fault.New(fault.NotFound, "there is no such year")
	}
	file, err := ask(v, api.GetInvoicesCSV, &api.InvoiceExport{ID: m.ID, Year: year})
	if err != nil {
		return err
	}
	v.download(file, "invoices.csv")
	return nil
}

// billing reads whom the invoice of an order is made out to, nil if nothing of it is said.
func billing(value func(string) string) *api.Billing {
	b := api.Billing{Company: value("company"), Street: value("street"), Postcode: value("postcode"),
		City: value("city"), Country: value("country"), VATID: value("vat_id"), Name: value("billed")}
	if b == (api.Billing{}) || b == (api.Billing{Country: b.Country}) {
		return nil
	}
	return &b
}
