package api

import (
	"strconv"
	"time"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/rpc/codec"
)

// Organizer is who sells: events, their money, members and keys belong to it.
type Organizer struct {
	ID        ids.Organizer `json:"id"`
	Name      string        `json:"name" maxLength:"200"` // what it is called, on one line
	Slug      string        `json:"slug"`                 // its name in addresses; no other organizer has it
	LegalName string        `json:"legal_name,omitempty"` // of the person or company, on invoices
	Address   string        `json:"address,omitempty"`    // on invoices; several lines
	Country   string        `json:"country,omitempty"`    // ISO 3166-1 alpha-2
	TaxID     string        `json:"tax_id,omitempty"`     // such as a VAT number
	Email     string        `json:"email,omitempty"`      // for questions of buyers
	Phone     string        `json:"phone,omitempty"`      // for questions of buyers, E.164
	Website   string        `json:"website,omitempty"`    // an address that begins with https:// or http://
	// ISO 4217; what pages propose for new ticket types
	Currency string `json:"currency,omitempty"`
	Language string `json:"language,omitempty"` // BCP 47; what pages propose for new events
	// from the IANA database; what pages propose for new events
	Timezone string  `json:"timezone,omitempty"`
	Logo     Picture `json:"logo,omitzero"` // absent: there is none
	SalesTerms
	Revision  int64     `json:"revision"`   // grows with each change
	CreatedAt time.Time `json:"created_at"` // when it was made
	UpdatedAt time.Time `json:"updated_at"` // when it was last changed
}

// ETag implements rpc.ETagger.
func (o Organizer) ETag() string { return strconv.FormatInt(o.Revision, 36) }

// OrganizerOf returns the id of a person's own organizer, which is made when the person first sells as such.
func OrganizerOf(user ids.User) ids.Organizer { return ids.Twin[ids.OrganizerKind](user) }

// NewOrganizer is the request of CreateOrganizer.
type NewOrganizer struct {
	Name string `json:"name" minLength:"1" maxLength:"200"` // what it is called, on one line
	// its name in addresses: 3 to 63 of a-z, 0-9 and -; absent: made from the name
	Slug      string `json:"slug,omitempty" pattern:"^[a-z0-9](-?[a-z0-9]){2,62}$"`
	LegalName string `json:"legal_name,omitempty" maxLength:"200"` // of the person or company, on invoices
	Address   string `json:"address,omitempty" maxLength:"500"`    // on invoices; several lines
	Country   string `json:"country,omitempty" maxLength:"2"`      // ISO 3166-1 alpha-2
	TaxID     string `json:"tax_id,omitempty" maxLength:"50"`      // such as a VAT number
	Email     string `json:"email,omitempty" format:"email"`       // for questions of buyers
	// for questions of buyers, E.164
	Phone   string `json:"phone,omitempty" pattern:"^\\+[1-9][0-9]{6,14}$"`
	Website string `json:"website,omitempty" maxLength:"500"` // an address that begins with https:// or http://
	// ISO 4217; what pages propose for new ticket types
	Currency string `json:"currency,omitempty" maxLength:"3"`
	// BCP 47; what pages propose for new events
	Language string `json:"language,omitempty" maxLength:"35"`
	// from the IANA database; what pages propose for new events
	Timezone string `json:"timezone,omitempty"`
	SalesTerms
}

