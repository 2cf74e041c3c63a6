package pages

import (
	"encoding/json"
	"fmt"
	"html/template"
	"net/url"
	"strings"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/picture"
)

const (
	eventImagePath = "/office/events/{id}/image"
	logoPath       = "/office/organizers/{org}/logo"
)

// Uploads are the paths to which forms with a file are posted, and how large that may be.
func Uploads() map[string]int {
	return map[string]int{eventImagePath: picture.MostBytes, logoPath: picture.MostBytes,
		importPath: api.CreateImport.BodyLimit()}
}

func (s *Site) pictureRoutes() []Route {
	return []Route{
		{"POST", eventImagePath, s.setImage, false},
		{"POST", logoPath, s.setLogo, false},
	}
}

// setImage gives an event a picture, says in other words what it shows, or takes it away.
func (s *Site) setImage(v *visit) error {
	e, f, err := v.fieldsHere()
	if err != nil {
		return err
	}
	alt, scope, file := f.text("alt"), f.text("scope"), f.chosen("file")
	switch {
	case f.text("do") == "delete":
		_, err = ask(v, api.DeleteEventImage, &api.EventImageRef{ID: e.ID, Scope: scope})
	case len(file) > 0:
		_, err = ask(v, api.PutEventImage, &api.NewEventImage{ID: e.ID, Scope: scope, Alt: alt, Data: file})
	case e.Image.ID == "":
		f.file("file")
		err = f.check.Err()
	default:
		_, err = ask(v, api.UpdateEvent, &api.PatchEvent{ID: e.ID, Scope: scope, ImageAlt: &alt})
	}
	if err != nil {
		return s.dashboardAgain(v, err)
	}
	v.redirect("/office/events/" + e.ID.String() + "#picture")
	return nil
}

// setLogo gives an organizer a logo, or takes it away.
func (s *Site) setLogo(v *visit) error {
	m, err := v.organizerHere()
	if err != nil {
		return err
	}
	f := &fields{visit: v}
	if f.text("do") == "delete" {
		_, err = ask(v, api.DeleteLogo, &api.OrganizerRef{ID: m.ID})
	} else if file := f.file("file"); len(file) > 0 {
		_, err = ask(v, api.PutLogo, &api.NewLogo{ID: m.ID, Data: file})
	} else {
		err = f.check.Err()
	}
	if err != nil {
		return s.organizerAgain(v, err)
	}
	v.redirect(organizerPath(m.ID) + "?done=yes")
	return nil
}

// srcset lists the files of a picture for a browser to choose from.
func srcset(p api.Picture) template.Srcset {
	var all []string
	for _, f := range p.Files() {
		all = append(all, fmt.Sprintf("%s %dw", f.URL, f.Width))
	}
	return template.Srcset(strings.Join(all, ", "))
}

// isWide reports whether a picture can be shown across a page.
func isWide(p api.Picture) bool { return p.ID != "" && 4*p.Large.Width >= 5*p.Large.Height }

// mapOf returns where a place is shown on a map: by its coordinates, or else by what it is called.
func mapOf(l api.Location) string {
	if l.Latitude != nil && l.Longitude != nil {
		at := fmt.Sprintf("%g/%g", *l.Latitude, *l.Longitude)
		return fmt.Sprintf("https://www.openstreetmap.org/?mlat=%g&mlon=%g#map=17/%s", *l.Latitude, *l.Longitude, at)
	}
	return "https://www.openstreetmap.org/search?query=" + url.QueryEscape(placeLine(l))
}

// geoOf returns a place for the map of the device, RFC 5870.
func geoOf(l api.Location) template.URL {
	at, query := "0,0", placeLine(l)
	if l.Latitude != nil && l.Longitude != nil {
		at = fmt.Sprintf("%g,%g", *l.Latitude, *l.Longitude)
		query = at
	}
	return template.URL("geo:" + at + "?q=" + strings.ReplaceAll(url.QueryEscape(query), "+", "%20"))
}

func placeLine(l api.Location) string {
	var parts []string
	for _, p := range []string{l.Name, l.Address, l.City, l.Country} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	return strings.Join(parts, ", ")
}

// linked is what machines read of an event, by https://schema.org/Event.
func (s *Site) linked(e *api.Event, offers []offer) (map[string]any, error) {
	status, page := "https://schema.org/EventScheduled", s.cfg.PublicURL+eventPath(e)
	if e.Status == api.EventCancelled {
		status = "https://schema.org/EventCancelled"
	}
	at := func(t time.Time) string { return s.zones.In(t, e.Timezone).Format(time.RFC3339) }
	place := map[string]any{"@type": "Place", "name": orElse(e.Location.Name, e.Location.City),
		"address": map[string]string{"@type": "PostalAddress", "streetAddress": e.Location.Address,
			"addressLocality": e.Location.City, "addressCountry": e.Location.Country}}
	if e.Location.Latitude != nil && e.Location.Longitude != nil {
		place["geo"] = map[string]any{"@type": "GeoCoordinates", "latitude": *e.Location.Latitude,
			"longitude": *e.Location.Longitude}
	}
	out := map[string]any{"@context": "https://schema.org", "@type": "Event", "name": e.Name, "url": page,
		"startDate": at(e.StartsAt), "endDate": at(e.EndsAt), "eventStatus": status, "location": place,
		"eventAttendanceMode": "https://schema.org/OfflineEventAttendanceMode"}
	if e.Description != "" {
		out["description"] = shortened(e.Description)
	}
	if e.Image.ID != "" {
		out["image"] = []string{s.cfg.PublicURL + e.Image.Large.URL}
	}
	var sold []map[string]any
	for _, o := range offers {
		state := "https://schema.org/InStock"
		if o.State != "open" {
			state = "https://schema.org/SoldOut"
		}
		sold = append(sold, map[string]any{"@type": "Offer", "name": o.Name, "price": json.Number(o.Price.Decimal()),
			"priceCurrency": o.Price.Currency, "availability": state, "url": page})
	}
	if sold != nil {
		out["offers"] = sold
	}
	return out, nil
}

func orElse(text, other string) string {
	if text == "" {
		return other
	}
	return text
}

// shortened returns the beginning of a text, for previews elsewhere.
func shortened(text string) string {
	const most = 300
	line := []rune(strings.Join(strings.Fields(text), " "))
	if len(line) <= most {
		return string(line)
	}
	return strings.TrimSpace(string(line[:most])) + "…"
}
