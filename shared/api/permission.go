package api

import (
	"encoding/json"
	"slices"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// Permission names something that one may do for an organizer. Checks ask for permissions, never for roles.
type Permission string

// The permissions.
const (
	MayVisit Permission = "" // what every caller may do once an event is public

	MayReadEvent     Permission = "event.read"    // see drafts and the team; every role has it
	MayEditEvent     Permission = "event.edit"    // make events, and change and delete them and their ticket types
	MayPublishEvent  Permission = "event.publish" // publish and cancel
	MayMoveEvent     Permission = "event.move"    // hand an event over to another organizer
	MayManageTeam    Permission = "team.manage"   // the people and devices of an event
	MayAnnounce      Permission = "announce"      // write to ticket holders
	MayReadReports   Permission = "reports.read"  // numbers of an event
	MayReadOrders    Permission = "orders.read"   // orders, tickets and attendees
	MayEditOrders    Permission = "orders.edit"   // make orders, change their names and notes, mail tickets again
	MayRefund        Permission = "orders.refund" // cancel and refund
	MayReadMoney     Permission = "money.read"    // payments, refunds and disputes
	MayRecordMoney   Permission = "money.record"  // mark payments and refunds as paid
	MayAdmit         Permission = "door.admit"    // scan, and see scans
	MayUndoAdmission Permission = "door.undo"     // take an admission back
	MaySell          Permission = "door.sell"     // sell at a counter
	MayUseVenues     Permission = "venue.use"     // lease seats to a venue, and hand doors over

	MayEditOrganizer Permission = "organizer.edit" // change what the organizer is
	MayManageMembers Permission = "members.manage" // its members and roles
	MayManageKeys    Permission = "keys.manage"    // its keys for machines, and its webhooks
)

// Permissions returns every permission that a role can have, in the order of documentation.
func Permissions() []Permission {
	return []Permission{MayReadEvent, MayEditEvent, MayPublishEvent, MayMoveEvent, MayManageTeam, MayAnnounce,
		MayReadReports, MayReadOrders, MayEditOrders, MayRefund, MayReadMoney, MayRecordMoney, MayAdmit,
		MayUndoAdmission, MaySell, MayUseVenues, MayEditOrganizer, MayManageMembers, MayManageKeys}
}

// The roles that every organizer has. It may add its own.
const (
	RoleOwner     string = "owner"     // everything; only of a whole organizer
	RoleManager   string = "manager"   // all about events
	RoleFinance   string = "finance"   // money and orders
	RoleMarketing string = "marketing" // numbers, texts and announcements
	RoleDoor      string = "door"      // the doors and the counter
)

// Roles returns the names of the roles that every organizer has.
func Roles() []string { return []string{RoleOwner, RoleManager, RoleFinance, RoleMarketing, RoleDoor} }

// rolePermissions returns what a role that every organizer has may do, and nil for any other.
func rolePermissions(role string) []Permission {
	switch role {
	case RoleOwner:
		return Permissions()
	case RoleManager:
		return []Permission{MayReadEvent, MayEditEvent, MayPublishEvent, MayManageTeam, MayAnnounce, MayReadReports,
			MayReadOrders, MayEditOrders, MayRefund, MayReadMoney, MayRecordMoney, MayAdmit, MayUndoAdmission, MaySell,
			MayUseVenues}
	case RoleFinance:
		return []Permission{MayReadEvent, MayReadReports, MayReadOrders, MayEditOrders, MayRefund, MayReadMoney,
			MayRecordMoney}
	case RoleMarketing:
		return []Permission{MayReadEvent, MayEditEvent, MayAnnounce, MayReadReports}
	case RoleDoor:
		return []Permission{MayReadEvent, MayAdmit, MaySell}
	}
	return nil
}

// OrganizerTeam says who may do what at all events of an organizer, what the organizer's own roles are, which the teams
// of single events may have too, and on which terms it sells.
type OrganizerTeam struct {
	ID       ids.Organizer `json:"id"`
	Revision int64         `json:"revision"` // grows with each change of the members, roles and terms
	Members  []TeamMember  `json:"members"`
	Roles    []Role        `json:"roles,omitempty"` // beside those that every organizer has
	Selling  Selling       `json:"selling,omitzero"`
}

// OwnTeam returns the team of a person's own organizer as it is at first.
func OwnTeam(user ids.User) OrganizerTeam {
	return OrganizerTeam{ID: OrganizerOf(user), Members: []TeamMember{{UserID: user, Role: RoleOwner}}}
}

// Permissions returns what a role may do. A role that the organizer does not have may do nothing.
func (t *OrganizerTeam) Permissions(role string) []Permission {
	if all := rolePermissions(role); all != nil {
		return all
	}
	for _, r := range t.Roles {
		if r.Name == role {
			return r.Permissions
		}
	}
	return nil
}

// RoleOf returns the role of a person at all events of the organizer, or "".
func (t *OrganizerTeam) RoleOf(user ids.User) string { return roleIn(t.Members, user) }

// Can reports whether a caller may do something at all events of the organizer, and for it itself. An administrator
// may do everything, a key of the organizer what its scopes are for.
func (t *OrganizerTeam) Can(p rpc.Principal, need Permission) bool {
	switch {
	case p.Admin():
		return true
	case p.IsKey():
		return p.Organizer == t.ID && slices.Contains(KeyPermissions(p.Scopes), need)
	}
	return slices.Contains(t.Permissions(t.RoleOf(p.User)), need)
}

// Require returns nil if the caller has the permission. To those who are no members the organizer is not there.
func (t *OrganizerTeam) Require(p rpc.Principal, need Permission) error {
	switch {
	case t.Can(p, need):
		return nil
	case t.RoleOf(p.User) == "":
		return fault.New(fault.NotFound, NoSuchOrganizer)
	}
	return lacks(need)
}

// roleIn returns the role of a person in a team, or "".
func roleIn(team []TeamMember, user ids.User) string {
	if user == "" {
		return ""
	}
	for _, m := range team {
		if m.UserID == user {
			return m.Role
		}
	}
	return ""
}

// Can reports whether a caller may do something at the event.
func (o *Offer) Can(p rpc.Principal, need Permission) bool {
	if need == MayVisit {
		return o.Event.Status != EventDraft || o.Can(p, MayReadEvent)
	}
	return o.Organizer.Can(p, need) ||
		slices.Contains(o.Organizer.Permissions(roleIn(o.Team, p.User)), need)
}

// RoleOf returns the role of a person at the event, that of the organizer first, or "".
func (o *Offer) RoleOf(user ids.User) string {
	if role := o.Organizer.RoleOf(user); role != "" {
		return role
	}
	return roleIn(o.Team, user)
}

// Require returns nil if the caller has the permission. To a caller who may not see the event the fault is NotFound,
// as if there were no such event; to others it is Forbidden.
func (o *Offer) Require(p rpc.Principal, need Permission) error {
	switch {
	case o.Can(p, need):
		return nil
	case !o.Can(p, MayVisit):
		return fault.New(fault.NotFound, NoSuchEvent)
	}
	return lacks(need)
}

func lacks(need Permission) error {
	return fault.New(fault.Forbidden, "this needs the permission %s, which the caller does not have here", need)
}

// Joined returns the offer with a team of its organizer, unless its own is newer.
func (o *Offer) Joined(t *OrganizerTeam) *Offer {
	if t == nil || t.ID != o.Event.OrganizerID || t.Revision < o.Organizer.Revision {
		return o
	}
	joined := *o
	joined.Organizer = *t
	return &joined
}

// UnmarshalJSON also reads offers from before there were organizers, when an event belonged to a person.
func (o *Offer) UnmarshalJSON(data []byte) error {
	type plain Offer
	if err := json.Unmarshal(data, (*plain)(o)); err != nil || o.Event.OrganizerID != "" {
		return err
	}
	var old struct {
		Event struct {
			Organizer ids.User `json:"organizer"`
		} `json:"event"`
	}
	if err := json.Unmarshal(data, &old); err != nil || old.Event.Organizer == "" {
		return err
	}
	o.Organizer = OwnTeam(old.Event.Organizer)
	o.Event.OrganizerID = o.Organizer.ID
	return nil
}

// NoSuchEvent is the message of the NotFound fault about an event, NoSuchOrganizer that about an organizer.
const (
	NoSuchEvent     = "there is no such event"
	NoSuchOrganizer = "there is no such organizer"
)