// SalesTerms are what holds for all sales of an organizer.
type SalesTerms struct {
	// whether tax is rounded for each line, or for the sum of a rate; absent: line
	TaxRounding string `json:"tax_rounding,omitempty" enum:"line,document"`
	// whether each paid order has an invoice, and each refund a credit note; needs legal_name, address and country
	Invoices bool `json:"invoices,omitempty"`
	// what the numbers of invoices begin with: up to 20 of A-Z, 0-9 and -
	InvoicePrefix string `json:"invoice_prefix,omitempty" pattern:"^[A-Z0-9-]{0,20}$"`
	// what stands at the end of each invoice, such as why it has no tax; several lines
	InvoiceNote string `json:"invoice_note,omitempty" maxLength:"500"`
	// whether businesses of other member states of the EU pay without the taxes that say so, and owe them themselves:
	// off, which absent means, too; confirmed, if VIES knows the VAT number; format, by its form and check digits
	// alone. Needs invoices, and a VAT number of the EU as tax_id
	ReverseCharge string `json:"reverse_charge,omitempty" enum:"off,confirmed,format"`
	// what becomes of an order if VIES gives no answer: tax, which absent means, too: it is sold with tax; refuse: it
	// is not made; accept: by the form and check digits of the number
	VATUnanswered string `json:"vat_unanswered,omitempty" enum:"tax,refuse,accept"`
}

// Selling is how an organizer sells: its terms, and who it is on invoices if it makes some.
type Selling struct {
	SalesTerms
	Seller Seller  `json:"seller,omitzero"`
	Logo   Picture `json:"logo,omitzero"` // for what shows who sells
}

// OrganizerRef names an organizer in a path.
type OrganizerRef struct {
	ID ids.Organizer `json:"-" path:"id"`
}

// OrganizerName is the request of GetOrganizerProfile.
type OrganizerName struct {
	Name string `json:"-" path:"id"` // the id of an organizer, or its slug
}

// OrganizerProfile is what anybody may know of an organizer that has published something.
type OrganizerProfile struct {
	ID      ids.Organizer `json:"id"`
	Name    string        `json:"name"`              // what it is called, on one line
	Slug    string        `json:"slug"`              // its name in addresses
	Website string        `json:"website,omitempty"` // an address that begins with https:// or http://
	Logo    Picture       `json:"logo,omitzero"`     // absent: there is none
}

// PatchOrganizer is the request of UpdateOrganizer. What is absent stays as it is, null clears what can be cleared.
type PatchOrganizer struct {
	ID ids.Organizer `json:"-" path:"id"`
	// the ETag that was read; if it is not the present one, nothing is changed
	IfMatch string `json:"-" header:"If-Match"`
	// what it is called, on one line
	Name *string `json:"name,omitempty" minLength:"1" maxLength:"200"`
	// its name in addresses: 3 to 63 of a-z, 0-9 and -
	Slug *string `json:"slug,omitempty" pattern:"^[a-z0-9](-?[a-z0-9]){2,62}$"`
	// of the person or company, on invoices
	LegalName codec.Patch[string] `json:"legal_name,omitzero" maxLength:"200"`
	Address   codec.Patch[string] `json:"address,omitzero" maxLength:"500"` // on invoices; several lines
	Country   codec.Patch[string] `json:"country,omitzero" maxLength:"2"`   // ISO 3166-1 alpha-2
	TaxID     codec.Patch[string] `json:"tax_id,omitzero" maxLength:"50"`   // such as a VAT number
	Email     codec.Patch[string] `json:"email,omitzero" format:"email"`    // for questions of buyers
	// for questions of buyers, E.164
	Phone codec.Patch[string] `json:"phone,omitzero" pattern:"^\\+[1-9][0-9]{6,14}$"`
	// an address that begins with https:// or http://
	Website codec.Patch[string] `json:"website,omitzero" maxLength:"500"`
	// ISO 4217; what pages propose for new ticket types
	Currency codec.Patch[string] `json:"currency,omitzero" maxLength:"3"`
	// BCP 47; what pages propose for new events
	Language codec.Patch[string] `json:"language,omitzero" maxLength:"35"`
	// from the IANA database; what pages propose for new events
	Timezone codec.Patch[string] `json:"timezone,omitzero"`
	// whether tax is rounded for each line, or for the sum of a rate
	TaxRounding *string `json:"tax_rounding,omitempty" enum:"line,document"`
	// whether each paid order has an invoice, and each refund a credit note; needs legal_name, address and country
	Invoices *bool `json:"invoices,omitempty"`
	// what the numbers of invoices begin with: up to 20 of A-Z, 0-9 and -
	InvoicePrefix codec.Patch[string] `json:"invoice_prefix,omitzero" pattern:"^[A-Z0-9-]{0,20}$"`
	// what stands at the end of each invoice, such as why it has no tax; several lines
	InvoiceNote codec.Patch[string] `json:"invoice_note,omitzero" maxLength:"500"`
	// whether businesses of other member states of the EU pay without the taxes that say so: see Organizer
	ReverseCharge *string `json:"reverse_charge,omitempty" enum:"off,confirmed,format"`
	// what becomes of an order if VIES gives no answer
	VATUnanswered *string `json:"vat_unanswered,omitempty" enum:"tax,refuse,accept"`
}

