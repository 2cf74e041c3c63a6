package venue

import (
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// One instance shows an online venue to the mesh: as a service that nats micro ls lists, and in its metrics.
const (
	showEvery = 5 * time.Second
	showFor   = 15 * time.Second // after its instance was gone a venue is shown by another one
)

// shown are the venues that this instance shows.
type shown struct {
	mu      sync.Mutex
	servers map[ids.Venue]*rpc.Server
	said    map[ids.Venue]line.Status // all that were ever shown; those that are not now are zero
}

// show makes the mesh see which venues are online.
func (s *Service) show(ctx context.Context) error {
	now := s.now()
	rows, err := s.edges.all(ctx, s.accounts.venues())
	if err != nil {
		return err
	}
	online := map[ids.Venue]edgeRow{}
	var names []ids.Venue
	for _, r := range rows {
		if r.online(now) {
			online[r.VenueID] = r
			names = append(names, r.VenueID)
		}
	}
	own, err := s.edges.watch(ctx, s.deps.Instance, names, now, now.Add(showFor))
	if err != nil {
		return err
	}
	for id := range s.shown.servers { // only this goroutine changes it
		if !slices.Contains(own, id) {
			s.hide(ctx, id)
		}
	}
	for _, id := range own {
		row := online[id]
		said, err := row.status()
		if err != nil {
			s.log.ErrorContext(ctx, "the status of a venue is not readable", "venue", id, "error", err)
			continue
		}
		if err := s.showOne(ctx, row, said); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) showOne(ctx context.Context, row edgeRow, said line.Status) error {
	id := row.VenueID
	s.shown.mu.Lock()
	_, known := s.shown.said[id]
	s.shown.said[id] = said
	s.shown.mu.Unlock()
	if !known {
		s.gauges(id)
	}
	if s.shown.servers[id] != nil {
		return nil
	}
	server := rpc.NewServer(s.deps.NATS, rpc.ServerConfig{Service: line.Edge, Version: said.Version,
		Instance: id.String(), Description: "the computer of a venue, behind the venue service",
		Metadata: map[string]string{"venue": id.String(), "edge": row.Edge}, Log: s.log, Registry: s.deps.Metrics})
	if err := server.Start(ctx); err != nil {
		return err
	}
	s.shown.mu.Lock()
	defer s.shown.mu.Unlock()
	s.shown.servers[id] = server
	return nil
}

// hide ends showing a venue.
func (s *Service) hide(ctx context.Context, id ids.Venue) {
	server := s.shown.servers[id]
	s.shown.mu.Lock()
	delete(s.shown.servers, id)
	s.shown.said[id] = line.Status{}
	s.shown.mu.Unlock()
	if err := server.Drain(ctx); err != nil && ctx.Err() == nil {
		s.log.WarnContext(ctx, "a venue that is gone is still listed", "venue", id, "error", err)
	}
}

// gauges registers the metrics of a venue. They are 0 at instances that do not show it.
func (s *Service) gauges(id ids.Venue) {
	of := func(value func(line.Status) float64) func() float64 {
		return func() float64 {
			s.shown.mu.Lock()
			defer s.shown.mu.Unlock()
			if s.shown.servers[id] == nil {
				return 0
			}
			return value(s.shown.said[id])
		}
	}
	r, venue := s.deps.Metrics, id.String()
	r.GaugeFunc("starlight_venue_online", "Whether the computer of a venue asks, at the one instance that shows it.",
		of(func(line.Status) float64 { return 1 }), "venue", venue)
	r.GaugeFunc("starlight_venue_manifest_age_seconds", "Since a venue's oldest manifest was known to be current.",
		of(func(v line.Status) float64 { return float64(v.Manifest) }), "venue", venue)
	r.GaugeFunc("starlight_venue_scans_waiting", "Entries of a venue's journal that the system does not have.",
		of(func(v line.Status) float64 { return float64(v.Waiting) }), "venue", venue)
	r.GaugeFunc("starlight_venue_clock_skew_seconds", "A venue's clock less the system's.",
		of(func(v line.Status) float64 { return float64(v.Skew) / 1000 }), "venue", venue)
}

// How much of the logs of a venue an instance keeps: so many lines at once, and one more after each pause.
const (
	logLines = 1000
	logPause = 20 * time.Millisecond
)

// meter lets so many things happen at once, and one more after each pause, at this instance.
type meter struct {
	most  int
	pause time.Duration

	mu   sync.Mutex
	full map[ids.Venue]time.Time // when all of a venue's are there again
}

// spend uses one up, and reports whether there was one.
func (m *meter) spend(venue ids.Venue, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	full := m.full[venue]
	if full.Before(now) {
		full = now
	}
	full = full.Add(m.pause)
	if full.Sub(now) > time.Duration(m.most)*m.pause {
		return false
	}
	m.full[venue] = full
	return true
}

// keepLogs keeps lines of a venue's log in the stream of all logs, as far as there is room.
func (s *Service) keepLogs(ctx context.Context, req *line.Logs) (*rpc.None, error) {
	if err := s.edges.check(ctx, req.Session); err != nil {
		return nil, err
	}
	if len(req.Lines) > line.LogsLimit {
		return nil, fault.New(fault.TooLarge, "at most %d lines at a time", line.LogsLimit)
	}
	dropped := s.deps.Metrics.Counter("starlight_venue_log_lines_dropped_total",
		"Lines of venues' logs that were not kept, for want of room or because they could not be read.")
	dropped.Add(int(max(0, min(req.Dropped, 1<<30))))
	now := s.now()
	log := s.deps.EdgeLog(req.VenueID)
	for _, text := range req.Lines {
		if !s.logs.spend(req.VenueID, now) || !keepLine(log, text, now) {
			dropped.Inc()
		}
	}
	return nil, nil
}

// keepLine writes a line of another log to this one. Time, level and message are its own.
func keepLine(log *slog.Logger, text string, now time.Time) bool {
	var fields map[string]any
	if len(text) > line.LogLineLimit || json.Unmarshal([]byte(text), &fields) != nil {
		return false
	}
	take := func(key string) string {
		v, _ := fields[key].(string)
		delete(fields, key)
		return v
	}
	at, err := time.Parse(time.RFC3339Nano, take(slog.TimeKey))
	if err != nil {
		at = now
	}
	var level slog.Level
	if level.UnmarshalText([]byte(take(slog.LevelKey))) != nil {
		level = slog.LevelInfo
	}
	r := slog.NewRecord(at, level, take(slog.MessageKey), 0)
	for key, v := range fields {
		switch key {
		case "service", "instance": // the log says which venue it is
		default:
			r.AddAttrs(slog.Any(key, v))
		}
	}
	ctx := context.Background() // the line has its own request, if it is of one
	return !log.Enabled(ctx, level) || log.Handler().Handle(ctx, r) == nil
}
