package command

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/starlightsymphony/starlight/natsconf"
	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/settings"
	"github.com/starlightsymphony/starlight/svc/system"
)

// target says which running system a command talks to: over NATS, as ops.
type target struct {
	Data      string `default:"./data" help:"Data folder, for the credentials." type:"path"`
	NATSURL   string `name:"nats-url" default:"nats://127.0.0.1:4222" help:"The system's NATS server."`
	NATSCreds string `name:"nats-creds" help:"Credentials; default DATA/creds." type:"path"`
	NATSCA    string `name:"nats-ca" help:"PEM file of the authority that signed its certificate." type:"path"`
}

// dialWithin bounds how long a command looks for the system.
const dialWithin = 5 * time.Second

// connect returns JetStream as ops sees it, and a function that ends the connection.
func (t target) connect(ctx context.Context) (jetstream.JetStream, func(), error) {
	creds := t.NATSCreds
	if creds == "" {
		creds = filepath.Join(t.Data, "creds")
	}
	ctx, cancel := context.WithTimeout(ctx, dialWithin)
	defer cancel()
	nc, err := natsconf.Dial(ctx, natsconf.DialConfig{URL: t.NATSURL, Role: "ops", Creds: creds, CA: t.NATSCA})
	if err != nil {
		return nil, nil, fmt.Errorf("the system cannot be reached at %s: %w", t.NATSURL, err)
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
	Reset    configReset    `cmd:"" help:"Return a setting to its default."`
	History  configHistory  `cmd:"" help:"The last values of a setting, newest first."`
	Rollback configRollback `cmd:"" help:"Return a setting to the value before, or to a revision."`
}

// open reads the settings of the running system.
func (t target) open(ctx context.Context) (jetstream.KeyValue, *settings.Live, func(), error) {
	js, done, err := t.connect(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	kv, err := js.KeyValue(ctx, natsconf.ConfigBucket)
	if err != nil {
		done()
		return nil, nil, nil, err
	}
	live, err := settings.Open(ctx, kv, api.Settings(), nil, observe.NewRegistry())
	if err != nil {
		done()
		return nil, nil, nil, err
	}
	return kv, live, func() { live.Close(); done() }, nil
}

func definition(key string) (settings.Definition, error) {
	for _, d := range api.Settings() {
		if d.Spec().Key == key {
			return d, nil
		}
	}
	return nil, fmt.Errorf("there is no setting %q; see starlight config list", key)
}

type configList struct{ target }

// Run lists the settings.
func (c configList) Run(s *streams) error {
	_, live, done, err := c.open(s.ctx)
	if err != nil {
		return err
	}
	defer done()
	w := tabwriter.NewWriter(s.out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "SETTING\tVALUE\tDEFAULT\tBOUNDS\tWHAT IT IS")
	for _, st := range live.States() {
		bounds := st.Bounds
		if bounds == "" {
			bounds = strings.Join(st.Options, ", ")
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", st.Key, st.Value, st.Default, bounds, st.Doc)
	}
	return w.Flush()
}

type configGet struct {
	target
	Key string `arg:"" help:"The setting."`
}

// Run prints the value in force.
func (c configGet) Run(s *streams) error {
	if _, err := definition(c.Key); err != nil {
		return err
	}
	_, live, done, err := c.open(s.ctx)
	if err != nil {
		return err
	}
	defer done()
	st, _ := live.State(c.Key)
	_, err = fmt.Fprintln(s.out, st.Value)
	return err
}

type configSet struct {
	target
	Key   string `arg:"" help:"The setting."`
	Value string `arg:"" help:"The new value."`
}

// Run changes a setting.
func (c configSet) Run(s *streams) error {
	def, err := definition(c.Key)
	if err != nil {
		return err
	}
	if err := def.Check(c.Value); err != nil {
		return fmt.Errorf("%s: %w", c.Key, err)
	}
	kv, _, done, err := c.open(s.ctx)
	if err != nil {
		return err
	}
	defer done()
	_, err = kv.PutString(s.ctx, c.Key, c.Value)
	return err
}

type configReset struct {
	target
	Key string `arg:"" help:"The setting."`
}

// Run returns a setting to its default.
func (c configReset) Run(s *streams) error {
	if _, err := definition(c.Key); err != nil {
		return err
	}
	kv, _, done, err := c.open(s.ctx)
	if err != nil {
		return err
	}
	defer done()
	return kv.Delete(s.ctx, c.Key)
}

type configHistory struct {
	target
	Key string `arg:"" help:"The setting."`
}

// Run prints the history of a setting.
func (c configHistory) Run(s *streams) error {
	def, err := definition(c.Key)
	if err != nil {
		return err
	}
	kv, _, done, err := c.open(s.ctx)
	if err != nil {
		return err
	}
	defer done()
	entries, err := kv.History(s.ctx, c.Key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(s.out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "REVISION\tAT\tVALUE")
	for i := len(entries) - 1; i >= 0; i-- {
		e := entries[i]
		value := strconv.Quote(string(e.Value()))
		switch {
		case e.Operation() != jetstream.KeyValuePut:
			value = "(default)"
		case def.Check(string(e.Value())) != nil:
			value += "  refused"
		}
		fmt.Fprintf(w, "%d\t%s\t%s\n", e.Revision(), e.Created().UTC().Format(time.RFC3339), value)
	}
	return w.Flush()
}

type configRollback struct {
	target
	Key      string `arg:"" help:"The setting."`
	Revision uint64 `arg:"" optional:"" help:"From the history; default the value before the present one."`
}

// Run returns a setting to an earlier value.
func (c configRollback) Run(s *streams) error {
	def, err := definition(c.Key)
	if err != nil {
		return err
	}
	kv, _, done, err := c.open(s.ctx)
	if err != nil {
		return err
	}
	defer done()
	entries, err := kv.History(s.ctx, c.Key)
	if err != nil {
		return err
	}
	for i := len(entries) - 1; i >= 0; i-- {
		e := entries[i]
		wanted := e.Revision() == c.Revision || c.Revision == 0 && i < len(entries)-1
		if !wanted {
			continue
		}
		if e.Operation() != jetstream.KeyValuePut {
			break
		}
		if err := def.Check(string(e.Value())); err != nil {
			if c.Revision != 0 {
				return fmt.Errorf("revision %d: %w", c.Revision, err)
			}
			continue
		}
		_, err := kv.Put(s.ctx, c.Key, e.Value())
		return err
	}
	if c.Revision != 0 {
		return fmt.Errorf("the history of %s has no value at revision %d", c.Key, c.Revision)
	}
	return kv.Delete(s.ctx, c.Key)
}

type logsCommand struct {
	target
	Follow  bool          `short:"f" help:"Wait for more."`
	Service string        `help:"Only this service."`
	Level   string        `help:"This level and above: debug, info, warn, error." default:"debug"`
	Request string        `help:"Only lines of this request."`
	Since   time.Duration `help:"Only lines younger than this." default:"24h"`
}

// Run prints log lines.
func (c logsCommand) Run(s *streams) error {
	js, done, err := c.connect(s.ctx)
	if err != nil {
		return err
	}
	defer done()
	err = observe.Tail(s.ctx, js, observe.TailOptions{Service: c.Service, Level: c.Level, Request: c.Request, Follow: c.Follow, Since: time.Now().Add(-c.Since)},
		func(e observe.Entry) error { return e.WriteText(s.out) })
	if s.ctx.Err() != nil {
		return nil
	}
	return err
}

type auditCommand struct{ target }

// Run proves the invariants.
func (c auditCommand) Run(s *streams) error {
	database, err := secret("STARLIGHT_DATABASE_URL")
	if err != nil {
		return err
	}
	findings, err := system.Audit(s.ctx, system.AuditConfig{Data: c.Data, DatabaseURL: database, Connect: c.connect})
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
		fmt.Fprintf(s.out, "%s  %s (%d compared)\n", mark, f.Check, f.Compared)
		for _, b := range f.Broken {
			fmt.Fprintln(s.out, "        ", b)
		}
	}
	if broken > 0 {
		return fmt.Errorf("%d of %d checks are broken", broken, len(findings))
	}
	return nil
}

type authCommand struct {
	Init authInit `cmd:"" help:"Write keys, accounts and credentials, and the configuration of outside servers."`
}

type authInit struct {
	Out string `arg:"" optional:"" default:"./natsauth" help:"Folder to write to." type:"path"`
}

// Run writes the folder.
func (c authInit) Run(s *streams) error {
	if err := natsconf.WriteExternal(c.Out, system.Roles()); err != nil {
		return err
	}
	_, err := fmt.Fprintf(s.out, "written to %s: start nats-server with hub.conf or cluster.conf there, and give each service its creds/ROLE.creds and creds/node.creds\n", c.Out)
	return err
}