// Membership is an organizer with what the caller is there.
type Membership struct {
	Organizer
	Role        string       `json:"role"`        // of the caller
	Permissions []Permission `json:"permissions"` // of that role
}

// Role is a named set of permissions.
type Role struct {
	Name        string       `json:"name"`        // 1 to 40 of a-z, 0-9, - and _
	Permissions []Permission `json:"permissions"` // what people with the role may do
	// every organizer has it, and none can change it
	BuiltIn bool `json:"built_in,omitempty"`
}

// SetRole is the request of PutRole.
type SetRole struct {
	ID   ids.Organizer `json:"-" path:"id"`
	Name string        `json:"-" path:"name"` // 1 to 40 of a-z, 0-9, - and _
	// what its members may do; event.read is in every role
	Permissions []Permission `json:"permissions" maxItems:"50"`
}

// RoleRef names a role of an organizer in a path.
type RoleRef struct {
	ID   ids.Organizer `json:"-" path:"id"`
	Name string        `json:"-" path:"name"` // of the role
}

// OrganizerMemberRef names a member of an organizer in a path.
type OrganizerMemberRef struct {
	ID     ids.Organizer `json:"-" path:"id"`
	UserID ids.User      `json:"-" path:"user_id"`
}

// SetOrganizerMember is the request of PutOrganizerMember.
type SetOrganizerMember struct {
	ID     ids.Organizer `json:"-" path:"id"`
	UserID ids.User      `json:"-" path:"user_id"`
	// owner, manager, finance, marketing, door, or a role of the organizer's own
	Role string `json:"role" minLength:"1" maxLength:"40"`
}

// OrganizerInvite is the request of InviteOrganizerMember.
type OrganizerInvite struct {
	ID    ids.Organizer `json:"-" path:"id"`
	Email string        `json:"email" format:"email"` // of an account, or of a person who has none yet
	// owner, manager, finance, marketing, door, or a role of the organizer's own
	Role string `json:"role" minLength:"1" maxLength:"40"`
}

// OrganizerInvitationRef names an invitation to an organizer.
type OrganizerInvitationRef struct {
	ID    ids.Organizer `json:"-" path:"id"`
	Email string        `json:"-" query:"email" required:"true"` // the address that was invited
}

// NewOwner is the request of TransferOrganizer.
type NewOwner struct {
	ID     ids.Organizer `json:"-" path:"id"`
	UserID ids.User      `json:"user_id"` // a member
}

