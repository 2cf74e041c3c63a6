package event

import (
	"cmp"
	"slices"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/text"
)

const maxGroup = 100

// normalizeProduct brings what makes type i a product into the form in which it is kept. A new variant that says
// nothing of it belongs to tickets as the others of its group do.
func (r *record) normalizeProduct(i int) {
	t := &r.Event.TicketTypes[i]
	if t.Kind == api.KindTicket {
		t.Kind = ""
	}
	t.Group = text.Clean(t.Group)
	if !t.IsProduct() || t.Per != "" {
		return
	}
	if k := r.variantBeside(i); k >= 0 {
		t.Per = r.Event.TicketTypes[k].Per
	}
	t.Per = cmp.Or(t.Per, api.PerOrder)
}

// variantBeside returns the first other variant of the group of type i, or -1.
func (r *record) variantBeside(i int) int {
	t := &r.Event.TicketTypes[i]
	return slices.IndexFunc(r.Event.TicketTypes, func(o api.TicketType) bool {
		return t.Group != "" && o.Group == t.Group && o.ID != t.ID
	})
}

// checkProduct checks what makes type i a product.
func (r *record) checkProduct(c *fault.Check, n naming, i int) {
	t := &r.Event.TicketTypes[i]
	if !t.IsProduct() {
		c.Field(t.Kind == "", n.of(i, "kind"), "must be ticket or product")
		c.Field(t.Per == "", n.of(i, "per"), "is of products alone")
		c.Field(!t.Required, n.of(i, "required"), "is of products alone")
		c.Field(t.Group == "", n.of(i, "group"), "is of products alone")
		return
	}
	c.Field(t.Per == api.PerOrder || t.Per == api.PerTicket, n.of(i, "per"), "must be order or ticket")
	text.CheckLine(c, n.of(i, "group"), t.Group, 0, maxGroup)
	if n != wholeEvent && int(n) != i { // the request is about another one, which is to blame
		return
	}
	shown := !t.Hidden
	for k := range r.Event.TicketTypes {
		o := &r.Event.TicketTypes[k]
		if k == i || t.Group == "" || o.Group != t.Group {
			continue
		}
		c.Field(t.Name != o.Name || n == wholeEvent && k > i, n.of(i, "name"), "is the name of another variant of %s",
			t.Group)
		if shown = shown || !o.Hidden; k != r.variantBeside(i) || n == wholeEvent && k > i {
			continue
		}
		c.Field(t.Per == o.Per, n.of(i, "per"), "must be %s, as of the other variants of %s", o.Per, t.Group)
		c.Field(t.Required == o.Required, n.of(i, "required"), "must be %t, as of the other variants of %s", o.Required,
			t.Group)
	}
	c.Field(!t.Required || shown, n.of(i, "hidden"), "must be false of what is required: who has no code could order "+
		"nothing")
}

// joinProduct makes type i, which is new, required if it is a variant of what is.
func (r *record) joinProduct(i int) {
	t := &r.Event.TicketTypes[i]
	t.Group = text.Clean(t.Group)
	if k := r.variantBeside(i); k >= 0 && t.IsProduct() && r.Event.TicketTypes[k].Required {
		t.Required = true
	}
}

// patchProduct changes what makes type i a product. What is said of a variant holds for all of its group, and one that
// comes to another group takes over what holds there.
func (r *record) patchProduct(i int, req *api.PatchTicketType) error {
	t := &r.Event.TicketTypes[i]
	if !t.IsProduct() {
		var c fault.Check
		c.Field(req.Per == nil, "per", "is of products alone")
		c.Field(req.Required == nil, "required", "is of products alone")
		c.Field(!req.Group.Given, "group", "is of products alone")
		return c.Err()
	}
	before := t.Group
	req.Group.Apply(&t.Group)
	t.Group = text.Clean(t.Group)
	if k := r.variantBeside(i); k >= 0 && t.Group != before {
		t.Per, t.Required = r.Event.TicketTypes[k].Per, r.Event.TicketTypes[k].Required
	}
	set(&t.Per, req.Per)
	set(&t.Required, req.Required)
	for k := range r.Event.TicketTypes {
		if o := &r.Event.TicketTypes[k]; t.Group != "" && o.Group == t.Group {
			o.Per, o.Required = t.Per, t.Required
		}
	}
	return nil
}
