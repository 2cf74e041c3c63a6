package imports

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/text"
	"github.com/starlightsymphony/starlight/svc/ticketing/inventory"
)

// Entry is a row as it was understood: an order of one ticket type.
type Entry struct {
	Email         string         `json:"email,omitempty"`
	Name          string         `json:"name,omitempty"`
	Language      string         `json:"language,omitempty"`
	TicketType    ids.TicketType `json:"ticket_type_id,omitempty"`
	TypeName      string         `json:"ticket_type,omitempty"`
	Quantity      int            `json:"quantity,omitempty"`
	Price         *api.Money     `json:"price,omitempty"` // of each; nil: that of the ticket type
	Complimentary bool           `json:"complimentary,omitempty"`
	Answers       []api.Answer   `json:"answers,omitempty"`

	order ids.Order
	of    []string // the titles of the columns of the answers
}

const mostReference = 200

// reader understands the rows of a file, one after the other.
type reader struct {
	columns
	event *api.Event
	file  string             // the hash of all of it, for rows without a reference
	seen  map[string]int     // the lines of references
	pool  inventory.Pool     // as the rows before would leave it
	check func(Entry) error  // what is wrong with an order, as the one who makes it has it
	known map[ids.Order]bool // that were made before
}

func hashOf(file []byte) string {
	sum := sha256.Sum256(file)
	return hex.EncodeToString(sum[:])
}

// orderOf returns the order that a row is, whichever file it stands in, if it has a reference.
func (r *reader) orderOf(rec record) ids.Order {
	if ref := r.of(rec, api.ImportReference); ref != "" {
		return ids.Derive[ids.OrderKind]("import", r.event.ID.String(), ref)
	}
	return ids.Derive[ids.OrderKind]("import line", r.event.ID.String(), r.file, strconv.Itoa(rec.line))
}

// row understands a record.
func (r *reader) row(rec record) Row {
	row := Row{Line: rec.line, Status: api.RowWrong, Problems: []api.ImportProblem{}}
	wrong := func(column, detail string) {
		row.Problems = append(row.Problems, api.ImportProblem{Column: column, Detail: detail})
	}
	if rec.wrong != "" {
		wrong("", rec.wrong)
		return row
	}
	var check fault.Check
	e := r.entry(&check, rec)
	row.OrderID, row.Data = e.order, e
	for i := len(r.titles); i < len(rec.cells); i++ {
		if rec.cells[i] != "" {
			wrong("", "has more cells than there are titles")
			break
		}
	}
	if ref := r.of(rec, api.ImportReference); ref != "" {
		check.Field(len(ref) <= mostReference, api.ImportReference, "must have at most %d characters", mostReference)
		before := r.seen[ref]
		check.Field(before == 0, api.ImportReference, "is the same as in line %d", before)
		if before == 0 {
			r.seen[ref] = rec.line
		}
	}
	understood := check.Err() == nil
	r.add(&row, check.Err(), e)
	if understood && r.known[e.order] {
		row.Status, row.Data, row.Problems = api.RowThere, Entry{}, []api.ImportProblem{}
		return row
	}
	if understood {
		r.add(&row, r.check(e), e)
	}
	if len(row.Problems) == 0 {
		r.add(&row, r.take(e), e)
	}
	if len(row.Problems) == 0 {
		row.Status = api.RowReady
	}
	return row
}

// add notes what a fault says of a row, by the titles of its columns.
func (r *reader) add(row *Row, err error, e Entry) {
	if err == nil {
		return
	}
	f := fault.From(err)
	if len(f.Fields) == 0 {
		row.Problems = append(row.Problems, api.ImportProblem{Detail: f.Detail})
	}
	for _, field := range f.Fields {
		p := api.ImportProblem{Detail: field.Detail}
		switch name := field.Field; {
		case slices.Contains(columnNames(), name):
			p.Column = r.title(name)
		case strings.HasSuffix(name, ".quantity"), name == "items":
			p.Column = r.title(api.ImportQuantity)
		case strings.HasSuffix(name, "ticket_type_id"):
			p.Column = r.title(api.ImportTicketType)
		case strings.Contains(name, "unit_price"):
			p.Column = r.title(api.ImportPrice)
		case strings.HasPrefix(name, "attendees") && strings.HasSuffix(name, ".name"):
			p.Column = r.title(api.ImportName)
		case strings.HasPrefix(name, "answers["):
			number, _, _ := strings.Cut(strings.TrimPrefix(name, "answers["), "]")
			if i, err := strconv.Atoi(number); err == nil && i < len(e.of) {
				p.Column = e.of[i]
			}
		default:
			p.Column = name
		}
		if !slices.Contains(row.Problems, p) {
			row.Problems = append(row.Problems, p)
		}
	}
}