// The endpoints about organizers, which the event service serves.
var (
	CreateOrganizer = rpc.Endpoint[NewOrganizer, Organizer]{Spec: rpc.Spec{Service: "event", Name: "create_organizer",
		Audited: true,
		Method:  "POST", Path: "/v1/organizers", Access: rpc.User, Status: 201, Location: "/v1/organizers/{id}",
		Idempotent: true, Summary: "Create an organizer, whose owner the caller is",
		Faults: rpc.Faults{fault.Conflict: "another organizer has the slug, the caller owns too many organizers, or " +
			inFlight}}}
	ListOrganizers = rpc.Endpoint[Page, List[Membership]]{Spec: rpc.Spec{Service: "event", Name: "list_organizers",
		Method: "GET", Path: "/v1/organizers", Access: rpc.User,
		Summary: "The organizers that the caller is a member of, with the caller's role"}}
	GetOrganizer = rpc.Endpoint[OrganizerRef, Organizer]{Spec: rpc.Spec{Service: "event", Name: "get_organizer",
		Method: "GET", Path: "/v1/organizers/{id}", Access: rpc.User, Summary: "Read an organizer, as a member",
		Faults: rpc.Faults{fault.NotFound: notMember, fault.Forbidden: ""}}}
	GetOrganizerProfile = rpc.Endpoint[OrganizerName, OrganizerProfile]{Spec: rpc.Spec{Service: "event",
		Name: "organizer_profile", Method: "GET", Path: "/v1/organizers/{id}/profile", Access: rpc.Public,
		Summary: "Who an organizer is, by its id or slug",
		Faults:  rpc.Faults{fault.NotFound: "there is no such organizer, or it has not published anything"}}}
	UpdateOrganizer = rpc.Endpoint[PatchOrganizer, Organizer]{Spec: rpc.Spec{Service: "event",
		Name: "update_organizer", Audited: true, Method: "PATCH", Path: "/v1/organizers/{id}", Access: rpc.User,
		Headers: []string{"If-Match"}, Summary: "Change an organizer",
		Faults: forMembers(MayEditOrganizer, rpc.Faults{fault.Conflict: "another organizer has the slug"})}}

	ListOrganizerMembers = rpc.Endpoint[OrganizerRef, List[TeamMember]]{Spec: rpc.Spec{Service: "event",
		Name: "list_members", Method: "GET", Path: "/v1/organizers/{id}/members", Access: rpc.User,
		Summary: "Who works for all events of an organizer",
		Detail:  "Invitations, names and addresses are for members with the permission members.manage.",
		Faults:  rpc.Faults{fault.NotFound: notMember, fault.Forbidden: ""}}}
	PutOrganizerMember = rpc.Endpoint[SetOrganizerMember, TeamMember]{Spec: rpc.Spec{Service: "event",
		Name: "set_member", Method: "PUT", Path: "/v1/organizers/{id}/members/{user_id}", Access: rpc.User,
		Audited:   true,
		Sensitive: true, Summary: "Change the role of a member",
		Detail: "New members are invited. No caller can give more rights than their own, or change the role of a " +
			"member who has more.",
		Faults: forMembers(MayManageMembers, rpc.Faults{fault.NotFound: notMember + "; or the person is no member",
			fault.Conflict: lastOwner})}}
	DeleteOrganizerMember = rpc.Endpoint[OrganizerMemberRef, rpc.None]{Spec: rpc.Spec{Service: "event",
		Name: "delete_member", Method: "DELETE", Path: "/v1/organizers/{id}/members/{user_id}", Access: rpc.User,
		Audited:   true,
		Sensitive: true, Status: 204, Summary: "Remove a member, or leave an organizer",
		Faults: forMembers(MayManageMembers, rpc.Faults{fault.NotFound: notMember + "; or the person is no member",
			fault.Conflict: lastOwner})}}
	InviteOrganizerMember = rpc.Endpoint[OrganizerInvite, TeamMember]{Spec: rpc.Spec{Service: "event",
		Name: "invite_member", Method: "POST", Path: "/v1/organizers/{id}/members", Access: rpc.User, Sensitive: true,
		Audited: true,
		Status:  201, Limit: rpc.LoginLimit, Summary: "Invite a person to an organizer by mail address",
		Detail: "The invitation takes effect once a person has confirmed the address, at once if one has.",
		Faults: forMembers(MayManageMembers, rpc.Faults{fault.Conflict: "the person is a member already, the " +
			"organizer has as many members as it may, or too many invitations wait"})}}
	DeleteOrganizerInvitation = rpc.Endpoint[OrganizerInvitationRef, rpc.None]{Spec: rpc.Spec{Service: "event",
		Name: "uninvite_member", Method: "DELETE", Path: "/v1/organizers/{id}/members", Access: rpc.User, Status: 204,
		Audited: true,
		Summary: "Take an invitation to an organizer back",
		Faults:  forMembers(MayManageMembers, rpc.Faults{fault.Conflict: ""})}}
	TransferOrganizer = rpc.Endpoint[NewOwner, List[TeamMember]]{Spec: rpc.Spec{Service: "event",
		Name: "transfer_organizer", Method: "POST", Path: "/v1/organizers/{id}/transfer", Access: rpc.User,
		Audited:   true,
		Sensitive: true, Summary: "Make another member the owner in the caller's place",
		Detail: "The caller becomes a manager. The answer has all members.",
		Faults: forMembers(MayManageMembers, rpc.Faults{
			fault.Forbidden: "the caller is no owner",
			fault.NotFound:  notMember + "; or the person is no member", fault.Conflict: ""})}}

	ListRoles = rpc.Endpoint[OrganizerRef, List[Role]]{Spec: rpc.Spec{Service: "event", Name: "list_roles",
		Method: "GET", Path: "/v1/organizers/{id}/roles", Access: rpc.User,
		Summary: "The roles that members and teams of an organizer can have",
		Faults:  rpc.Faults{fault.NotFound: notMember, fault.Forbidden: ""}}}
	PutRole = rpc.Endpoint[SetRole, Role]{Spec: rpc.Spec{Service: "event", Name: "set_role", Method: "PUT",
		Audited: true,
		Path:    "/v1/organizers/{id}/roles/{name}", Access: rpc.User, Sensitive: true,
		Summary: "Add or change a role of an organizer's own",
		Faults: forMembers(MayManageMembers, rpc.Faults{fault.Conflict: "every organizer has the role, or the " +
			"organizer has as many roles as it may"})}}
	DeleteRole = rpc.Endpoint[RoleRef, rpc.None]{Spec: rpc.Spec{Service: "event", Name: "delete_role", Audited: true,
		Method: "DELETE", Path: "/v1/organizers/{id}/roles/{name}", Access: rpc.User, Sensitive: true, Status: 204,
		Summary: "Delete a role of an organizer's own",
		Faults: forMembers(MayManageMembers, rpc.Faults{fault.NotFound: notMember + "; or it has no such role",
			fault.Conflict: "a member, an invitation or the team of an event has the role"})}}
)

