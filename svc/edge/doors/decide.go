package doors

import (
	"context"
	"crypto/ed25519"
	"strings"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/code"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/svc/edge/disk"
)

// results are all answers.
var results = [...]string{api.Admitted, api.AlreadyAdmitted, api.InvalidCode, api.WrongEvent, api.RevokedTicket,
	api.NotYetValid, api.ExpiredTicket, api.NoReentry, api.Exited, api.NotInside,
	api.HandedOut, api.AlreadyHandedOut}

// letsGo reports whether an answer lets a person in, or a product go.
func letsGo(result string) bool { return result == api.Admitted || result == api.HandedOut }

// Shown is a code that was shown at a door.
type Shown struct {
	EventID ids.Event
	Code    string
	Gate    string
	By      string // a user or a pass
	Exit    bool   // the person goes out
}

// Verdict is the answer to a code that was shown.
type Verdict struct {
	Result   string
	Unknown  bool          // the code is genuine, and the manifest does not have the ticket, or not so
	Ticket   *line.Ticket  // as far as it is known; nil if it is not of the event
	Event    api.Event     // its description
	At       time.Time     // of the admission that counts; zero without one
	Gate     string        // of that
	Manifest time.Duration // the age of the manifest

	Questions []api.Question // what is asked about the ticket of a person who comes in
	Answers   []api.Answer   // to that, so far
}

// request is a scan, a sale, or a reversal, on its way to a decision.
type request struct {
	Shown
	sale     *Sale     // then nothing else is there but the event and By
	reversal *Reversal // or this
	code     code.Signed
	form     bool // it has that of a code
	genuine  bool // as the commit finds out
}

// verdict is a decision.
type verdict struct {
	sold     *Sold       // of a sale; then nothing else is there
	reversed *line.Entry // of a reversal, unless it was made before
	result   string
	unknown  bool
	state    mark
	gate     string
	reading  int64 // generation of the manifest
	of       bool  // the ticket is one of the event
	offer    *api.Offer
	age      time.Duration
}

