package ticketing

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"strconv"
	"strings"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/document"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/text"
)

// A ticket's code is ST1.<event>.<ticket>.<revision>.<key id>.<signature>: the ids without their prefixes, the ticket's
// revision in decimal, the key that signed, and the Ed25519 signature of all that stands before the key id, in base64url
// without padding. Who knows the public key can check a code without asking anybody.
const codeVersion = "ST1"

// maxCode is longer than any code, and shorter than what is worth looking at.
const maxCode = 256

// codePayload is what a code says.
type codePayload struct {
	event    ids.Event
	ticket   ids.Ticket
	revision int64
}

// codeOf returns the code of a ticket. It is the same at every call, until the key is changed; codes made before stay good.
func (s *Service) codeOf(t ticketRow) string {
	body := strings.Join([]string{codeVersion, bare(string(t.EventID)), bare(string(t.ID)), strconv.FormatInt(t.Revision, 10)}, ".")
	kid, key := s.keys.Private()
	return body + "." + kid + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(key, []byte(body)))
}

// bare is an id without its prefix.
func bare(id string) string { return id[strings.IndexByte(id, '_')+1:] }

// readCode checks a code's form and signature and returns what it says. It reports false for everything that this system
// did not sign.
func (s *Service) readCode(ctx context.Context, code string) (codePayload, bool) {
	c, kid, body, sig, ok := parseCode(code)
	if !ok || !s.keys.Verify(ctx, kid, []byte(body), sig) {
		return codePayload{}, false
	}
	return c, true
}

func parseCode(code string) (c codePayload, kid, body string, sig []byte, ok bool) {
	part := strings.Split(code, ".")
	if len(code) > maxCode || len(part) != 6 || part[0] != codeVersion {
		return codePayload{}, "", "", nil, false
	}
	event, err1 := ids.Parse[ids.EventKind](ids.EventKind{}.Prefix() + "_" + part[1])
	ticket, err2 := ids.Parse[ids.TicketKind](ids.TicketKind{}.Prefix() + "_" + part[2])
	revision, err3 := strconv.ParseInt(part[3], 10, 64)
	sig, err4 := base64.RawURLEncoding.Strict().DecodeString(part[5])
	if err1 != nil || err2 != nil || err3 != nil || err4 != nil {
		return codePayload{}, "", "", nil, false
	}
	body = strings.Join(part[:4], ".")
	return codePayload{event, ticket, revision}, part[4], body, sig, true
}

// ticket returns a ticket as its owner sees it.
func (s *Service) ticket(r ticketRow) api.Ticket {
	return api.Ticket{ID: r.ID, Code: s.codeOf(r), Status: r.Status, EventID: r.EventID, EventName: r.EventName,
		TicketTypeID: r.TicketTypeID, TypeName: r.TypeName, OrderID: r.OrderID, OwnerID: r.OwnerID,
		Holder: api.Attendee{Name: r.HolderName, Email: r.HolderEmail}, Revision: r.Revision, IssuedAt: r.IssuedAt.UTC(), AdmittedAt: r.AdmittedAt}
}

func (s *Service) tickets(rows []ticketRow) []api.Ticket {
	out := make([]api.Ticket, len(rows))
	for i, r := range rows {
		out[i] = s.ticket(r)
	}
	return out
}

// visibleTicket returns a ticket to its owner, the event's managers and administrators.
func (s *Service) visibleTicket(ctx context.Context, id ids.Ticket) (ticketRow, error) {
	row, err := s.db.ticket(ctx, id)
	if err != nil {
		return ticketRow{}, err
	}
	caller := rpc.Caller(ctx)
	if row.OwnerID == caller.User || caller.Admin() {
		return row, nil
	}
	offer, err := s.offers.get(ctx, row.EventID)
	if err != nil || offer.RoleOf(caller) < api.RoleManager {
		return ticketRow{}, fault.New(fault.NotFound, "there is no such ticket")
	}
	return row, nil
}

func (s *Service) getTicket(ctx context.Context, req *api.TicketRef) (*api.Ticket, error) {
	row, err := s.visibleTicket(ctx, req.ID)
	if err != nil {
		return nil, err
	}
	t := s.ticket(row)
	return &t, nil
}

func (s *Service) ticketQR(ctx context.Context, req *api.TicketRef) (*rpc.Blob, error) {
	row, err := s.visibleTicket(ctx, req.ID)
	if err != nil {
		return nil, err
	}
	code, err := document.NewQR(s.codeOf(row))
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "the code could not be drawn")
	}
	return &rpc.Blob{ContentType: "image/png", Data: code.PNG()}, nil
}

func (s *Service) orderTickets(ctx context.Context, req *api.OrderRef) (*api.List[api.Ticket], error) {
	order, err := s.visibleOrder(ctx, req.ID)
	if err != nil {
		return nil, err
	}
	rows, err := s.db.ticketsOf(ctx, order.ID)
	if err != nil {
		return nil, err
	}
	// A ticket that was given away belongs to somebody else now.
	if caller := rpc.Caller(ctx); order.UserID == caller.User && !caller.Admin() {
		kept := rows[:0]
		for _, r := range rows {
			if r.OwnerID == caller.User {
				kept = append(kept, r)
			}
		}
		rows = kept
	}
	return &api.List[api.Ticket]{Items: s.tickets(rows)}, nil
}

func (s *Service) myTickets(ctx context.Context, req *api.Page) (*api.List[api.Ticket], error) {
	rows, next, err := list[ticketRow](ctx, s.db, "issued_at", "owner_id", string(rpc.Caller(ctx).User), *req)
	if err != nil {
		return nil, err
	}
	return &api.List[api.Ticket]{Items: s.tickets(rows), NextCursor: next}, nil
}

// transferTicket gives a ticket to another account. The revision moves on, so codes made before are revoked. Who has given a
// ticket to a person, and says so again because no answer came, hears that it is done.
func (s *Service) transferTicket(ctx context.Context, req *api.Transfer) (*api.Ticket, error) {
	var check fault.Check
	check.Field(validEmail(req.Email), "email", "is not an email address")
	text.CheckLine(&check, "name", req.Name, 0, 200)
	if err := check.Err(); err != nil {
		return nil, err
	}
	caller := rpc.Caller(ctx)
	row, err := s.db.ticket(ctx, req.ID)
	if err != nil {
		return nil, err
	}
	if row.OwnerID != caller.User && row.GivenBy != caller.User {
		return nil, fault.New(fault.NotFound, "there is no such ticket")
	}
	person, err := rpc.Call(ctx, s.client, api.FindUserByEmail, &api.FindUser{Email: req.Email})
	if fault.Is(err, fault.NotFound) {
		return nil, fault.New(fault.NotFound, "nobody with this address can receive a ticket")
	}
	if err != nil {
		return nil, err
	}
	holder := api.Attendee{Name: req.Name, Email: person.Email}
	if holder.Name == "" {
		holder.Name = person.Name
	}
	before := row.OwnerID
	row, ok, err := s.db.transfer(ctx, req.ID, caller.User, person.ID, holder, store.Time(s.now()))
	if err != nil {
		return nil, err
	}
	if !ok && before != caller.User {
		return nil, fault.New(fault.NotFound, "there is no such ticket")
	}
	if !ok {
		return nil, fault.New(fault.Conflict, "the ticket is used or revoked")
	}
	t := s.ticket(row)
	t.Code = "" // it is the new owner's
	return &t, nil
}
