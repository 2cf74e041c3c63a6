package command

import (
	"context"
	"fmt"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/starlightsymphony/starlight/shared/auditlog"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/stream"
)

type deadCommand struct {
	List   deadList   `cmd:"" help:"Dead letters, oldest first."`
	Replay deadReplay `cmd:"" help:"Hand dead letters to their consumers once more."`
	Drop   deadDrop   `cmd:"" help:"Give up dead letters for good."`
}

// deadPage is how many dead letters are read at a time.
const deadPage = 200

type deadList struct{ target }

// Run lists the dead letters.
func (c deadList) Run(s *streams) error {
	js, done, err := c.connect(s.ctx)
	if err != nil {
		return err
	}
	defer done()
	w := tabwriter.NewWriter(s.out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tAT\tCONSUMER\tSUBJECT\tREASON")
	for after := uint64(0); ; {
		letters, err := stream.DeadLetters(s.ctx, js, after, deadPage)
		if err != nil {
			return err
		}
		for _, l := range letters {
			fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%.120q\n", l.Sequence, l.Time.Format(time.RFC3339), l.Consumer, l.Subject,
				l.Reason)
			after = l.Sequence
		}
		if len(letters) < deadPage {
			return w.Flush()
		}
	}
}

type deadReplay struct {
	target
	ID []uint64 `arg:"" help:"From the list."`
}

// Run replays dead letters.
func (c deadReplay) Run(s *streams) error {
	return c.each(s, c.ID, "replayed", stream.Replay, func(said map[string]string) auditlog.Act {
		return auditlog.Act{Act: "notification.replay", After: said}
	})
}

type deadDrop struct {
	target
	ID []uint64 `arg:"" help:"From the list."`
}

// Run deletes dead letters.
func (c deadDrop) Run(s *streams) error {
	return c.each(s, c.ID, "dropped", stream.Drop, func(said map[string]string) auditlog.Act {
		return auditlog.Act{Act: "notification.drop", Before: said}
	})
}

// each does something with dead letters, each once it is in the audit log.
func (t target) each(s *streams, ids []uint64, done string,
	do func(context.Context, jetstream.JetStream, uint64, func(stream.Letter) error) error,
	act func(said map[string]string) auditlog.Act) error {
	js, end, err := t.connectAs(s.ctx, roleAdmin)
	if err != nil {
		return err
	}
	defer end()
	for _, id := range ids {
		note := func(l stream.Letter) error {
			line := act(map[string]string{"consumer": l.Consumer, "subject": l.Subject, "message": l.ID})
			line.Object = strconv.FormatUint(l.Sequence, 10)
			return auditlog.Publish(s.ctx, js, roleAdmin, line)
		}
		if err := do(s.ctx, js, id, note); err != nil {
			return fmt.Errorf("%d: %s", id, fault.From(err).Detail)
		}
		fmt.Fprintln(s.out, done, id)
	}
	return nil
}