// Scan decides on a code that was shown, and answers when the decision is on the disk. The faults are NotFound for an
// event that the venue has nothing to do with, Conflict while its doors are not the venue's, and Unavailable while
// nothing can be decided.
func (d *Doors) Scan(ctx context.Context, s Shown) (*Verdict, error) {
	s.Code = strings.TrimSpace(s.Code) // scanners add a line end, people a blank
	if err := d.ready(s.EventID); err != nil {
		return nil, err
	}
	req := request{Shown: s}
	req.code, req.form = code.Parse(s.Code)
	v, err := d.scans.Do(ctx, req)
	if err != nil {
		return nil, err
	}
	d.metrics.results[v.result].Inc()
	out := &Verdict{Result: v.result, Unknown: v.unknown, Gate: v.gate, Manifest: v.age, Event: v.offer.Event}
	if v.state.at != 0 {
		out.At = time.UnixMilli(v.state.at).UTC()
	}
	if v.of {
		of := &disk.Event{Event: line.Event{EventID: s.EventID, Offer: v.offer},
			Manifest: disk.Manifest{Generation: v.reading}}
		if err = d.look(out, of, req.code.Payload, s.Exit); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// ready returns nil if scans of an event are decided here.
func (d *Doors) ready(id ids.Event) error {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.fenced != "" {
		return d.errFenced()
	}
	if d.broken != nil {
		return d.errBroken()
	}
	return d.holds(d.events[id])
}

// holds returns nil if the doors of the event are the venue's.
func (d *Doors) holds(e *event) error {
	switch {
	case e == nil:
		return fault.New(fault.NotFound, "the doors of this event are not the venue's")
	case e.Holds:
		return nil
	case e.State == line.DoorsHandingOver:
		return fault.New(fault.Conflict, "the doors are being handed over: the venue admits once it has all tickets")
	case e.State == line.DoorsVenue:
		return fault.New(fault.Conflict, "another computer of the venue has taken the doors of this event, and this "+
			"one does not know what it has decided")
	}
	return fault.New(fault.Conflict, "the venue has given the doors of this event back: scan with the system")
}

func (d *Doors) errFenced() error {
	return fault.New(fault.Unavailable, "this computer must not admit any more: %s", d.fenced).After(30 * time.Second)
}

func (d *Doors) errBroken() error {
	if disk.Full(d.broken) {
		return fault.Wrap(d.broken, fault.Unavailable,
			"the disk of the venue's computer is full: nothing was decided").After(time.Second)
	}
	return fault.Wrap(d.broken, fault.Unavailable,
		"the disk of the venue's computer takes no writes: nothing was decided").After(time.Second)
}

// verify finds out which codes of a commit are genuine, those of one key at once.
func (d *Doors) verify(in []request) {
	signed := map[string][]int{}
	for i := range in {
		if in[i].form {
			signed[in[i].code.KeyID] = append(signed[in[i].code.KeyID], i)
		}
	}
	for id, which := range signed {
		codes := make([]code.Signed, len(which))
		for k, i := range which {
			codes[k] = in[i].code
		}
		for k, good := range code.Verify(d.key(id), codes) {
			in[which[k]].genuine = good
		}
	}
}

// key returns a key that signs codes, or nil.
func (d *Doors) key(id string) ed25519.PublicKey {
	if own := d.db.Identity(); id == own.KeyID { // the hub may not have told it yet
		return own.Key.Public().(ed25519.PublicKey)
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.keys[id]
}

// look adds to a verdict what is known of its ticket, and what is asked about it.
func (d *Doors) look(v *Verdict, e *disk.Event, p code.Payload, exit bool) error {
	v.Ticket = &line.Ticket{ID: p.Ticket, Revision: p.Revision}
	return d.db.View(func(tx *disk.Tx) error {
		a, there, err := askingOf(tx, e, p.Ticket)
		if err != nil || !there {
			return err
		}
		if v.Ticket = &a.ticket; !exit {
			v.Questions, v.Answers = a.shown(&e.Offer.Event)
		}
		return nil
	})
}

// decide is the rule of the door, for what is known of the ticket at this moment.
func (e *event) decide(r *request, s seat, now time.Time) (v verdict, next mark) {
	v = verdict{offer: e.Offer, age: e.age(), reading: e.Manifest.Generation, state: s.state()}
	v.of = r.genuine && r.code.Event == e.EventID
	next = s.own
	switch {
	case !r.genuine:
		v.result = api.InvalidCode
	case !v.of:
		v.result = api.WrongEvent
	case e.Offer.Event.Status == api.EventCancelled:
		v.result = api.RevokedTicket
	case e.Opens != nil && now.Before(*e.Opens) && !r.Exit:
		v.result = api.NotYetValid
	case e.Closes != nil && now.After(*e.Closes) && !r.Exit:
		v.result = api.ExpiredTicket
	default:
		v.result, v.unknown = e.judge(r, s)
	}
	switch v.result {
	case api.Admitted, api.HandedOut:
		next = v.state.enter(revisionOf(r.code.Revision), now.UnixMilli(), e.gate(r.Gate))
		v.state, v.gate = next, e.gateName(next.gate)
	case api.AlreadyAdmitted, api.NoReentry, api.AlreadyHandedOut:
		v.gate = e.gateName(v.state.gate)
	case api.Exited:
		next = v.state
		next.status = outside
		v.state.at = 0
	default:
		v.state.at = 0
	}
	return v, next
}

// judge decides on a genuine code of the event while its doors are open.
func (e *event) judge(r *request, s seat) (result string, unknown bool) {
	revision := revisionOf(r.code.Revision)
	unknown = !s.known() || revision > s.hub.revision // bought, or transferred, after the manifest was read
	state := s.state()
	switch {
	case s.known() && revision < s.hub.revision, revision < s.own.revision, state.status == revoked:
		return api.RevokedTicket, false
	case r.Exit && (r.code.Product || state.status != inside):
		return api.NotInside, unknown
	case r.Exit:
		return api.Exited, unknown
	case state.status == inside && r.code.Product:
		return api.AlreadyHandedOut, unknown
	case state.status == inside:
		return api.AlreadyAdmitted, unknown
	case state.status == outside && !e.Offer.Event.LetsBackIn():
		return api.NoReentry, unknown
	case unknown && e.Unknown != line.UnknownAdmit && s.own.status == none:
		return api.InvalidCode, true
	case r.code.Product:
		return api.HandedOut, unknown
	}
	return api.Admitted, unknown
}
