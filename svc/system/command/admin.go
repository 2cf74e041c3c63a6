package command

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/starlightsymphony/starlight/natsconf"
	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/settings"
	"github.com/starlightsymphony/starlight/svc/config"
	"github.com/starlightsymphony/starlight/svc/system"
)

// target says which running system a command talks to, over NATS.
type target struct {
	Data      string `default:"./data" help:"Data folder, for the credentials." type:"path"`
	NATSURL   string `name:"nats-url" help:"The system's NATS server; default what the data folder remembers, or nats://127.0.0.1:4222."`
	NATSCreds string `name:"nats-creds" help:"Credentials; default DATA/creds." type:"path"`
	NATSCA    string `name:"nats-ca" help:"PEM file of the authority that signed its certificate." type:"path"`
}

// dialWithin bounds how long a command looks for the system.
const dialWithin = 3 * time.Second

// The roles of operators: ops for those who look and change settings, admin for what changes more.
const (
	roleOps   = "ops"
	roleAdmin = "admin"
)

// creds returns the credentials: a file, or a folder with one for each role.
func (t target) creds() string {
	return cmp.Or(t.NATSCreds, filepath.Join(t.Data, "creds"))
}

// connect returns JetStream as ops sees it, and a function that ends the connection.
func (t target) connect(ctx context.Context) (jetstream.JetStream, func(), error) {
	return t.connectAs(ctx, roleOps)
}

func (t target) connectAs(ctx context.Context, role string) (jetstream.JetStream, func(), error) {
	creds := t.creds()
	ctx, cancel := context.WithTimeout(ctx, dialWithin)
	defer cancel()
	url := t.natsURL()
	nc, err := natsconf.Dial(ctx, natsconf.DialConfig{URL: url, Role: role, Creds: creds, CA: t.NATSCA})
	if err != nil {
		return nil, nil, fmt.Errorf("the system cannot be reached at %s: %w", url, err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		nc.Close()
		return nil, nil, err
	}
	return js, nc.Close, nil
}

type configCommand struct {
	List     configList     `cmd:"" help:"Every setting with its value and documentation."`
	Get      configGet      `cmd:"" help:"Print the value in force."`
	Set      configSet      `cmd:"" help:"Change a setting."`
	Reset    configReset    `cmd:"" help:"Return a setting to the base, or to its default."`
	History  configHistory  `cmd:"" help:"The last values of a setting, newest first."`
	Rollback configRollback `cmd:"" help:"Return a setting to the value before, or to a revision."`
	Base     configBase     `cmd:"" help:"Make the base, which environments have in common, say what a file says."`
}

// openAs reaches the settings of the running system.
func (t target) openAs(ctx context.Context, role string) (*config.Values, func(), error) {
	js, done, err := t.connectAs(ctx, role)
	if err != nil {
		return nil, nil, err
	}
	values, err := config.Open(ctx, js)
	if err != nil {
		done()
		return nil, nil, err
	}
	return values, done, nil
}

// with reads the settings of the running system.
func (t target) with(ctx context.Context, key string, do func(*config.Values) error) error {
	return t.withAs(ctx, roleOps, key, do)
}

// change changes a setting of the running system, as whoever may: see settings.Access.
func (t target) change(ctx context.Context, key string, do func(*config.Values) error) error {
	if settings.AccessTo(api.Settings(), key) == settings.Operators {
		return t.with(ctx, key, do)
	}
	return t.withAs(ctx, roleAdmin, key, do)
}

func (t target) withAs(ctx context.Context, role, key string, do func(*config.Values) error) error {
	if own, err := natsconf.ReadIdentity(t.creds(), role); role == roleAdmin && (err != nil || own.Role != roleAdmin) {
		return fmt.Errorf("%s: administrators alone may change it, in the browser or with admin.creds", key)
	}
	values, done, err := t.openAs(ctx, role)
	if err != nil {
		return err
	}
	defer done()
	err = do(values)
	switch f := fault.From(err); {
	case err == nil:
		return nil
	// a sentence for the person at the terminal
	case f.Code == fault.NotFound || f.Code == fault.Invalid || f.Code == fault.Conflict:
		return fmt.Errorf("%s: %s", key, f.Detail)
	}
	return err
}

type configList struct{ target }

// Run lists the settings.
func (c configList) Run(s *streams) error {
	return c.with(s.ctx, "settings", func(v *config.Values) error {
		all, err := v.List(s.ctx)
		if err != nil {
			return err
		}
		w := tabwriter.NewWriter(s.out, 0, 4, 2, ' ', 0)
		fmt.Fprintln(w, "SETTING\tVALUE\tDEFAULT\tBOUNDS\tFROM\tFOR\tWHAT IT IS")
		for _, one := range all {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", one.Key, one.Value, one.Default, one.Bounds, one.Source,
				one.Access, one.Doc)
		}
		return w.Flush()
	})
}

type configGet struct {
	target
	Key string `arg:"" help:"The setting."`
}

// Run prints the value in force.
func (c configGet) Run(s *streams) error {
	return c.with(s.ctx, c.Key, func(v *config.Values) error {
		one, err := v.Get(s.ctx, c.Key)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(s.out, one.Value)
		return err
	})
}

type configSet struct {
	target
	Key   string `arg:"" help:"The setting."`
	Value string `arg:"" help:"The new value."`

	DryRun bool `help:"Only look whether the value would be taken, and print the one before and it."`
}