const (
	notMember = "there is no such organizer, or the caller is no member"
	lastOwner = "an organizer needs an owner, and this is the last one"
)

// forMembers is what an endpoint answers that is for members of an organizer with a permission.
func forMembers(need Permission, more rpc.Faults) rpc.Faults {
	all := rpc.Faults{fault.NotFound: notMember,
		fault.Forbidden: "the caller is a member without the permission " + string(need)}
	for code, when := range more {
		all[code] = when
	}
	return all
}

func organizerEndpoints() []rpc.Descriptor {
	return []rpc.Descriptor{CreateOrganizer.Describe(), ListOrganizers.Describe(), GetOrganizer.Describe(),
		GetOrganizerProfile.Describe(),
		UpdateOrganizer.Describe(), ListOrganizerMembers.Describe(), PutOrganizerMember.Describe(),
		DeleteOrganizerMember.Describe(), InviteOrganizerMember.Describe(), DeleteOrganizerInvitation.Describe(),
		TransferOrganizer.Describe(), ListRoles.Describe(), PutRole.Describe(), DeleteRole.Describe()}
}

// OrganizerChange is the payload of OrganizerTeamChanged.
type OrganizerChange struct {
	Team OrganizerTeam `json:"team"`
	// whose rights have become fewer; members of single events, too, if a role has changed
	Lost []ids.User `json:"lost,omitempty"`
}

// OrganizerTeamChanged is the topic of changes of who may do what for an organizer.
var OrganizerTeamChanged = Topic[OrganizerChange]{"ev.event.organizer.changed",
	"an organizer was made, or its members or roles changed"}
