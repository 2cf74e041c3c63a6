package doors

import (
	"slices"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/text"
)

// put takes a ticket of the manifest over.
func (e *event) put(t *line.Ticket) {
	key := t.ID.Raw()
	s := e.seats[key]
	s.folded = text.Fold(t.Name)
	s.hub = mark{revision: revisionOf(t.Revision), gate: e.gate(t.Gate)}
	if t.Admitted != nil {
		s.hub.at = t.Admitted.UnixMilli()
	}
	switch {
	case t.Status == api.TicketRevoked:
		s.hub.status = revoked
	case t.Status == api.TicketAdmitted && t.Outside:
		s.hub.status = outside
	case t.Status == api.TicketAdmitted, t.Status == api.TicketHandedOut:
		s.hub.status = inside
	default:
		s.hub.status = valid
	}
	e.seats[key] = s
}

// gate returns the number of a gate.
func (e *event) gate(name string) uint16 {
	i := slices.Index(e.gates, name)
	if i < 0 {
		if len(e.gates) >= mostGates {
			return 0
		}
		if len(e.gates) == 0 {
			e.gates = append(e.gates, "")
		}
		if name == "" {
			return 0
		}
		i = len(e.gates)
		e.gates = append(e.gates, name)
	}
	return uint16(i)
}

// mostGates bounds the names of gates, which are texts from outside. The ones beyond are not remembered in memory.
const mostGates = 1000

func (e *event) gateName(n uint16) string {
	if int(n) < len(e.gates) {
		return e.gates[n]
	}
	return ""
}

// known reports whether the manifest has the ticket.
func (s seat) known() bool { return s.hub.status != none }

// state is what counts of a ticket: what was decided here, unless the hub has revoked it.
func (s seat) state() mark {
	if s.hub.status == revoked || s.own.status == none {
		return s.hub
	}
	return s.own
}

// enter is the state of a ticket whose holder comes in. Whoever was in before was first admitted then.
func (m mark) enter(rev revision, at int64, gate uint16) mark {
	if m.status == outside {
		at, gate = m.at, m.gate
	}
	return mark{revision: rev, at: at, gate: gate, status: inside}
}

// revoke is what was decided of a ticket whose sale is taken back.
func (s seat) revoke() mark { return mark{revision: s.state().revision, status: revoked} }

// replay takes an entry of the journal over.
func (e *event) replay(entry *line.Entry) {
	if entry.Reversal != nil {
		for _, t := range entry.Reversal.Tickets {
			s := e.seats[t.Raw()]
			s.own = s.revoke()
			e.seats[t.Raw()] = s
		}
	}
	scan := entry.Scan
	if scan == nil || scan.TicketID == "" {
		return
	}
	key := scan.TicketID.Raw()
	s := e.seats[key]
	switch {
	case scan.Kind == line.ScanEntry && letsGo(scan.Result):
		s.own = s.state().enter(revisionOf(scan.Revision), entry.At.UnixMilli(), e.gate(scan.Gate))
	case scan.Kind == line.ScanExit && scan.Result != api.NotInside && s.state().status == inside:
		s.own = s.state()
		s.own.status = outside
	case scan.Kind == line.ScanUndo:
		s.own = mark{revision: s.own.revision, status: valid}
	default:
		return
	}
	e.seats[key] = s
}
