package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/code"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/svc/edge/disk"
	"github.com/starlightsymphony/starlight/svc/edge/doors"
)

const (
	edgeTickets  = 200_000 // in the manifest of the venue
	edgeScanners = 256
	edgePass     = "pas.a-secret-of-the-bench"
)

// edgeVenue is a data folder of a venue's computer that has taken the doors of an event, and the codes of its tickets.
type edgeVenue struct {
	dir   string
	id    ids.Venue
	event ids.Event
	codes []string
}

// edge is the door of a venue's computer while the line is cut: every ticket once, from 256 scanners. Beside it:
// bbolt's own Batch with one put for each caller, in this process and without HTTP, and the door of the system.
func (b *bench) edge(ctx context.Context) error {
	conns := edgeScanners
	if b.Conns > 0 {
		conns = b.Conns
	}
	if b.wants("edge") {
		if err := b.doorOfVenue(ctx, conns); err != nil {
			return err
		}
	}
	if b.wants("bolt") {
		var plain series
		for range b.Rounds {
			r, err := b.boltBatch(ctx, conns)
			if err != nil {
				return err
			}
			plain = append(plain, r)
		}
		b.rows = append(b.rows, plain.row("edge", "bolt", "capacity", conns, b.cores))
	}
	if b.wants("system") {
		return b.doorOfSystem(ctx, conns)
	}
	return nil
}

// doorOfVenue measures the venue's computer.
func (b *bench) doorOfVenue(ctx context.Context, conns int) error {
	count := min(edgeTickets/b.Rounds, 5*b.Tickets)
	v, err := makeVenue(filepath.Join(b.workDir, "edge"), count*b.Rounds)
	if err != nil {
		return err
	}
	p, client, err := b.startEdge(ctx, v)
	if err != nil {
		return err
	}
	b.sizes = append(b.sizes, Size{"edge", fmt.Sprintf("memory with %d tickets", edgeTickets),
		float64(residentBytes(p.cmd.Process.Pid))})
	sys, o := &system{process: p, client: client, organizer: edgePass}, offer{EventID: v.event}
	var all series
	var counts doorCounts
	for round := range b.Rounds {
		op := admitOp(sys, o, v.codes[round*count:(round+1)*count], "admitted", &counts)
		all = append(all, measure(ctx, target{"edge", op, p.cpu}, Load{Conns: conns, Count: int64(count)}))
		fmt.Fprintf(b.progress, "%-8s round %d  %.0f/s\n", "edge", round+1, all[round].Goodput())
	}
	b.sizes = append(b.sizes, Size{"edge", "memory after the scans", float64(residentBytes(p.cmd.Process.Pid))})
	b.rows = append(b.rows, all.row("edge", "edge", "capacity", conns, b.cores))
	right, wrong, unknown := counts.right.Load(), counts.wrong.Load(), counts.unknown.Load()
	b.check("edge", "edge", "every ticket is admitted", wrong == 0 && mostly(right, unknown),
		"%d admitted, %d otherwise, %d with unknown outcome", right, wrong, unknown)
	return nil
}

// doorOfSystem measures the system's own door in the same way.
func (b *bench) doorOfSystem(ctx context.Context, conns int) error {
	sys, err := b.system(ctx)
	if err != nil {
		return err
	}
	var all series
	var counts doorCounts
	for round := range b.Rounds {
		o, err := sys.sell(fmt.Sprintf("Hall %d", round+1), 0, int64(b.Tickets+perOrder))
		if err != nil {
			return err
		}
		codes, err := freeTickets(ctx, sys, o, b.Tickets)
		if err != nil {
			return err
		}
		op := admitOp(sys, o, codes, "admitted", &counts)
		all = append(all, measure(ctx, target{"system", op, sys.cpu}, Load{Conns: conns, Count: int64(b.Tickets)}))
	}
	b.rows = append(b.rows, all.row("edge", "system", "capacity", conns, b.cores))
	return nil
}

