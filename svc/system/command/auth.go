package command

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/starlightsymphony/starlight/natsconf"
	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/auditlog"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/svc/system"
)

type authCommand struct {
	Init  authInit  `cmd:"" help:"Write keys, accounts and credentials, and the configuration of outside servers."`
	Venue authVenue `cmd:"" help:"Write the credentials of a venue's computer, or end those that it has."`

	Service authService `cmd:"" help:"Write the credentials of a third-party service, or end those that it has."`

	Rotate   authRotate   `cmd:"" help:"Make the next key that signs access tokens or tickets. What earlier ones have signed stays good."`
	Withdraw authWithdraw `cmd:"" help:"End a signing key that was stolen, at once: what it has signed is good no more."`

	Rewrap authRewrap `cmd:"" help:"Seal all secrets in the databases by the first key of STARLIGHT_KEY."`
}

type authInit struct {
	Out  string   `arg:"" optional:"" default:"./natsauth" help:"Folder to write to." type:"path"`
	Host []string `default:"localhost,127.0.0.1,n1,n2,n3,postgres" help:"Names and addresses of the NATS and database servers, for their certificate."`
}

// Run writes the folder.
func (c authInit) Run(s *streams) error {
	if err := natsconf.WriteExternal(c.Out, system.Roles()); err != nil {
		return err
	}
	if err := members(c.Out, c.Host, time.Now()); err != nil {
		return err
	}
	_, err := fmt.Fprintf(s.out,
		"written to %s: start nats-server with hub.conf, cluster.conf or (TLS) servers/nats/secure.conf there, and "+
			"give each service its folder members/ROLE; keep nats/ and creds/admin.creds off the machines that serve\n",
		c.Out)
	return err
}

type authVenue struct {
	target
	ID     ids.Venue `arg:"" help:"The venue, ven_..."`
	Out    string    `help:"File to write the credentials to; default VENUE.creds." type:"path"`
	Revoke bool      `help:"End all credentials that were made before. Without --out no new ones are made."`
}

// Run makes the venue's account known to the servers. The data folder is that of the system, or what auth init wrote.
func (c authVenue) Run(s *streams) error {
	id, err := ids.Parse[ids.VenueKind](string(c.ID))
	if err != nil {
		return err
	}
	venue, err := natsconf.OpenVenue(c.Data, string(id))
	if err != nil {
		return err
	}
	if c.Revoke {
		if err := venue.Revoke(c.Data, time.Now()); err != nil {
			return err
		}
	}
	pushed := c.push(s.ctx, venue)
	if c.Revoke && pushed == nil {
		if err := c.note(s.ctx, auditlog.Act{Before: credentials{true}}); err != nil {
			return fmt.Errorf("the credentials of %s are ended, but the audit log has no line of it: %w", id, err)
		}
	}
	if err := c.letSystemIn(s.ctx, venue); err != nil {
		return err
	}
	if pushed != nil && c.Revoke {
		return fmt.Errorf("the credentials of %s are ended as soon as the servers know, which they do not yet: %w", id,
			pushed)
	}
	if c.Revoke && c.Out == "" {
		_, err := fmt.Fprintf(s.out, "the credentials of %s are ended\n", id)
		return err
	}
	if err := c.write(s.ctx, venue, pushed == nil); err != nil {
		return err
	}
	if pushed != nil {
		return fmt.Errorf("%s is written, but no server knows the venue yet, nor has the audit log a line of it; an "+
			"embedded server learns of the venue when it starts: %w", c.out(), pushed)
	}
	_, err = fmt.Fprintf(s.out, "%s: for the computer of %s alone\n", c.out(), id)
	return err
}

// credentials is what a line of the audit log says of a venue.
type credentials struct {
	Credentials bool `json:"credentials"`
}

// note writes a line of the audit log about the credentials of the venue.
func (c authVenue) note(ctx context.Context, act auditlog.Act) error {
	js, done, err := c.connectAs(ctx, roleAdmin)
	if err != nil {
		return err
	}
	defer done()
	act.Act, act.Object = "auth.venue", c.ID.String()
	return auditlog.Publish(ctx, js, roleAdmin, act)
}