// Run changes a setting.
func (c configSet) Run(s *streams) error {
	do := c.change
	if c.DryRun {
		do = c.with
	}
	return do(s.ctx, c.Key, func(v *config.Values) error {
		if c.DryRun {
			before, err := v.Get(s.ctx, c.Key)
			if err != nil {
				return err
			}
			then, err := v.Check(s.ctx, c.Key, c.Value)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(s.out, "%s -> %s\n", before.Value, then.Value)
			return err
		}
		_, err := v.Put(s.ctx, c.Key, c.Value)
		return err
	})
}

type configReset struct {
	target
	Key string `arg:"" help:"The setting."`
}

// Run takes a setting out of its layer.
func (c configReset) Run(s *streams) error {
	return c.change(s.ctx, c.Key, func(v *config.Values) error { return v.Reset(s.ctx, c.Key) })
}

type configHistory struct {
	target
	Key string `arg:"" help:"The setting."`
}

// Run prints the history of a setting.
func (c configHistory) Run(s *streams) error {
	return c.with(s.ctx, c.Key, func(v *config.Values) error {
		changes, err := v.History(s.ctx, c.Key)
		if err != nil {
			return err
		}
		w := tabwriter.NewWriter(s.out, 0, 4, 2, ' ', 0)
		fmt.Fprintln(w, "REVISION\tAT\tBY\tVALUE")
		for _, one := range changes {
			value := strconv.Quote(one.Value) // another tool may have written anything
			switch {
			case one.Deleted:
				value = "(default)"
			case !one.Valid:
				value += "  refused"
			}
			by := cmp.Or(one.By.UserID.String(), one.By.Service, "unknown")
			fmt.Fprintf(w, "%d\t%s\t%s\t%s\n", one.Revision, one.At.Format(time.RFC3339), by, value)
		}
		return w.Flush()
	})
}

type configRollback struct {
	target
	Key      string `arg:"" help:"The setting."`
	Revision uint64 `arg:"" optional:"" help:"From the history; default the value before the present one."`
}

// Run returns a setting to an earlier value and prints it.
func (c configRollback) Run(s *streams) error {
	return c.change(s.ctx, c.Key, func(v *config.Values) error {
		one, err := v.Rollback(s.ctx, c.Key, c.Revision)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(s.out, one.Value)
		return err
	})
}

type configBase struct {
	target
	File string `arg:"" help:"Lines such as \"ticketing.hold_ttl = 5m\"; what has no line leaves the base." type:"existingfile"`

	DryRun bool `help:"Only print what would change."`
}

// Run makes the base say what a file says, and prints what that changes.
func (c configBase) Run(s *streams) error {
	file, err := os.Open(c.File)
	if err != nil {
		return err
	}
	defer file.Close() // of no interest: it was read
	wanted, err := config.ParseBase(file)
	if err != nil {
		return fmt.Errorf("%s: %s", c.File, fault.From(err).Detail)
	}
	role := roleAdmin
	if c.DryRun {
		role = roleOps
	}
	return c.withAs(s.ctx, role, c.File, func(v *config.Values) error {
		plan, err := v.PlanBase(s.ctx, wanted)
		if err != nil {
			return err
		}
		for _, change := range plan {
			fmt.Fprintln(s.out, change)
		}
		if c.DryRun {
			return nil
		}
		return v.SetBase(s.ctx, plan)
	})
}

type logsCommand struct {
	target
	Follow  bool          `short:"f" help:"Wait for more."`
	Service string        `help:"Only this service."`
	Level   string        `help:"This level and above: debug, info, warn, error." default:"debug"`
	Request string        `help:"Only lines of this request."`
	Since   time.Duration `help:"Only lines younger than this." default:"24h"`
	To      string        `help:"Send them to a log store that takes JSON lines by POST, instead of printing them." placeholder:"URL"`
}

// Run prints log lines, or sends them to a store.
func (c logsCommand) Run(s *streams) error {
	js, done, err := c.connect(s.ctx)
	if err != nil {
		return err
	}
	defer done()
	tail := func(ctx context.Context, fn func(observe.Entry) error) error {
		return observe.Tail(ctx, js, observe.TailOptions{Service: c.Service, Level: c.Level, Request: c.Request,
			Follow: c.Follow, Since: time.Now().Add(-c.Since)}, fn)
	}
	if c.To != "" {
		err = c.sendTo(s, tail)
	} else {
		err = tail(s.ctx, func(e observe.Entry) error { return e.WriteText(s.out) })
	}
	if s.ctx.Err() != nil {
		return nil
	}
	return err
}

type auditCommand struct {
	target
	database
	Report map[string]string `help:"Reconcile the ledger with the report of a payment provider, CSV of all time: --report stripe=FILE." placeholder:"PROVIDER=FILE"`
}

// Run proves the invariants.
func (c auditCommand) Run(s *streams) error {
	url, err := c.url()
	if err != nil {
		return err
	}
	cfg := system.AuditConfig{Data: c.Data, DatabaseURL: url, Connect: c.connect, Reports: map[string][]byte{}}
	for provider, file := range c.Report {
		if cfg.Reports[provider], err = os.ReadFile(file); err != nil {
			return err
		}
	}
	findings, err := system.Audit(s.ctx, cfg)
	if err != nil {
		return err
	}
	broken := 0
	for _, f := range findings {
		mark := "ok    "
		if len(f.Broken) > 0 {
			mark = "BROKEN"
			broken++
		}
		fmt.Fprintf(s.out, "%s  %s (%d compared, %d on their way)\n", mark, f.Check, f.Compared, len(f.Pending))
		for _, b := range f.Broken {
			fmt.Fprintln(s.out, "        ", b)
		}
	}
	if broken > 0 {
		return fmt.Errorf("%d of %d checks are broken", broken, len(findings))
	}
	return nil
}
