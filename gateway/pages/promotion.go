package pages

import (
	"crypto/rand"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc/codec"
)

func (s *Site) promotionRoutes() []Route {
	return []Route{
		{"GET", "/office/events/{id}/messages", s.messages, false},
		{"POST", "/office/events/{id}/messages", s.sendMessage, false},
		{"GET", "/office/events/{id}/codes", s.codes, false},
		{"POST", "/office/events/{id}/codes", s.createCodes, false},
		{"POST", "/office/events/{id}/codes/{code}", s.changeCode, false},
	}
}

// messages shows what was written to those who have tickets, and takes something new.
func (s *Site) messages(v *visit) error { return s.messagesWith(v, nil, nil) }

func (s *Site) messagesWith(v *visit, preview *api.AnnouncementPreview, failed error) error {
	e, err := v.eventHere()
	if err != nil {
		return err
	}
	list, err := ask(v, api.ListAnnouncements, &api.EventPage{EventID: e.ID, Page: api.Page{Limit: 50,
		Cursor: v.query("cursor")}})
	if err != nil {
		return err
	}
	data := map[string]any{"Event": e, "Sent": list.Items, "Next": list.NextCursor, "Preview": preview,
		"Subject": v.form("subject"), "Text": v.form("text"), "Key": rand.Text()}
	if failed != nil {
		return v.again("messages", failed, data)
	}
	return v.show("messages", data)
}

// sendMessage shows what would be sent and to how many; only what was looked at so is sent.
func (s *Site) sendMessage(v *visit) error {
	ref, err := v.eventRef()
	if err != nil {
		return err
	}
	req := &api.NewAnnouncement{EventID: ref.ID, Subject: v.form("subject"), Text: v.form("text")}
	if v.form("do") != "send" {
		preview, err := ask(v, api.PreviewAnnouncement, req)
		return s.messagesWith(v, preview, err)
	}
	if _, err := askOnce(v, api.CreateAnnouncement, req, v.form("key")); err != nil {
		return s.messagesWith(v, nil, err)
	}
	v.redirect("/office/events/" + ref.ID.String() + "/messages")
	return nil
}

// codeRow is a promo code as the office shows it.
type codeRow struct {
	api.PromoCode
	Over bool // it is good no more
}

// codes lists the promo codes of an event.
func (s *Site) codes(v *visit) error { return s.codesAgain(v, nil) }

func (s *Site) codesAgain(v *visit, failed error) error {
	e, err := v.eventHere()
	if err != nil {
		return err
	}
	list, err := ask(v, api.ListPromoCodes, &api.PromoCodeQuery{EventID: e.ID, Code: v.query("q"),
		Batch: v.query("batch"), Page: api.Page{Limit: 50, Cursor: v.query("cursor")}})
	if err != nil {
		return err
	}
	var rows []codeRow
	for _, c := range list.Items {
		rows = append(rows, codeRow{c, c.ValidUntil != nil && !s.cfg.Now().Before(*c.ValidUntil)})
	}
	form := map[string]string{"kind": api.PromoPercent, "count": "1"}
	for _, name := range []string{"code", "kind", "value", "count", "uses", "until", "type"} {
		if value := v.form(name); value != "" {
			form[name] = value
		} else if _, given := form[name]; !given {
			form[name] = ""
		}
	}
	form["until"] = asLocal(form["until"])
	data := map[string]any{"Event": e, "Codes": rows, "Next": list.NextCursor, "Q": v.query("q"),
		"Batch": v.query("batch"), "Form": form, "Currency": currencyOf(e), "Key": rand.Text()}
	if failed != nil {
		return v.again("codes", failed, data)
	}
	return v.show("codes", data)
}

// codeTerms reads what a code is to do.
func (f *fields) codeTerms() (terms api.PromoTerms) {
	terms.Kind = f.form("kind")
	switch terms.Kind {
	case api.PromoPercent:
		terms.Percent = f.percent("value")
		f.check.Field(terms.Percent != "", "value", "must be a number such as 10")
	case api.PromoAmount, api.PromoPrice:
		m := f.amount("value")
		if terms.Kind == api.PromoAmount {
			terms.Amount = &m
		} else {
			terms.Price = &m
		}
	default:
		f.check.Field(false, "kind", "must be percent, amount or price")
	}
	if f.text("uses") != "" {
		terms.MaxUses = f.number("uses", 1)
	}
	terms.ValidUntil = f.moment("until").Value
	if id := f.form("type"); id != "" {
		typ, err := ids.Parse[ids.TicketTypeKind](id)
		f.check.Field(err == nil, "type", "must be a ticket type")
		terms.TicketTypeIDs = []ids.TicketType{typ}
	}
	return terms
}

// createCodes makes one code, or many that begin alike.
func (s *Site) createCodes(v *visit) error {
	e, f, err := v.fieldsHere()
	if err != nil {
		return err
	}
	terms, count := f.codeTerms(), 1
	if f.text("count") != "" {
		count = f.number("count", 1)
	}
	if err := f.check.Err(); err != nil {
		return s.codesAgain(v, err)
	}
	here := "/office/events/" + e.ID.String() + "/codes"
	if count != 1 {
		made, err := askOnce(v, api.CreatePromoBatch, &api.NewPromoBatch{EventID: e.ID, Count: count,
			Prefix: v.form("code"), PromoTerms: terms}, v.form("key"))
		if err != nil {
			return s.codesAgain(v, err)
		}
		v.redirect(here + "?batch=" + made.Batch)
		return nil
	}
	if _, err := askOnce(v, api.CreatePromoCode, &api.NewPromoCode{EventID: e.ID, Code: v.form("code"),
		PromoTerms: terms}, v.form("key")); err != nil {
		return s.codesAgain(v, err)
	}
	v.redirect(here)
	return nil
}

// changeCode ends a code, lets it be good again, or deletes it.
func (s *Site) changeCode(v *visit) error {
	ref, err := v.eventRef()
	if err != nil {
		return err
	}
	id, err := ids.Parse[ids.PromoCodeKind](v.Param("code"))
	if err != nil {
		return fault.New(fault.NotFound, "there is no such code")
	}
	until := codec.Clear[time.Time]()
	switch v.form("do") {
	case "delete":
		_, err = ask(v, api.DeletePromoCode, &api.PromoCodeRef{EventID: ref.ID, ID: id})
	case "end":
		until = codec.To(s.cfg.Now().UTC())
		fallthrough
	default:
		_, err = ask(v, api.UpdatePromoCode, &api.PatchPromoCode{EventID: ref.ID, ID: id,
			PromoChanges: api.PromoChanges{ValidUntil: until}})
	}
	if err != nil {
		return s.codesAgain(v, err)
	}
	v.redirect("/office/events/" + ref.ID.String() + "/codes")
	return nil
}
