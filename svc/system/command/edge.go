package command

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/starlightsymphony/starlight/gateway/pages"
	"github.com/starlightsymphony/starlight/natsconf"
	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/listen"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/svc/edge"
	"github.com/starlightsymphony/starlight/svc/edge/disk"
	"github.com/starlightsymphony/starlight/svc/system"
)

type edgeCommand struct {
	Venue   string `help:"Id of the venue, ven_..."`
	Hub     string `help:"Where the system takes leaf nodes: nats-leaf://HOST:7422 or tls://HOST:7422; several with commas between."`
	HubCA   string `name:"hub-ca" help:"PEM file of the authority that signed the certificate of a tls:// hub; default that in the credentials, or those that this machine knows." type:"path"`
	Plain   bool   `help:"The line to the hub has no TLS: the hub runs with --leaf-plain, and a tunnel protects the line."`
	Creds   string `help:"File with the venue's credentials, of: starlight auth venue." type:"path"`
	Data    string `default:"./edge" help:"Folder for everything that is kept. It belongs to this computer: do not copy it." type:"path"`
	HTTP    string `name:"http" default:"127.0.0.1:8081" help:"Address where the devices at the doors reach it, such as 0.0.0.0:8081."`
	Ops     string `default:"off" help:"Address of the operations listener, or off."`
	TLSCert string `name:"tls-cert" help:"PEM file: it speaks TLS." type:"path"`
	TLSKey  string `name:"tls-key" help:"PEM file of the certificate's key." type:"path"`
	Demo    bool   `help:"Open a venue at a system that runs with starlight up --demo, cut its line and join it, and show what happens, step by step."`
	DemoOf  string `name:"demo-of" default:"./data" help:"Data folder of the system for --demo." type:"path"`
	Replace bool   `help:"Serve the venue again after this computer was released from it, or was replaced by another one."`

	StopWithin time.Duration `name:"stop-within" default:"10s" help:"How long a clean end may take."`
}

// Run runs the computer of a venue until a signal comes, or a part of it fails.
func (c *edgeCommand) Run(s *streams) error {
	if c.Demo {
		return c.demo(s)
	}
	return c.run(s, func(context.Context, string) error { return nil })
}

// run runs the computer. It calls show, with its own address, before it says that it is ready.
func (c *edgeCommand) run(s *streams, show func(ctx context.Context, url string) error) error {
	if c.Venue == "" || c.Hub == "" || c.Creds == "" {
		return errors.New("--venue, --hub and --creds are needed; to see it on one machine: starlight up --demo, and " +
			"starlight edge --demo beside it")
	}
	venue, err := ids.Parse[ids.VenueKind](c.Venue)
	if err != nil {
		return fmt.Errorf("--venue: %w", err)
	}
	if (c.TLSCert == "") != (c.TLSKey == "") {
		return errors.New("--tls-cert and --tls-key belong together")
	}
	logs, where, err := logTarget(c.Data, s.err)
	if err != nil {
		return err
	}
	defer logs.Close()
	if where != "" {
		fmt.Fprintln(s.out, "logs  ", where)
	}
	db, err := disk.Open(c.Data, venue)
	if err != nil {
		return explain(err)
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50) // a small machine has more processor time to spare than memory
	}
	up := edge.NewLogs(logs)
	log := observe.NewLogger(up, "edge", db.Identity().Folder, slog.LevelInfo)
	return errors.Join(c.serve(s, db, up, log, show), db.Close())
}

