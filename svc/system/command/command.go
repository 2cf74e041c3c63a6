// Package command is the command line of starlight.
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/mail"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/garbage"
	"github.com/starlightsymphony/starlight/shared/seal"
	"github.com/starlightsymphony/starlight/svc/system"
)

// commands is the grammar of the command line. Every flag is also the variable STARLIGHT_<NAME>.
type commands struct {
	Up        upCommand        `cmd:"" default:"withargs" help:"Run everything in this process (the default)."`
	Run       runCommand       `cmd:"" help:"Run some roles as a member of a cluster."`
	Edge      edgeCommand      `cmd:"" help:"Run the computer of a venue, which admits while the line to the system is cut."`
	Config    configCommand    `cmd:"" help:"Read and change live settings of a running system."`
	Logs      logsCommand      `cmd:"" help:"Read the logs of all services."`
	Audit     auditCommand     `cmd:"" help:"Prove that seats, orders, tickets and money agree; exit 1 if not."`
	AuditLog  auditLogCommand  `cmd:"" help:"Export the audit log."`
	Dead      deadCommand      `cmd:"" help:"Messages that could not be handled: look at them, try them again."`
	Rebuild   rebuildCommand   `cmd:"" help:"Build a read model again."`
	Healthy   healthyCommand   `cmd:"" help:"Ask a process whether it is ready; exit 1 if not. For health checks of containers."`
	Backup    backupCommand    `cmd:"" help:"Write the running system, as it is at one moment, into a file."`
	Restore   restoreCommand   `cmd:"" help:"Make a data folder of a backup."`
	Mesh      meshCommand      `cmd:"" help:"Who is there: services, instances, versions, health, latency, errors."`
	Venue     venueCommand     `cmd:"" help:"The computers of venues, for operators."`
	Auth      authCommand      `cmd:"" help:"Keys and credentials for an outside NATS server."`
	Passwords passwordsCommand `cmd:"" help:"Make a file of stolen passwords, which are refused by --passwords."`
	OpenAPI   openAPICommand   `cmd:"" name:"openapi" help:"Print the OpenAPI document."`
	Version   versionCommand   `cmd:"" help:"Print the version."`

	ShowVersion kong.VersionFlag `name:"version" env:"-" help:"Print the version."`
}

// streams are where a command writes.
type streams struct {
	out, err io.Writer
	ctx      context.Context
}

// Main runs a command line and returns the exit code of the process.
func Main(args []string, stdout, stderr io.Writer) int {
	garbage.Start()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once

	var grammar commands
	exit := -1
	parser, err := kong.New(&grammar, kong.Name("starlight"), kong.Description("Events, tickets and doors, on NATS."),
		kong.DefaultEnvars("STARLIGHT"), kong.Vars{"version": "starlight " + system.BuildVersion()},
		kong.Writers(stdout, stderr), kong.Exit(func(code int) { exit = code }), kong.UsageOnError())
	if err != nil {
		fmt.Fprintln(stderr, "starlight:", err)
		return 1
	}
	parsed, err := parser.Parse(args)
	if exit >= 0 { // --help
		return exit
	}
	if err == nil {
		err = parsed.Run(&streams{out: stdout, err: stderr, ctx: ctx})
	}
	if err != nil {
		fmt.Fprintln(stderr, "starlight:", err)
		return 1
	}
	return 0
}

// secret is a value that may also stand in a file.
func secret(name string) (string, error) {
	if v := os.Getenv(name); v != "" {
		return v, nil
	}
	path := os.Getenv(name + "_FILE")
	if path == "" {
		return "", nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("%s_FILE: %w", name, err)
	}
	return strings.TrimRight(string(text), "\r\n"), nil
}

// database says where the SQL is.
type database struct {
	DatabaseURL string `name:"database-url" help:"PostgreSQL, instead of the embedded SQLite. Better in the variable, or in the file that STARLIGHT_DATABASE_URL_FILE names: other users see flags."`
}

func (d database) url() (string, error) {
	if d.DatabaseURL != "" {
		return d.DatabaseURL, nil
	}
	return secret("STARLIGHT_DATABASE_URL")
}