// entry reads the cells of a record.
func (r *reader) entry(check *fault.Check, rec record) Entry {
	e := Entry{Email: r.of(rec, api.ImportEmail), Name: text.Clean(r.of(rec, api.ImportName)),
		Language: r.of(rec, api.ImportLanguage), Quantity: 1, order: r.orderOf(rec)}
	check.Field(text.Email(e.Email), api.ImportEmail, "must be an email address")
	text.CheckLine(check, api.ImportName, e.Name, 0, 200)
	text.CheckLine(check, api.ImportLanguage, e.Language, 0, 100)
	t := r.typeOf(r.of(rec, api.ImportTicketType))
	check.Field(t != nil, api.ImportTicketType, "is no ticket type of the event, or the name of several: those are %s",
		strings.Join(typeNames(r.event), ", "))
	if q := r.of(rec, api.ImportQuantity); q != "" {
		n, err := strconv.Atoi(q)
		check.Field(err == nil && n > 0, api.ImportQuantity, "must be a whole number, 1 or more")
		e.Quantity = n
	}
	if c := r.of(rec, api.ImportComplimentary); c != "" {
		var ok bool
		e.Complimentary, ok = yesOrNo(c)
		check.Field(ok, api.ImportComplimentary, "must be yes or no")
	}
	if t == nil {
		return e
	}
	e.TicketType, e.TypeName = t.ID, t.Name
	if p := r.of(rec, api.ImportPrice); p != "" {
		m, err := api.ParseMoney(decimal(p), t.Price.Currency)
		check.Field(err == nil && m.Amount >= 0, api.ImportPrice, "must be an amount such as 12.50, in %s",
			t.Price.Currency)
		most := t.Price.Amount
		check.Field(err != nil || t.FreePrice || m.Amount <= most, api.ImportPrice,
			"must be at most %s, which the ticket type costs", t.Price.Decimal())
		if e.Price = &m; m.Amount == 0 {
			e.Price, e.Complimentary = nil, true
		}
	}
	for at := range r.titles {
		if q := r.answers[at]; q != nil && at < len(rec.cells) && rec.cells[at] != "" {
			r.answer(check, &e, q, at, rec.cells[at])
		}
	}
	return e
}

// answer adds what a cell answers: about the order, or about each of its tickets.
func (r *reader) answer(check *fault.Check, e *Entry, q *api.Question, at int, cell string) {
	a := api.Answer{QuestionID: q.ID, Value: cell}
	switch q.Kind {
	case api.AsksConsent:
		yes, ok := yesOrNo(cell)
		check.Field(ok, r.titles[at], "must be yes or no")
		if a.Value = api.ConsentRefused; yes {
			a.Value = api.ConsentGiven
		}
	case api.AsksNumber:
		a.Value = decimal(cell)
	case api.AsksChoice, api.AsksChoices:
		a.Value = ""
		var ok bool
		a.Choices, ok = choicesOf(q, cell)
		check.Field(ok, r.titles[at], "must be of the choices: %s", strings.Join(choiceNames(q), ", "))
		if !ok {
			return
		}
	}
	if q.Per == api.AskedPerOrder {
		e.Answers, e.of = append(e.Answers, a), append(e.of, r.titles[at])
		return
	}
	for i := range min(e.Quantity, 1000) {
		of := a
		of.Position = &i
		e.Answers, e.of = append(e.Answers, of), append(e.of, r.titles[at])
	}
}

// choicesOf reads the names of choices, with semicolons or commas between them.
func choicesOf(q *api.Question, cell string) (list []ids.Choice, ok bool) {
	find := func(name string) bool {
		name = text.Fold(strings.TrimSpace(name))
		at := slices.IndexFunc(q.Choices, func(c api.QuestionChoice) bool {
			return !c.Hidden && (text.Fold(c.Label) == name || c.ID.String() == name)
		})
		if at >= 0 {
			list = append(list, q.Choices[at].ID)
		}
		return at >= 0
	}
	if find(cell) {
		return list, true
	}
	sep := cmp.Or(map[bool]string{true: ";"}[strings.Contains(cell, ";")], ",")
	for name := range strings.SplitSeq(cell, sep) {
		if !find(name) {
			return nil, false
		}
	}
	return list, true
}

func choiceNames(q *api.Question) (names []string) {
	for _, c := range q.Choices {
		if !c.Hidden {
			names = append(names, c.Label)
		}
	}
	return names
}

// typeOf finds a ticket type by its name or id; the only one needs no name.
func (r *reader) typeOf(name string) (found *api.TicketType) {
	types := r.event.Tickets() // a row is an order, and none is of products alone
	if name == "" && len(types) == 1 {
		return &types[0]
	}
	for i := range types {
		if types[i].ID.String() == name {
			return &types[i]
		}
		if text.Fold(types[i].Name) == text.Fold(name) {
			if found != nil {
				return nil
			}
			found = &types[i]
		}
	}
	return found
}

func typeNames(e *api.Event) (names []string) {
	for _, t := range e.Tickets() {
		names = append(names, t.Name)
	}
	return names
}

// take takes the seats of a row from what the rows before have left.
func (r *reader) take(e Entry) error {
	var check fault.Check
	free := max(r.pool.Free(e.TicketType, ""), 0)
	check.Field(e.Quantity <= free, api.ImportQuantity,
		"must be at most %d: that is what is left, after the rows above", free)
	if err := check.Err(); err != nil {
		return err
	}
	for i := range r.pool.Types {
		if r.pool.Types[i].Type == e.TicketType {
			r.pool.Types[i].Held += e.Quantity
		}
	}
	return nil
}

// yesOrNo reads a word in the languages of the pages.
func yesOrNo(word string) (yes, ok bool) {
	switch text.Fold(word) {
	case "yes", "y", "ja", "j", "oui", "o", "si", "s", "true", "1", "x", "wahr", "vrai", "verdadero":
		return true, true
	case "no", "n", "nein", "non", "false", "0", "falsch", "faux", "falso":
		return false, true
	}
	return false, false
}

// decimal returns a number as it is written in English. The last of point and comma is before the decimals.
func decimal(s string) string {
	s = strings.NewReplacer("€", "", "$", "", "£", "", " ", "", "\u00a0", "", "\u202f", "", "'", "").Replace(s)
	point, comma := strings.LastIndex(s, "."), strings.LastIndex(s, ",")
	if comma > point {
		return strings.ReplaceAll(strings.ReplaceAll(s, ".", ""), ",", ".")
	}
	return strings.ReplaceAll(s, ",", "")
}