// serve runs everything on an open file.
func (c *edgeCommand) serve(
	s *streams, db *disk.DB, logs *edge.Logs, log *slog.Logger, show func(context.Context, string) error,
) error {
	id := db.Identity()
	registry := observe.NewRegistry()
	leaf, err := natsconf.StartLeaf(s.ctx, natsconf.LeafConfig{Venue: string(id.Venue), Name: id.Folder, Hub: c.Hub,
		CA: c.HubCA, Plain: c.Plain, Creds: c.Creds, Log: log})
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), c.StopWithin)
		defer cancel()
		if err := leaf.Shutdown(ctx); err != nil {
			log.Warn("the leaf node did not end in time", "error", err)
		}
	}()
	nc, err := leaf.Connect()
	if err != nil {
		return err
	}
	defer nc.Close()
	service, err := edge.New(edge.Config{DB: db, NATS: nc, Log: log, Logs: logs, Registry: registry,
		Version: system.BuildVersion(), Replace: c.Replace, Line: func() edge.Line {
			l := leaf.State()
			return edge.Line{Up: l.Up, Since: l.Since, Reason: l.Reason, Restarts: l.Restarts}
		}})
	if err != nil {
		return err
	}
	defer service.Close()
	debug.FreeOSMemory() // what the reading of the disk has left behind
	health := observe.NewHealth(nil, service.Checks()...)
	server, err := edge.NewServer(service, health)
	if err != nil {
		return err
	}
	if err := c.mountPages(server, service); err != nil {
		return err
	}
	ln, err := c.listen(registry, log)
	if err != nil {
		return explain(err)
	}
	running, end := context.WithCancel(s.ctx)
	defer end()
	parts := []func() error{func() error { return service.Run(running) }, func() error { return server.Serve(ln) }}
	if c.Ops != "off" {
		ops, err := net.Listen("tcp", c.Ops)
		if err != nil {
			return explain(errors.Join(err, ln.Close()))
		}
		o := &observe.Ops{Instance: id.Folder, Registry: registry, Health: health, Log: log}
		parts = append(parts, func() error { return o.Serve(running, ops) })
	}
	ended := make(chan error, len(parts))
	for _, part := range parts {
		go func() { ended <- part() }()
	}
	health.Start()
	scheme := "http"
	if c.TLSCert != "" {
		scheme = "https"
	}
	if err := show(running, scheme+"://"+ln.Addr().String()); err != nil && running.Err() == nil {
		fmt.Fprintln(s.out, "the demo stopped:", err)
	}
	fmt.Fprintf(s.out, "ready  %s://%s  venue %s  hub %s\n", scheme, ln.Addr(), id.Venue, c.Hub)
	var failed error
	left := len(parts)
	select {
	case <-running.Done():
		fmt.Fprintln(s.out, "stopping: finishing what is under way")
	case failed = <-ended:
		left--
	}
	health.Drain()
	ctx, cancel := context.WithTimeout(context.Background(), c.StopWithin)
	defer cancel()
	failed = errors.Join(failed, server.Shutdown(ctx))
	end()
	for ; left > 0; left-- {
		select {
		case err := <-ended:
			failed = errors.Join(failed, err)
		case <-ctx.Done():
			return errors.Join(failed, errors.New("a part did not end in time"))
		}
	}
	return failed
}

// here lets the pages of the doors ask the computer that serves them.
type here struct {
	*edge.Server
	service *edge.Service
}

// SignIn implements pages.Here.
func (h here) SignIn(ctx context.Context, req *api.Login, proof api.FactorProof) (*pages.Entered, error) {
	t, err := h.Server.SignIn(ctx, &edge.Login{Login: *req, FactorProof: proof})
	if err != nil {
		return nil, err
	}
	return &pages.Entered{Token: t.AccessToken, Name: t.Name, For: time.Duration(t.ExpiresIn) * time.Second}, nil
}

// Standing implements pages.Here.
func (h here) Standing() pages.Standing {
	s := h.service.Status()
	return pages.Standing{Up: s.Line.Up, Age: time.Duration(s.ManifestAge) * time.Second, Waiting: s.Waiting,
		Trouble: s.Trouble}
}

// mountPages adds the pages of the doors: a browser in the venue's network needs nothing else.
func (c *edgeCommand) mountPages(server *edge.Server, service *edge.Service) error {
	site, err := pages.New(pages.Config{Here: here{server, service}, Name: "Starlight Symphony"})
	if err != nil {
		return err
	}
	var all []edge.Page
	for _, route := range site.DoorRoutes() {
		all = append(all, edge.Page{Method: route.Method, Path: route.Path,
			Serve: func(rc *fasthttp.RequestCtx, param func(string) string, id string) error {
				return site.Serve(route, &pages.Request{RC: rc, Param: param, ID: id, Secure: c.TLSCert != ""})
			}})
	}
	server.Mount(all)
	return nil
}

// listen returns the listener of the devices at the doors.
func (c *edgeCommand) listen(registry *observe.Registry, log *slog.Logger) (net.Listener, error) {
	raw, err := net.Listen("tcp", c.HTTP)
	if err != nil {
		return nil, err
	}
	var ln net.Listener = listen.New(raw, listen.Config{Name: "edge", Log: log, Registry: registry,
		Total: listen.Room()})
	if c.TLSCert == "" {
		return ln, nil
	}
	secure, err := listen.TLS(ln, c.TLSCert, c.TLSKey, log)
	if err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	return secure, nil
}