// common are the flags of everything that runs a part of the system.
type common struct {
	database
	Data         string   `default:"./data" help:"Folder for everything that is kept." type:"path"`
	MediaDir     string   `name:"media-dir" help:"Folder of pictures, which all gateways and event services see; without it they are kept in JetStream." type:"path"`
	HTTP         string   `name:"http" default:"127.0.0.1:8080" help:"Address of the gateway."`
	Ops          string   `default:"127.0.0.1:9090" help:"Address of the operations listener, or off."`
	NATSURL      string   `name:"nats-url" help:"An outside NATS server, instead of the embedded one."`
	NATSCreds    string   `name:"nats-creds" help:"Credentials for it: a folder with ROLE.creds, or a file." type:"path"`
	VenueCreds   string   `name:"venue-creds" help:"Folder of the system's credentials for venues, with an outside NATS server; default NATS-CREDS/venues." type:"path"`
	NATSCA       string   `name:"nats-ca" help:"PEM file of the authority that signed its certificate." type:"path"`
	Zone         string   `help:"Where this process runs, for listings of the mesh: a data centre, a rack."`
	OTLP         string   `name:"otlp" help:"Collector of OpenTelemetry traces, as in http://collector:4318; default none. The setting trace.sampled says how many requests it sees."`
	Replicas     int      `help:"Copies of each stream, 1 or 3."`
	PublicURL    string   `name:"public-url" help:"Where people reach the gateway; default its own address."`
	CallbackURL  string   `name:"callback-url" help:"Where the sandbox provider reaches it; default the public URL."`
	TLSCert      string   `name:"tls-cert" help:"PEM file: the gateway speaks TLS." type:"path"`
	TLSKey       string   `name:"tls-key" help:"PEM file of the certificate's key." type:"path"`
	TrustedProxy []string `name:"trusted-proxy" help:"Address or range whose X-Forwarded-For counts."`
	StripeURL    string   `name:"stripe-url" help:"Where the API of Stripe is; default https://api.stripe.com. STARLIGHT_STRIPE_KEY, or the file that STARLIGHT_STRIPE_KEY_FILE names, switches Stripe on."`
	VIESURL      string   `name:"vies-url" help:"Where the service is that confirms VAT numbers; default that of the European Commission. It is asked for organizers alone that want it."`
	MailFrom     string   `name:"mail-from" help:"Sender of all mails, as in \"Tickets <tickets@example.org>\"; default no-reply at the public URL's host."`
	PushPrivate  bool     `name:"push-private" help:"Push endpoints may be in private networks and without TLS."`
	AdminEmail   string   `name:"admin-email" help:"Address of the first administrator."`
	Passwords    string   `help:"File of stolen passwords, which are refused; the command passwords makes it." type:"path"`

	StopWithin time.Duration `name:"stop-within" default:"30s" help:"How long a clean end may take; what is not finished by then is cut off."`
}

func (c *common) config() (system.Config, error) {
	cfg := system.Config{Data: c.Data, MediaDir: c.MediaDir, HTTP: c.HTTP, Ops: c.Ops, NATSURL: c.NATSURL,
		NATSCreds: c.NATSCreds, VenueCreds: c.VenueCreds, NATSCA: c.NATSCA, Replicas: c.Replicas, Zone: c.Zone,
		Traces:    c.OTLP,
		PublicURL: strings.TrimRight(c.PublicURL, "/"), CallbackURL: strings.TrimRight(c.CallbackURL, "/"),
		TLSCert: c.TLSCert, TLSKey: c.TLSKey,
		TrustedProxies: slices.DeleteFunc(c.TrustedProxy, func(s string) bool { return s == "" }),
		PushPrivate:    c.PushPrivate, AdminEmail: c.AdminEmail, Passwords: c.Passwords, Version: system.BuildVersion()}
	if (c.TLSCert == "") != (c.TLSKey == "") {
		return cfg, errors.New("--tls-cert and --tls-key belong together")
	}
	var err error
	if c.MailFrom != "" {
		if cfg.MailFrom, err = mail.ParseAddress(c.MailFrom); err != nil {
			return cfg, fmt.Errorf("--mail-from: %w", err)
		}
	}
	if cfg.DatabaseURL, err = c.url(); err != nil {
		return cfg, err
	}
	cfg.Stripe.URL, cfg.VIESURL = c.StripeURL, c.VIESURL
	for name, to := range map[string]*string{"STARLIGHT_ADMIN_PASSWORD": &cfg.AdminPassword,
		"STARLIGHT_SANDBOX_SECRET": &cfg.SandboxSecret, "STARLIGHT_OPS_TOKEN": &cfg.OpsToken,
		"STARLIGHT_STRIPE_KEY": &cfg.Stripe.Key, "STARLIGHT_STRIPE_WEBHOOK_SECRET": &cfg.Stripe.WebhookSecrets,
		"STARLIGHT_SMTP_URL": &cfg.SMTPURL, "STARLIGHT_SMS_URL": &cfg.SMSURL} {
		if *to, err = secret(name); err != nil {
			return cfg, err
		}
	}
	cfg.Keys, err = sealKeys()
	return cfg, err
}

// sealKeys returns the keys that seal the secrets in the databases.
func sealKeys() (*seal.Keys, error) {
	text, err := secret("STARLIGHT_KEY")
	if err != nil {
		return nil, err
	}
	keys, err := seal.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("STARLIGHT_KEY: %w", err)
	}
	return keys, nil
}

