package openapi

import (
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
)

// planning is what an organizer does about an event before it is on sale.
func planning() []Example {
	next := time.Date(2040, 6, 8, 18, 0, 0, 0, time.UTC)
	return []Example{
		example(api.CreateEvent, concert()),
		example(api.CopyEvent, api.CopyOf{ID: anEvent, StartsAt: next, Name: "Open Air, once more"}),
		example(api.CreateSeries, api.NewSeries{ID: anEvent, Rule: "FREQ=WEEKLY;BYDAY=FR", Count: 3}),
	}
}
