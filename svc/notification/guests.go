package notification

import (
	"context"
	"slices"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/stream"
	"github.com/starlightsymphony/starlight/svc/notification/render"
)

// A guest has an order and no account. The address is what the buyer said, and may be a stranger's: it gets the link to
// the order, and what was paid for; all else once the link was used. So many such mails go to one address in a day,
// however many orders have it.

// onGuest mails the link to an order, and follows what becomes of its buyer.
func (s *Service) onGuest(ctx context.Context, m stream.Msg) (step, error) {
	var e api.GuestEvent
	if err := m.Decode(&e); err != nil {
		return step{}, err
	}
	switch m.Subject {
	case api.GuestConfirmed.Subject:
		return s.onAccount(ctx, e.UserID)
	case api.GuestForgotten.Subject:
		return step{change: func(ctx context.Context, tx bun.Tx) error { return deletePerson(ctx, tx, e.UserID) }}, nil
	case api.OrderWasClaimed.Subject:
		return step{change: func(ctx context.Context, tx bun.Tx) error { return claimOrder(ctx, tx, e) }}, nil
	}
	if e.Quiet {
		return step{}, nil
	}
	event, err := s.eventOf(ctx, e.EventID)
	if err != nil {
		return step{}, err
	}
	return step{notices: []notice{{cause: "guest_order." + m.ID, user: e.UserID, name: "guest_order", hidden: true,
		facts: render.Facts{Event: event, OrderID: e.OrderID}}}}, nil
}

// orderClaims are the statements that give what a guest has to an account.
func orderClaims() []string {
	return []string{
		"UPDATE holders SET user_id = ? WHERE user_id = ?",
		"UPDATE messages SET user_id = ? WHERE user_id = ?",
	}
}

// claimOrder gives the messages and tickets of a guest to the account that has the order now.
func claimOrder(ctx context.Context, tx bun.Tx, e api.GuestEvent) error {
	for _, query := range orderClaims() {
		if _, err := tx.ExecContext(ctx, query, e.To, e.UserID); err != nil {
			return err
		}
	}
	return nil
}

// addGuests adds how to reach those of the people who have no account, but an order.
func (s *Service) addGuests(ctx context.Context, users set[ids.User], found map[ids.User]api.Contact) error {
	var rest []ids.User
	for user := range users {
		if _, ok := found[user]; !ok {
			rest = append(rest, user)
		}
	}
	if len(rest) == 0 {
		return nil
	}
	list, err := rpc.Call(ctx, s.Client, api.GetGuests, &api.GetContactsOf{IDs: rest})
	if err != nil {
		return err
	}
	for _, c := range list.Items {
		found[c.ID] = c
	}
	return nil
}

// addLink makes the token of a guest's link, which stands in this mail and nowhere else.
func (s *Service) addLink(ctx context.Context, out *outgoing, v *render.View) error {
	minted, err := rpc.Call(ctx, s.Client, api.MintOrderLink, &api.MintLink{UserID: out.to.ID})
	if fault.Is(err, fault.NotFound) {
		return &obsolete{"the order has an account by now, or its buyer is forgotten"}
	}
	if err != nil {
		return err
	}
	out.to, out.token, v.Name = minted.Contact, minted.Token, minted.Contact.Name
	return nil
}

func guestMails(address string) string { return "guest mail." + hashed(address) }

// rationGuests takes the mail from drafts to addresses of guests that have had enough. What was paid for is beside.
func (s *Service) rationGuests(ctx context.Context, tx bun.Tx, drafts []*draft) error {
	most := api.GuestMails.Get(s.Live)
	for _, d := range slices.DeleteFunc(slices.Clone(drafts), func(d *draft) bool {
		return !d.email || !d.to.Guest || d.to.EmailVerified && d.name != "guest_order" || d.bought
	}) {
		key := guestMails(d.to.Email)
		got, err := s.use(ctx, tx, []string{key}, 1, most)
		if err != nil {
			return err
		}
		if !got[key] {
			d.email = false
			s.refused(api.ChannelEmail, "guest quota")
		}
	}
	return nil
}
