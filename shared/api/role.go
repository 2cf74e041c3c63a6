package api

import (
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// Role is what a caller is for an event. Each role may do what the ones before it may.
type Role int

const (
	RoleNone      Role = iota // has no part in it, and does not see a draft
	RoleVisitor               // reads it once it is public
	RoleDoor                  // reads it always, and admits
	RoleManager               // changes it and its team, and reads its orders and numbers
	RoleOrganizer             // hands it over
)

// RoleOf returns the role of a caller. An administrator is an organizer everywhere.
func (o *Offer) RoleOf(p rpc.Principal) Role {
	if p.Admin() || p.Known() && p.User == o.Event.Organizer {
		return RoleOrganizer
	}
	for _, m := range o.Team {
		switch {
		case !p.Known() || m.UserID != p.User:
		case m.Role == TeamManager:
			return RoleManager
		default:
			return RoleDoor
		}
	}
	if o.Event.Status == EventDraft {
		return RoleNone
	}
	return RoleVisitor
}

// Require returns nil if the caller has at least the role. To a caller who may not see the event the fault is NotFound,
// as if there were no such event; to others it is Forbidden.
func (o *Offer) Require(p rpc.Principal, need Role) error {
	has := o.RoleOf(p)
	switch {
	case has >= need:
		return nil
	case has == RoleNone:
		return fault.New(fault.NotFound, NoSuchEvent)
	case need == RoleOrganizer:
		return fault.New(fault.Forbidden, "only the event's organizer may do this")
	case need == RoleManager:
		return fault.New(fault.Forbidden, "only the event's managers may do this")
	default:
		return fault.New(fault.Forbidden, "only the event's team may do this")
	}
}

// NoSuchEvent is the message of the NotFound fault about an event.
const NoSuchEvent = "there is no such event"
