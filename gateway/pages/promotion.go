package pages

import (
	"crypto/rand"
	"strconv"
	"strings"
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
func (v *visit) codeTerms(e *api.Event, zone *time.Location) (terms api.PromoTerms, err error) {
	var check fault.Check
	terms.Kind = v.form("kind")
	value := strings.ReplaceAll(strings.TrimSpace(v.form("value")), ",", ".")
	switch terms.Kind {
	case api.PromoPercent:
		terms.Percent = strings.TrimSpace(strings.TrimSuffix(value, "%"))
		check.Field(terms.Percent != "", "value", "must be a number such as 10")
	case api.PromoAmount, api.PromoPrice:
		m, wrong := api.ParseMoney(value, currencyOf(e))
		check.Field(wrong == nil && m.Amount >= 0, "value", "must be an amount such as 5.00")
		if terms.Kind == api.PromoAmount {
			terms.Amount = &m
		} else {
			terms.Price = &m
		}
	default:
		check.Field(false, "kind", "must be percent, amount or price")
	}
	if uses := v.form("uses"); uses != "" {
		terms.MaxUses, err = strconv.Atoi(uses)
		check.Field(err == nil && terms.MaxUses > 0, "uses", "must be a number")
	}
	if until := v.form("until"); until != "" {
		t, wrong := time.ParseInLocation(local, until, zone)
		check.Field(wrong == nil, "until", "must be a day and a time")
		terms.ValidUntil = &t
	}
	if id := v.form("type"); id != "" {
		typ, wrong := ids.Parse[ids.TicketTypeKind](id)
		check.Field(wrong == nil, "type", "must be a ticket type")
		terms.TicketTypeIDs = []ids.TicketType{typ}
	}
	return terms, check.Err()
}

// createCodes makes one code, or many that begin alike.
func (s *Site) createCodes(v *visit) error {
	e, err := v.eventHere()
	if err != nil {
		return err
	}
	zone, err := time.LoadLocation(e.Timezone)
	if err != nil {
		return err
	}
	terms, err := v.codeTerms(e, zone)
	if err != nil {
		return s.codesAgain(v, err)
	}
	here := "/office/events/" + e.ID.String() + "/codes"
	count := 1
	if text := v.form("count"); text != "" {
		if count, err = strconv.Atoi(text); err != nil {
			var check fault.Check
			check.Field(false, "count", "must be a number")
			return s.codesAgain(v, check.Err())
		}
	}
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
