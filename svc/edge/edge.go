// Package edge is the computer of a venue: it decides at the doors that were handed over to the venue, whether or not
// there is a line to the system, the hub. It follows the hub over the line, and hands up what it has decided.
package edge

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/run"
	"github.com/starlightsymphony/starlight/svc/edge/disk"
	"github.com/starlightsymphony/starlight/svc/edge/doors"
)

// Config says what a Service stands on. DB, NATS, Log and Registry are required.
type Config struct {
	DB       *disk.DB
	NATS     *nats.Conn // in the venue's account
	Log      *slog.Logger
	Registry *observe.Registry
	Version  string

	Logs     *Logs            // that Log writes to, and that goes up to the hub; nil: it stays here
	Line     func() Line      // how the line to the hub is; nil means up
	Replace  bool             // take the place of a computer that was released from the venue
	Interval time.Duration    // between two questions whether something is new; 0 means 2 s
	Silence  time.Duration    // of the hub, after which the line counts as cut; 0 means 15 s
	Now      func() time.Time // of the venue's clock; nil means time.Now
}

// Line is how the line to the hub is.
type Line struct {
	Up     bool      `json:"up"`
	Since  time.Time `json:"since"`            // by the venue's clock
	Reason string    `json:"reason,omitempty"` // why it is not up, as far as is known
	// Restarts of the server that keeps the line, because it did not come back otherwise.
	Restarts int `json:"restarts"`
}

const (
	askEvery  = 2 * time.Second
	lookEvery = 250 * time.Millisecond // at the line
	mendEvery = time.Second
	tidyEvery = time.Hour
	keepFor   = 90 * 24 * time.Hour // entries of the journal that the hub has
	answerFor = 24 * time.Hour      // answers under idempotency keys

	mostEntries = 2000 // of the journal are handed up at once
)

// Service is the computer of a venue.
type Service struct {
	cfg    Config
	log    *slog.Logger
	db     *disk.DB
	doors  *doors.Doors
	client *rpc.Client
	server *rpc.Server
	clock  *clock
	people *people
	poked  chan struct{}
	atHub  chan struct{} // one for each scan that the hub decides

	mu      sync.Mutex
	session line.Session // the zero Number: no hello yet
	venue   api.Venue    // as of the last hello

	upload struct {
		sync.Mutex     // one hands up at a time
		together   int // entries of the journal that the hub gets at once
	}

	line   turn
	joined chan struct{} // the line is up
}

// New reads what is on the disk. Call Run for the rest, and Close in the end.
func New(cfg Config) (*Service, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Interval == 0 {
		cfg.Interval = askEvery
	}
	if cfg.Silence == 0 {
		cfg.Silence = silentFor
	}
	if cfg.Line == nil {
		cfg.Line = func() Line { return Line{Up: true} }
	}
	s := &Service{cfg: cfg, log: cfg.Log, db: cfg.DB, poked: make(chan struct{}, 1), joined: make(chan struct{}, 1),
		atHub:  make(chan struct{}, hubScans),
		client: rpc.NewClient(cfg.NATS, rpc.ClientConfig{Name: line.Edge})}
	s.line.heard, s.upload.together = time.Now(), mostEntries
	s.line.asking, s.line.end = context.WithCancel(context.Background())
	var err error
	if s.clock, err = newClock(cfg.DB, cfg.Now); err != nil {
		return nil, err
	}
	if s.doors, err = doors.Open(cfg.DB, s.clock.Now, cfg.Log, cfg.Registry); err != nil {
		return nil, err
	}
	if s.people, err = newPeople(cfg.DB, s.clock.Now); err != nil {
		return nil, err
	}
	if cfg.Replace {
		if err := s.doors.Fence(""); err != nil {
			return nil, err
		}
	}
	cfg.Registry.GaugeFunc("starlight_edge_clock_skew_seconds", "The venue's clock less the hub's.",
		func() float64 { return s.clock.Skew().Seconds() })
	cfg.Registry.GaugeFunc("starlight_edge_line_up", "1 while the hub answers.", func() float64 {
		if s.lineNow().Up {
			return 1
		}
		return 0
	})
	cfg.Registry.GaugeFunc("starlight_edge_line_restarts", "How often the line's server was started anew, because the "+
		"line did not come back otherwise.", func() float64 { return float64(s.cfg.Line().Restarts) })
	s.server = rpc.NewServer(cfg.NATS, rpc.ServerConfig{Service: line.Edge, Version: cfg.Version,
		Instance: cfg.DB.Identity().Folder, Description: "The computer of a venue", Log: cfg.Log,
		Registry: cfg.Registry})
	rpc.Handle(s.server, line.AdmitThere, s.admitThere)
	rpc.Handle(s.server, line.AskStatus, func(context.Context, *rpc.None) (*line.Status, error) {
		status := s.lineStatus()
		return &status, nil
	})
	return s, nil
}

// Run follows the hub until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	if err := s.server.Start(ctx); err != nil {
		if ctx.Err() != nil { // it ends before it has begun
			return nil
		}
		return err
	}
	poke, err := s.cfg.NATS.Subscribe(line.Poke, func(*nats.Msg) { s.wake() })
	if err != nil {
		return err
	}
	g := run.NewGroup(s.log)
	g.Every(run.Loop{Name: "follow", Interval: s.cfg.Interval, Wake: s.poked, Do: s.round})
	g.Every(run.Loop{Name: "line", Interval: lookEvery, Do: s.lookAtLine})
	g.Go("journal", s.handUpAlways)
	g.Every(run.Loop{Name: "staff", Interval: s.cfg.Interval, Do: s.checkStaff})
	g.Every(run.Loop{Name: "mend", Interval: mendEvery, Do: func(context.Context) error { return s.doors.Mend() }})
	if s.cfg.Logs != nil {
		g.Every(run.Loop{Name: "logs", Interval: logsEvery, Do: s.handUpLogs})
	}
	g.Every(run.Loop{Name: "tidy", Interval: tidyEvery, Do: s.tidy})
	err = g.Run(ctx)
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if err := s.server.Drain(stop); err != nil {
		s.log.Warn("requests of the hub were cut off", "error", err)
	}
	if err := poke.Unsubscribe(); err != nil && s.cfg.NATS.IsConnected() {
		s.log.Warn("the hub's pokes are still on", "error", err)
	}
	return err
}

// Close ends the decisions that are under way. The file stays open.
func (s *Service) Close() { s.doors.Close() }

// wake lets the next question to the hub come at once.
func (s *Service) wake() {
	select {
	case s.poked <- struct{}{}:
	default:
	}
}

// tidy forgets what is long over.
func (s *Service) tidy(ctx context.Context) error {
	if err := s.people.tidy(s.doors.Write); err != nil {
		return err
	}
	if err := s.doors.ForgetAnswers(s.clock.Now().Add(-answerFor)); err != nil {
		return err
	}
	for ctx.Err() == nil {
		if more, err := s.doors.Forget(s.clock.Now().Add(-keepFor)); err != nil || !more {
			return err
		}
	}
	return nil
}
