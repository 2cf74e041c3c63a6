package event

import (
	"context"
	"slices"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

func (s *Service) newType(t api.NewTicketType) api.TicketType {
	return api.TicketType{ID: ids.New[ids.TicketTypeKind](s.now()), Name: t.Name, Price: t.Price, Quantity: t.Quantity,
		MaxPerOrder: t.MaxPerOrder, SalesStart: t.SalesStart, SalesEnd: t.SalesEnd, Hidden: t.Hidden}
}

func (s *Service) addType(ctx context.Context, req *api.AddTicketType) (*api.Event, error) {
	added := s.newType(req.NewTicketType)
	return s.edited(ctx, edit{event: req.EventID, need: api.MayEditEvent, topic: api.EventUpdated,
		status: api.CreateTicketType.Success(),
		apply: func(r *record) error {
			if err := r.open(); err != nil {
				return err
			}
			i := len(r.Event.TicketTypes)
			r.Event.TicketTypes = append(r.Event.TicketTypes, added)
			if err := r.drawOn(naming(i), i, req.Quotas); err != nil {
				return err
			}
			return r.accept(i)
		}})
}

func (s *Service) updateType(ctx context.Context, req *api.PatchTicketType) (*api.Event, error) {
	return s.edited(ctx, edit{event: req.EventID, need: api.MayEditEvent, ifMatch: req.IfMatch, topic: api.EventUpdated,
		apply: func(r *record) error {
			if err := r.open(); err != nil {
				return err
			}
			i := r.typeIndex(req.ID)
			if i < 0 {
				return errNoType()
			}
			t := &r.Event.TicketTypes[i]
			before := *t
			set(&t.Name, req.Name)
			set(&t.Price, req.Price)
			set(&t.Quantity, req.Quantity)
			req.MaxPerOrder.Apply(&t.MaxPerOrder)
			req.SalesStart.ApplyTo(&t.SalesStart)
			req.SalesEnd.ApplyTo(&t.SalesEnd)
			set(&t.Hidden, req.Hidden)
			if req.Quotas.Given {
				var names []string
				req.Quotas.Apply(&names)
				if err := r.drawOn(naming(i), i, names); err != nil {
					return err
				}
			}
			if err := r.accept(i); err != nil {
				return err
			}
			if sameType(before, *t) {
				return errUnchanged
			}
			return nil
		}})
}

func (s *Service) deleteType(ctx context.Context, req *api.TicketTypeRef) (*rpc.None, error) {
	_, err := s.change(ctx, edit{event: req.EventID, need: api.MayEditEvent, topic: api.EventUpdated,
		apply: func(r *record) error {
			if err := r.open(); err != nil {
				return err
			}
			i := r.typeIndex(req.ID)
			if i < 0 {
				return errNoType()
			}
			if r.public() && len(r.Event.TicketTypes) == 1 {
				return fault.New(fault.Conflict, "an event on sale needs a ticket type")
			}
			r.Event.TicketTypes = slices.Delete(r.Event.TicketTypes, i, i+1)
			r.fitCapacity()
			return r.checkRoom()
		}})
	return nil, err
}

// accept checks the event after a change of ticket type i.
func (r *record) accept(i int) error {
	r.normalize()
	if err := r.validate(naming(i)); err != nil {
		return err
	}
	r.fitCapacity()
	return r.checkRoom()
}

// checkRoom returns a Conflict fault if the event is on sale and has no room.
func (r *record) checkRoom() error {
	if r.Event.Status == api.EventPublished && r.Event.Capacity < 1 {
		return fault.New(fault.Conflict, "an event on sale needs room for at least one")
	}
	return nil
}

func sameType(a, b api.TicketType) bool {
	sameWindow := sameTime(a.SalesStart, b.SalesStart) && sameTime(a.SalesEnd, b.SalesEnd)
	return sameWindow && a.Name == b.Name && a.Price == b.Price && a.Quantity == b.Quantity &&
		a.MaxPerOrder == b.MaxPerOrder && a.Hidden == b.Hidden && slices.Equal(a.Quotas, b.Quotas)
}

func sameTime(a, b *time.Time) bool {
	return a == b || a != nil && b != nil && a.Equal(*b)
}

func errNoType() error { return fault.New(fault.NotFound, "the event has no such ticket type") }
