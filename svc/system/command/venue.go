package command

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

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