// letSystemIn writes the system's own credentials for a venue of outside servers, where the venue service looks for
// them. An embedded server makes its own.
func (c authVenue) letSystemIn(ctx context.Context, venue *natsconf.Venue) error {
	if _, err := os.Stat(filepath.Join(c.Data, "auth.conf")); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	dir := filepath.Join(c.Data, "members", "venue", "venues")
	if _, err := os.Stat(natsconf.HubCreds(dir, venue.ID)); err == nil && !c.Revoke {
		return nil
	}
	return venue.WriteHubCreds(ctx, dir)
}

func (c authVenue) out() string {
	if c.Out != "" {
		return c.Out
	}
	return string(c.ID) + ".creds"
}

// write writes the credentials. Nobody gets those that are good now without a line of the audit log.
func (c authVenue) write(ctx context.Context, venue *natsconf.Venue, good bool) error {
	creds, err := venue.Credentials(ctx)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(c.out(), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if good {
		if err := c.note(ctx, auditlog.Act{After: credentials{true}}); err != nil {
			err = fmt.Errorf("no credentials are written, as the audit log cannot have a line of it: %w", err)
			return errors.Join(err, f.Close(), os.Remove(c.out()))
		}
	}
	_, err = f.Write(creds)
	return errors.Join(err, f.Close())
}

type venueCommand struct {
	Close venueClose `cmd:"" help:"End all that the computer of a venue holds, which is lost for ever, and say what is not known."`
}

type venueClose struct {
	target
	ID     ids.Venue     `arg:"" help:"The venue, ven_..."`
	Reason string        `required:"" help:"What happened to the computer, for those who read the report later."`
	Wait   time.Duration `default:"2m" help:"How long to wait until it is done. It goes on by itself after that."`
}

// Run closes a venue, and prints the report.
func (c venueClose) Run(s *streams) error {
	venue, err := ids.Parse[ids.VenueKind](string(c.ID))
	if err != nil {
		return err
	}
	js, done, err := c.connectAs(s.ctx, roleAdmin)
	if err != nil {
		return err
	}
	defer done()
	client := rpc.NewClient(js.Conn(), rpc.ClientConfig{Name: roleAdmin})
	var report *api.VenueClosure
	for until := time.Now().Add(c.Wait); ; {
		report, err = rpc.Call(s.ctx, client, line.CloseVenue, &line.Close{VenueID: venue, Reason: c.Reason})
		if err != nil {
			return err
		}
		if report.Done || time.Now().After(until) {
			break
		}
		select {
		case <-time.After(time.Second):
		case <-s.ctx.Done():
			return s.ctx.Err()
		}
	}
	for _, d := range report.Doors {
		fmt.Fprintf(s.out, "%s  doors were %s (%s): %d admissions are known\n", d.EventID, d.State, d.Policy,
			d.Admitted)
	}
	for _, l := range report.Leases {
		fmt.Fprintf(s.out, "%s  lease %s: %d sold, %d seats went back that it may have sold\n", l.EventID, l.LeaseID,
			l.Sold, l.Unknown)
	}
	heard := "it was never heard of"
	if report.Contact != nil {
		heard = fmt.Sprintf("last heard of %s, with entry %d of its journal", report.Contact.Format(time.RFC3339),
			report.Journal)
	}
	fmt.Fprintf(s.out, "%s: %d doors, %d leases, %d seats unknown; %s\n", venue, len(report.Doors),
		len(report.Leases), report.Unknown, heard)
	if !report.Done {
		return errors.New("it is not done, and goes on by itself: the same command shows how far it is")
	}
	if report.Access == api.AccessOutside {
		return c.revoke(s, venue)
	}
	return nil
}

// revoke ends the credentials of a venue of outside servers, if their keys are in the folder.
func (c venueClose) revoke(s *streams, venue ids.Venue) error {
	if _, err := os.Stat(filepath.Join(c.Data, "nats", "operator.nk")); err != nil {
		return fmt.Errorf("the credentials are not ended, their keys are elsewhere: starlight auth venue %s --revoke "+
			"where starlight auth init was used", venue)
	}
	return authVenue{target: c.target, ID: venue, Revoke: true}.Run(s)
}
