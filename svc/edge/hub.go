package edge

import (
	"context"
	"strings"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/api/line"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// What the devices of a venue get from the hub over its line.

const (
	hubWithin = 4 * time.Second // a person stands at the door
	hubScans  = 64              // at the same time
	noLine    = 5 * time.Second // when it may be tried again
)

// overLine returns the session for a request that needs the hub, or says that there is no line for it.
func (s *Service) overLine(what string) (line.Session, error) {
	session, ok := s.talking()
	if !ok || !s.lineNow().Up {
		return session, fault.New(fault.Unavailable, "%s, and there is no line to the system now", what).After(noLine)
	}
	return session, nil
}

// pair gives a device the secret of its pass.
func (s *Service) pair(ctx context.Context, req *api.PairRequest) (*api.PairedDevice, error) {
	session, err := s.overLine("the system knows the codes of devices")
	if err != nil {
		return nil, err
	}
	out, err := rpc.Call(ctx, s.client, line.PairDevice, &line.Pair{Session: session, Code: req.Code})
	if err != nil {
		return nil, s.refused(err)
	}
	s.wake() // the device is known here with the next answer
	return out, nil
}

// isAtHub reports whether a scan is the hub's to decide: a device shows it for an event that is not the venue's, as
// after its doors have gone back. The device goes on as before, for as long as there is a line.
func (s *Service) isAtHub(c caller, req *api.Admission) bool {
	_, _, known := s.doors.Event(req.EventID)
	return !known && strings.HasPrefix(c.secret, line.PassPrefix)
}

// scanAtHub has the hub decide on a scan of a device.
func (s *Service) scanAtHub(
	ctx context.Context, c caller, req *api.Admission, exit bool,
) (*api.AdmissionResult, error) {
	session, err := s.overLine("the doors of this event are not the venue's")
	if err != nil {
		return nil, err
	}
	select {
	case s.atHub <- struct{}{}:
		defer func() { <-s.atHub }()
	default:
		return nil, fault.New(fault.Unavailable, "too many scans are on their way to the system").After(time.Second)
	}
	ctx, cancel := context.WithTimeout(ctx, hubWithin)
	defer cancel()
	out, err := rpc.Call(ctx, s.client, line.ScanAtHub, &line.Device{Session: session, EventID: req.EventID,
		Secret: c.secret, Code: req.Code, Gate: req.Gate, Exit: exit})
	if fault.Is(err, fault.Timeout) {
		return nil, fault.Wrap(err, fault.Timeout, "the system decides for this event, and has not answered in time: "+
			"scan it again")
	}
	return out, s.refused(err)
}
