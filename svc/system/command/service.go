package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/starlightsymphony/starlight/natsconf"
	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/auditlog"
)

type authService struct {
	target
	Name    string   `arg:"" help:"What the service is called: it serves x.NAME.> and, once gateway.services names it, /x/NAME."`
	Subject []string `       help:"Domain events that it may read, such as ev.event.>; by a consumer x_NAME of the stream EVENTS."`
	Out     string   `       help:"File to write the credentials to; default NAME.creds."                                          type:"path"`
	Revoke  bool     `       help:"End all credentials that were made before. Without --out no new ones are made."`
}

// externalAccess is what the audit log says of the credentials of a third-party service.
type externalAccess struct {
	Events []string `json:"events"`
}

// Run makes or ends credentials. The data folder is that of the system, or what auth init wrote.
func (c authService) Run(s *streams) error {
	if c.Revoke {
		if err := c.revoke(s); err != nil || c.Out == "" {
			return err
		}
	}
	out := c.Out
	if out == "" {
		out = c.Name + ".creds"
	}
	creds, err := natsconf.External{Name: c.Name, Stream: api.EventsStream, Events: c.Subject}.Credentials(c.Data)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(out, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if err := c.note(s.ctx, auditlog.Act{After: externalAccess{c.Subject}}); err != nil {
		err = fmt.Errorf("no credentials are written, as the audit log cannot have a line of it: %w", err)
		return errors.Join(err, f.Close(), os.Remove(out))
	}
	_, err = f.Write(creds)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.out, "%s: for the service %s alone; its inbox prefix is %s. To serve it below /x/%s: "+
		"starlight config set gateway.services %s\n", out, c.Name,
		natsconf.InboxPrefix(natsconf.ExternalInbox(c.Name)), c.Name, c.Name)
	return err
}

func (c authService) revoke(s *streams) error {
	account, err := natsconf.RevokeExternal(c.Data, c.Name, time.Now())
	if err != nil {
		return err
	}
	if err := c.push(s.ctx, account); err != nil {
		return fmt.Errorf("the credentials of %s are ended as soon as the servers know, which they do not yet: %w",
			c.Name, err)
	}
	if err := c.note(s.ctx, auditlog.Act{Before: externalAccess{}}); err != nil {
		return fmt.Errorf("the credentials of %s are ended, but the audit log has no line of it: %w", c.Name, err)
	}
	_, err = fmt.Fprintf(s.out, "the credentials of %s are ended\n", c.Name)
	return err
}

// note writes a line of the audit log about the credentials of the service.
func (c authService) note(ctx context.Context, act auditlog.Act) error {
	js, done, err := c.connectAs(ctx, roleAdmin)
	if err != nil {
		return err
	}
	defer done()
	act.Act, act.Object = "auth.service", c.Name
	return auditlog.Publish(ctx, js, roleAdmin, act)
}

// pusher is an account that servers are told of.
type pusher interface {
	Push(context.Context, *nats.Conn) error
}

// push tells the running servers, as the system account may.
func (c target) push(ctx context.Context, account pusher) error {
	ctx, cancel := context.WithTimeout(ctx, dialWithin)
	defer cancel()
	url := c.natsURL()
	options := []nats.Option{nats.Name("starlight auth"), nats.Timeout(dialWithin),
		nats.UserCredentials(filepath.Join(c.Data, "creds", "sys.creds"))}
	if c.NATSCA != "" {
		options = append(options, nats.RootCAs(c.NATSCA))
	}
	nc, err := nats.Connect(url, options...)
	if err != nil {
		return fmt.Errorf("no server answers at %s: %w", url, err)
	}
	defer nc.Close()
	return account.Push(ctx, nc)
}
