package edge

import (
	"context"
	"errors"
	"time"

	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/observe"
)

// Status is how the computer of a venue is, for the people there.
type Status struct {
	VenueID ids.Venue `json:"venue_id"`
	Name    string    `json:"name,omitempty"` // of the venue; empty before the first line to the system
	Version string    `json:"version"`
	Edge    string    `json:"edge"` // random name of the data folder
	Line    Line      `json:"line"`
	Now     time.Time `json:"now"`               // by the system's clock, as far as it is known
	Skew    int64     `json:"skew_ms"`           // the venue's clock less the system's
	Trouble string    `json:"trouble,omitempty"` // why nothing is decided here, if so

	ManifestAge int64 `json:"manifest_age"` // seconds since the oldest list was known to be that of the system
	Tickets     int64 `json:"tickets"`      // in all lists
	Admitted    int64 `json:"admitted"`     // people, since the start
	Sales       int64 `json:"sales"`        // at the till, since the start
	Reversals   int64 `json:"reversals"`    // of them and of others
	Leased      int64 `json:"leased"`       // seats in the leases of its events, sold ones included
	Sold        int64 `json:"sold"`         // of them
	Left        int64 `json:"left"`         // that may still be sold
	Waiting     int64 `json:"waiting"`      // entries of the journal that the system does not have
	Journal     int64 `json:"journal"`      // entries of the journal
	DiskBytes   int64 `json:"disk_bytes"`   // size of the file
}

// Status returns how the computer is.
func (s *Service) Status() Status {
	l := s.lineStatus()
	last, _ := s.doors.Journaled()
	s.mu.Lock()
	name := s.venue.Name
	s.mu.Unlock()
	id, stock := s.db.Identity(), s.doors.Stock()
	return Status{VenueID: id.Venue, Name: name, Version: l.Version, Edge: id.Folder, Line: s.lineNow(),
		Now: s.clock.Now(), Skew: l.Skew, Trouble: s.doors.Trouble(), ManifestAge: l.Manifest, Tickets: l.Tickets,
		Admitted: l.Admitted, Sales: s.doors.Sales(), Reversals: s.doors.Reversals(), Leased: stock.Leased,
		Sold: stock.Sold, Left: stock.Left, Waiting: l.Waiting, Journal: last, DiskBytes: s.db.Size()}
}

// lineStatus is the status as the hub is told.
func (s *Service) lineStatus() line.Status {
	return line.Status{Version: s.cfg.Version, Waiting: s.doors.Waiting(), Manifest: seconds(s.doors.OldestManifest()),
		Tickets: s.doors.Tickets(), Admitted: s.doors.Admitted(), Skew: s.clock.Skew().Milliseconds(),
		Disk: s.doors.Trouble()}
}

// Checks are what decides whether the computer is ready to admit. A line is not needed for that.
func (s *Service) Checks() []observe.Check {
	return []observe.Check{{Name: "doors", Run: func(context.Context) error {
		if why := s.doors.Trouble(); why != "" {
			return errors.New(why)
		}
		return nil
	}}}
}