type upCommand struct {
	common
	NATS      string `name:"nats" default:"127.0.0.1:4222" help:"Address of the embedded NATS server."`
	Leaf      string `help:"Address where it takes the leaf nodes of venues, such as 0.0.0.0:7422; default none, with --demo a free port."`
	LeafPlain bool   `name:"leaf-plain" help:"Take the leaf nodes of venues without TLS, as behind a tunnel."`
	Demo      bool   `help:"Load a season of sample events and show one purchase, step by step."`
}

// Run runs everything until a signal comes.
func (c *upCommand) Run(s *streams) error {
	cfg, err := c.config()
	if err != nil {
		return err
	}
	cfg.NATS, cfg.Leaf, cfg.LeafPlain, cfg.Sandbox = c.NATS, c.Leaf, c.LeafPlain, c.Demo
	if c.Demo && c.Leaf == "" {
		cfg.Leaf = "127.0.0.1:0" // for: starlight edge --demo
	}
	return serve(s, cfg, c.StopWithin, c.Demo)
}

type runCommand struct {
	common
	Roles []string `arg:"" help:"Roles: ${enum}." enum:"gateway,event,user,ticketing,payment,notification,analytics,config,discovery,venue,audit"`
}

// Run runs some roles until a signal comes.
func (c *runCommand) Run(s *streams) error {
	cfg, err := c.config()
	if err != nil {
		return err
	}
	if cfg.NATSURL == "" || cfg.DatabaseURL == "" {
		return errors.New(
			"run is for members of a cluster: it needs STARLIGHT_NATS_URL and STARLIGHT_DATABASE_URL; for everything " +
				"in one process use up")
	}
	cfg.Roles = c.Roles
	return serve(s, cfg, c.StopWithin, false)
}

// serve runs a system until a signal comes, or a part of it fails.
func serve(s *streams, cfg system.Config, stopWithin time.Duration, demo bool) error {
	logs, where, err := logTarget(cfg.Data, s.err)
	if err != nil {
		return err
	}
	defer logs.Close()
	cfg.LogTo = logs
	if where != "" {
		fmt.Fprintln(s.out, "logs  ", where)
	}
	if err := check(cfg); err != nil {
		return err
	}
	sys, err := system.Start(s.ctx, cfg)
	if err != nil {
		return explain(err)
	}
	if password := sys.NewAdminPassword(); password != "" {
		fmt.Fprintf(s.out, "admin  %s  password %s  (shown this once)\n", sys.AdminEmail(), password)
	}
	if demo {
		if err := sys.Demo(s.ctx, s.out); err != nil && s.ctx.Err() == nil {
			fmt.Fprintln(s.out, "the demo stopped:", err)
		}
	}
	if err := remember(cfg, sys); err != nil {
		fmt.Fprintln(s.err, "starlight: the commands will need --nats-url:", err)
	}
	go garbage.Tend(s.ctx)
	fmt.Fprintln(s.out, sys.Ready())
	select {
	case <-s.ctx.Done():
		fmt.Fprintln(s.out, "stopping: finishing what is under way")
	case err = <-sys.Failed():
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopWithin)
	defer cancel()
	return errors.Join(err, sys.Close(ctx))
}

// explain makes one sentence of what keeps the system from starting.
func explain(err error) error {
	// NATS says it in words
	if errors.Is(err, syscall.EADDRINUSE) || strings.Contains(err.Error(), "address already in use") {
		return fmt.Errorf("an address is taken, perhaps by another starlight: %w", err)
	}
	if system.DiskFull(err) && !strings.Contains(err.Error(), "the disk is full") {
		return fmt.Errorf("the disk is full: %w", err)
	}
	return err
}

// logTarget decides where logs go: to standard error, unless that is a terminal on which a person wants to read.
func logTarget(data string, stderr io.Writer) (to io.WriteCloser, path string, err error) {
	f, ok := stderr.(*os.File)
	if !ok {
		return keepOpen{stderr}, "", nil
	}
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return keepOpen{stderr}, "", nil
	}
	if null, err := os.Stat(os.DevNull); err == nil && os.SameFile(info, null) { // no terminal, though a device too
		return keepOpen{stderr}, "", nil
	}
	if err := os.MkdirAll(data, 0o700); err != nil {
		return nil, "", err
	}
	path = filepath.Join(data, "starlight.log")
	to, err = os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	return to, path, err
}

// keepOpen is a writer that others still need.
type keepOpen struct{ io.Writer }

// Close does nothing.
func (keepOpen) Close() error { return nil }

type openAPICommand struct{}

// Run prints the document.
func (openAPICommand) Run(s *streams) error {
	document, err := api.OpenAPI(system.BuildVersion())
	if err != nil {
		return err
	}
	_, err = s.out.Write(append(document, '\n'))
	return err
}

type versionCommand struct{}

// Run prints the version.
func (versionCommand) Run(s *streams) error {
	_, err := fmt.Fprintln(s.out, "starlight", system.BuildVersion())
	return err
}
