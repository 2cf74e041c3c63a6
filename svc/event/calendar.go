package event

import (
	"strconv"
	"strings"

	ics "github.com/arran4/golang-ical"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// calendarOwner is an address that no mail reaches: calendars compare it, and people write to whom the event names.
const calendarOwner = "mailto:no-reply@starlightsymphony.invalid"

// calendar writes an event as iCalendar, RFC 5545. Times are in UTC, which every calendar shows in its owner's zone and
// which needs no table of the zone's rules; the event's zone stands beside them.
func calendar(e *api.Event) (*rpc.Blob, error) {
	cal := ics.NewCalendarFor("StarlightSymphony")
	cal.SetMethod(ics.MethodPublish)
	if e.Status == api.EventCancelled { // the entry with this UID and a lower sequence is taken back
		cal.SetMethod(ics.MethodCancel)
	}
	cal.SetXWRTimezone(e.Timezone)
	v := cal.AddEvent(e.ID.String() + "@starlightsymphony")
	v.SetOrganizer(calendarOwner, ics.WithCN("StarlightSymphony")) // RFC 5546 wants one for either method
	v.SetDtStampTime(e.UpdatedAt)
	v.SetCreatedTime(e.CreatedAt)
	v.SetModifiedAt(e.UpdatedAt)
	v.SetSequence(int(e.Revision))
	v.SetStartAt(e.StartsAt)
	v.SetEndAt(e.EndsAt)
	v.SetSummary(e.Name)
	if text := plainLines(e.Description); text != "" {
		v.SetDescription(text)
	}
	v.AddCategory(strings.ToUpper(e.Category))
	v.SetLocation(place(e.Location))
	if l := e.Location; l.Latitude != nil && l.Longitude != nil {
		v.SetProperty(ics.ComponentPropertyGeo, degrees(*l.Latitude)+";"+degrees(*l.Longitude))
	}
	v.SetStatus(ics.ObjectStatusConfirmed)
	if e.Status == api.EventCancelled {
		v.SetStatus(ics.ObjectStatusCancelled)
		if reason := plainLines(e.CancelReason); reason != "" {
			v.AddComment(reason)
		}
	}
	if e.Status == api.EventDraft {
		v.SetStatus(ics.ObjectStatusTentative)
	}
	var b strings.Builder
	if err := cal.SerializeTo(&b, ics.WithNewLineWindows); err != nil { // RFC 5545 wants CRLF on every system
		return nil, err
	}
	return &rpc.Blob{ContentType: "text/calendar; charset=utf-8", Filename: e.ID.String() + ".ics",
		Data: []byte(b.String())}, nil
}

// plainLines keeps one kind of line break, the one that is escaped.
func plainLines(text string) string {
	return strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(text)
}

func place(l api.Location) string {
	var parts []string
	for _, p := range []string{l.Name, l.Address, l.City, l.Country} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	return strings.Join(parts, ", ")
}

func degrees(d float64) string { return strconv.FormatFloat(d, 'f', 6, 64) }
