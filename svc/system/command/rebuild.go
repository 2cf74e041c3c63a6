package command

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/svc/config"
)

type rebuildCommand struct {
	Inventory rebuildInventory `cmd:"" help:"Make the seats of every event what the database says, while they are on sale."`
	Stock     rebuildStock     `cmd:"" help:"Make what the database counts as sold and leased what its tickets, leases and sales say, while they are on sale."`
	Analytics rebuildAnalytics `cmd:"" help:"Forget the numbers of analytics, in every instance, and fold the streams again from their beginning."`
}

type rebuildAnalytics struct{ target }

// Run raises the generation of the read model. Instances that run begin at once, others when they start.
func (c rebuildAnalytics) Run(s *streams) error {
	key := api.AnalyticsGeneration.Key()
	return c.with(s.ctx, key, func(v *config.Values) error {
		now, err := v.Get(s.ctx, key)
		if err != nil {
			return err
		}
		generation, err := strconv.Atoi(now.Value)
		if err != nil {
			return err
		}
		next, err := v.Put(s.ctx, key, strconv.Itoa(generation+1))
		if err != nil {
			return err
		}
		fmt.Fprintln(s.out, "analytics is built again, generation", next.Value)
		return nil
	})
}

type rebuildInventory struct {
	target
	Event string        `help:"This event alone."`
	Wait  time.Duration `default:"2m" help:"How long to wait for what is on its way between the inventory and the database."`
}

// Run asks ticketing to rebuild one event after another. It fails if seats are left that are not what the database
// says.
func (c rebuildInventory) Run(s *streams) error {
	js, done, err := c.connectAs(s.ctx, roleAdmin)
	if err != nil {
		return err
	}
	defer done()
	client := rpc.NewClient(js.Conn(), rpc.ClientConfig{Name: roleAdmin})
	var events, mended, left int
	req := api.RebuildOf{EventID: ids.Event(c.Event)}
	for until := time.Now().Add(c.Wait); ; {
		got, err := rpc.Call(s.ctx, client, api.RebuildInventory, &req)
		if err != nil {
			return err
		}
		mended += got.Mended
		if got.Waiting > 0 && time.Now().Before(until) {
			fmt.Fprintf(s.out, "%s: %d of %d orders mended, %d changed a moment ago: looking again\n", got.EventID,
				got.Mended, got.Orders, got.Waiting)
			select {
			case <-time.After(min(10*time.Second, c.Wait)):
			case <-s.ctx.Done():
				return s.ctx.Err()
			}
			req.EventID = got.EventID
			continue
		}
		if got.EventID != "" {
			events++
			left += got.Waiting + got.NoRoom
			if got.Mended+got.Waiting+got.NoRoom > 0 {
				fmt.Fprintf(s.out,
					"%s: %d of %d orders mended, %d left because they changed a moment ago, %d because others have "+
						"their seats\n",
					got.EventID, got.Mended, got.Orders, got.Waiting, got.NoRoom)
			}
		}
		if got.EventID == "" || c.Event != "" {
			break
		}
		req, until = api.RebuildOf{After: got.EventID}, time.Now().Add(c.Wait)
	}
	fmt.Fprintf(s.out, "%d events looked at, %d orders mended; starlight audit proves the rest\n", events, mended)
	if left > 0 {
		return errors.New("some orders are left: look at them with starlight audit, and rebuild again")
	}
	return nil
}

type rebuildStock struct {
	target
	Event string `help:"This event alone."`
}

// Run asks ticketing to make the sums of one event after another anew, and says which were wrong. It fails if one is
// left that is.
func (c rebuildStock) Run(s *streams) error {
	js, done, err := c.connectAs(s.ctx, roleAdmin)
	if err != nil {
		return err
	}
	defer done()
	client := rpc.NewClient(js.Conn(), rpc.ClientConfig{Name: roleAdmin})
	var events, compared, mended, left int
	for req := (api.RebuildOf{EventID: ids.Event(c.Event)}); ; {
		got, err := rpc.Call(s.ctx, client, api.RebuildStock, &req)
		if err != nil {
			return err
		}
		if got.EventID == "" {
			break
		}
		events, compared = events+1, compared+got.Compared
		mended, left = mended+len(got.Mended), left+len(got.Left)
		for _, sum := range got.Mended {
			fmt.Fprintf(s.out, "%s: %s was %d and is %d\n", got.EventID, sum.Name(), sum.Was, sum.Is)
		}
		for _, sum := range got.Left {
			fmt.Fprintf(s.out, "%s: %s is %d and should be %d: there is no row of it, or no room\n", got.EventID,
				sum.Name(), sum.Was, sum.Is)
		}
		if c.Event != "" {
			break
		}
		req = api.RebuildOf{After: got.EventID}
	}
	fmt.Fprintf(s.out, "%d events looked at, %d of %d sums mended; starlight audit proves the rest\n", events, mended,
		compared)
	if left > 0 {
		return fmt.Errorf("%d sums are not what they should be: look at them with starlight audit", left)
	}
	return nil
}