// boltBatch measures bbolt's Batch: each caller puts one entry as large as one of the journal.
func (b *bench) boltBatch(ctx context.Context, conns int) (Result, error) {
	path := filepath.Join(b.workDir, "batch.bolt")
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoFreelistSync: true, FreelistType: bbolt.FreelistMapType})
	if err != nil {
		return Result{}, err
	}
	defer os.Remove(path)
	defer db.Close()
	name, value := []byte("journal"), bytes.Repeat([]byte("x"), 350)
	if err := db.Update(func(tx *bbolt.Tx) error { _, err := tx.CreateBucket(name); return err }); err != nil {
		return Result{}, err
	}
	var number atomic.Uint64
	r := measure(ctx, target{"bolt", func(int) Op {
		return func(context.Context, int64) Outcome {
			key := fmt.Appendf(nil, "%016x", number.Add(1))
			err := db.Batch(func(tx *bbolt.Tx) error { return tx.Bucket(name).Put(key, value) })
			if err != nil {
				return Outcome{Status: 500}
			}
			return Outcome{Status: 200, Good: true}
		}
	}, func() time.Duration { return 0 }}, Load{Conns: conns, Duration: b.Duration})
	return r, nil
}

// makeVenue makes a data folder that has taken an event of 200,000 tickets, and signs codes of the first ones.
func makeVenue(dir string, codes int) (*edgeVenue, error) {
	now := time.Now()
	v := &edgeVenue{dir: dir, id: ids.New[ids.VenueKind](now), event: ids.New[ids.EventKind](now)}
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, err
	}
	db, err := disk.Open(dir, v.id)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	d, err := doors.Open(db, time.Now, slog.New(slog.DiscardHandler), observe.NewRegistry())
	if err != nil {
		return nil, err
	}
	defer d.Close()
	hash := sha256.Sum256([]byte(edgePass))
	e := line.Event{EventID: v.event, State: line.DoorsHandingOver, Epoch: 1, Policy: line.PolicyVenue,
		Unknown: line.UnknownRefuse, Position: 1, Generation: 1, Leases: []line.Lease{},
		Passes: []line.Pass{{ID: ids.New[ids.PassKind](now), Hash: hash[:], Name: "scanners"}},
		Offer: &api.Offer{Event: api.Event{ID: v.event, OrganizerID: ids.New[ids.OrganizerKind](now),
			Status: api.EventPublished, Name: "Hall", StartsAt: now, EndsAt: now.Add(time.Hour), Revision: 1}}}
	err = d.Follow(&line.State{Keys: []line.Key{{ID: "bench", Public: public}}, Events: []line.Event{e}}, false)
	if err != nil {
		return nil, err
	}
	kind := ids.New[ids.TicketTypeKind](now)
	for from := 0; from < edgeTickets; from += line.ManifestLimit {
		page := &line.Page{Position: 1, More: from+line.ManifestLimit < edgeTickets}
		for n := range line.ManifestLimit {
			issued := now.Add(time.Duration(from+n-edgeTickets) * time.Second) // one after the other, as they are sold
			id := ids.New[ids.TicketKind](issued)
			page.Tickets = append(page.Tickets, line.Ticket{ID: id, Type: kind, Order: ids.New[ids.OrderKind](issued),
				Name: fmt.Sprintf("Visitor Number %d", from+n), Revision: 1, Status: api.TicketValid, Position: 1})
			if len(v.codes) < codes {
				p := code.Payload{Event: v.event, Ticket: id, Revision: 1}
				v.codes = append(v.codes, code.Sign(p, "bench", private))
			}
		}
		ask, _ := d.NextPage(v.event)
		if err := d.Page(ask, 1, page); err != nil {
			return nil, err
		}
	}
	if holds, err := d.Take(v.event); err != nil || !holds {
		return nil, fmt.Errorf("the venue has not taken the doors: %w", err)
	}
	return v, nil
}

// startEdge starts the computer of the venue without a line, and waits until it is ready.
func (b *bench) startEdge(ctx context.Context, v *edgeVenue) (*process, *Client, error) {
	binary, err := build(ctx, b.workDir, b.binary)
	if err != nil {
		return nil, nil, err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	address := ln.Addr().String()
	if err := ln.Close(); err != nil {
		return nil, nil, err
	}
	creds := filepath.Join(v.dir, "venue.creds")
	if err := os.WriteFile(creds, nil, 0o600); err != nil {
		return nil, nil, err
	}
	p, err := startProcess("edge", b.workDir, exec.Command(binary, "edge", "--venue", string(v.id), "--hub",
		"nats-leaf://127.0.0.1:1", "--plain", "--creds", creds, "--data", v.dir, "--http", address))
	if err != nil {
		return nil, nil, err
	}
	b.started = append(b.started, p)
	for until := time.Now().Add(time.Minute); time.Now().Before(until); time.Sleep(50 * time.Millisecond) {
		resp, err := http.Get("http://" + address + "/readyz")
		if err != nil {
			continue
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return p, newClient(address), nil
		}
	}
	return nil, nil, fmt.Errorf("the edge is not ready: %s", p.tail())
}
