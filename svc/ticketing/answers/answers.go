// Package answers keeps what was answered about orders and their tickets. It is in no domain event: who may read it
// asks for it here.
package answers

import (
	"context"
	"slices"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/questions"
	"github.com/starlightsymphony/starlight/shared/store"
)

// Row is a row of the table question_answers: an answer, or one of its choices.
type Row struct {
	bun.BaseModel `bun:"table:question_answers,alias:question_answers"`

	OrderID    ids.Order    `bun:"order_id,pk"`
	Position   int          `bun:"position,pk"` // questions.WholeOrder: of the order
	QuestionID ids.Question `bun:"question_id,pk"`
	Pick       string       `bun:"pick,pk"` // what is counted
	Value      string       `bun:"value"`   // what is not
	EventID    ids.Event    `bun:"event_id"`
}

// Rows returns checked answers about an order as they are kept.
func Rows(e *api.Event, order ids.Order, answers []api.Answer) []Row {
	var rows []Row
	for _, a := range answers {
		row := Row{OrderID: order, Position: questions.PositionOf(a), QuestionID: a.QuestionID, EventID: e.ID}
		for _, c := range a.Choices {
			row.Pick = c.String()
			rows = append(rows, row)
		}
		if len(a.Choices) > 0 {
			continue
		}
		switch e.Question(a.QuestionID).Kind {
		case api.AsksCountry, api.AsksConsent:
			row.Pick = a.Value
		default:
			row.Value = a.Value
		}
		rows = append(rows, row)
	}
	return rows
}

// answersIn returns the answers that rows are, in their order. Rows of one answer are next to each other.
func answersIn(e *api.Event, rows []Row) []api.Answer {
	var out []api.Answer
	for i, r := range rows {
		q := e.Question(r.QuestionID)
		if q == nil { // of an event that was restored to how it was before
			continue
		}
		chosen := q.Kind == api.AsksChoice || q.Kind == api.AsksChoices
		if chosen && i > 0 && rows[i-1].QuestionID == r.QuestionID && rows[i-1].Position == r.Position {
			last := &out[len(out)-1]
			last.Choices = append(last.Choices, ids.Choice(r.Pick))
			continue
		}
		a := api.Answer{QuestionID: r.QuestionID, Value: r.Value}
		if r.Position != questions.WholeOrder {
			a.Position = &rows[i].Position
		}
		switch {
		case chosen:
			a.Choices = []ids.Choice{ids.Choice(r.Pick)}
		case r.Pick != "":
			a.Value = r.Pick
		}
		out = append(out, a)
	}
	return out
}

// Of returns what was answered about an order, the order first and then its tickets, in the order of the questions.
func Of(ctx context.Context, db bun.IDB, e *api.Event, order ids.Order) ([]api.Answer, error) {
	all, err := OfOrders(ctx, db, e, []ids.Order{order})
	return all[order], err
}

// OfOrders is Of for orders of one event.
func OfOrders(
	ctx context.Context, db bun.IDB, e *api.Event, orders []ids.Order,
) (map[ids.Order][]api.Answer, error) {
	if len(orders) == 0 || len(e.Questions) == 0 {
		return nil, nil
	}
	var rows []Row
	err := store.Select(ctx, db, &rows, "SELECT * FROM question_answers WHERE order_id IN (?) "+
		"ORDER BY order_id, position, question_id, pick", store.List(orders))
	if err != nil {
		return nil, err
	}
	all := map[ids.Order][]api.Answer{}
	for len(rows) > 0 {
		id := rows[0].OrderID
		n := slices.IndexFunc(rows, func(r Row) bool { return r.OrderID != id })
		if n < 0 {
			n = len(rows)
		}
		all[id] = inOrder(e, answersIn(e, rows[:n]))
		rows = rows[n:]
	}
	return all, nil
}

// inOrder sorts answers by what they are about, and then as the event asks.
func inOrder(e *api.Event, answers []api.Answer) []api.Answer {
	place := make(map[ids.Question]int, len(e.Questions))
	for i, q := range e.Questions {
		place[q.ID] = i
	}
	slices.SortStableFunc(answers, func(a, b api.Answer) int {
		if d := questions.PositionOf(a) - questions.PositionOf(b); d != 0 {
			return d
		}
		return place[a.QuestionID] - place[b.QuestionID]
	})
	return answers
}

// A page of OfPerson has so many orders, or those until it is about so long.
const (
	personOrders = 50
	personBytes  = 128 << 10
)

// OfPerson returns the answers about orders and tickets of a person, a page of orders at a time, and after which order
// the next page begins: "" after the last. Of a ticket that was given away they are its new owner's.
func OfPerson(
	ctx context.Context, db bun.IDB, user ids.User, after ids.Order,
) (rows []Row, next ids.Order, err error) {
	var orders []ids.Order
	err = db.NewRaw(`SELECT DISTINCT order_id FROM question_answers WHERE order_id > ?0 AND order_id IN
		(SELECT id FROM orders WHERE user_id = ?1 UNION ALL SELECT order_id FROM tickets WHERE owner_id = ?1)
		ORDER BY order_id LIMIT ?2`, after, user, personOrders).Scan(ctx, &orders)
	if err != nil || len(orders) == 0 {
		return nil, "", err
	}
	if len(orders) == personOrders {
		next = orders[len(orders)-1]
	}
	err = db.NewRaw(`SELECT a.* FROM question_answers AS a JOIN orders AS o ON o.id = a.order_id
		LEFT JOIN tickets AS t ON t.order_id = a.order_id AND t.position = a.position
		WHERE a.order_id IN (?0) AND COALESCE(t.owner_id, o.user_id) = ?1
		ORDER BY a.order_id, a.position, a.question_id, a.pick`, bun.List(orders), user).Scan(ctx, &rows)
	size := 0
	for i, r := range rows {
		if i > 0 && size > personBytes && r.OrderID != rows[i-1].OrderID {
			return rows[:i], rows[i-1].OrderID, err
		}
		size += 200 + len(r.Value)
	}
	return rows, next, err
}

// AtDoor returns what is asked about a ticket at the door, and what was answered.
func AtDoor(
	ctx context.Context, db bun.IDB, e *api.Event, order ids.Order, t questions.Ticket,
) ([]api.Question, []api.Answer, error) {
	sheet := questions.Sheet{Questions: e.Questions, At: api.AskedAtDoor, Tickets: []questions.Ticket{t}}
	if len(sheet.Slots()) == 0 {
		return nil, nil, nil
	}
	all, err := Of(ctx, db, e, order)
	if err != nil {
		return nil, nil, err
	}
	sheet.Known = all
	asked, given := sheet.Shown(all)
	return asked, given, nil
}

// Insert writes the answers of new orders.
func Insert(ctx context.Context, tx bun.Tx, rows []Row) error {
	for from := 0; from < len(rows); from += 500 { // in pieces: a statement has a limited length
		if _, err := store.Insert(ctx, tx, rows[from:min(from+500, len(rows))], ""); err != nil {
			return err
		}
	}
	return nil
}

// Replace writes what is answered in some slots of an order in place of what was answered there.
func Replace(ctx context.Context, tx bun.Tx, order ids.Order, slots []questions.Slot, rows []Row) error {
	if len(slots) == 0 {
		return nil
	}
	var about []int
	var asked []ids.Question
	for _, s := range slots {
		about, asked = append(about, s.Position), append(asked, s.ID)
	}
	slices.Sort(about)
	slices.Sort(asked)
	if _, err := tx.ExecContext(ctx,
		"DELETE FROM question_answers WHERE order_id = ? AND position IN (?) AND question_id IN (?)", order,
		bun.List(slices.Compact(about)), bun.List(slices.Compact(asked))); err != nil {
		return err
	}
	return Insert(ctx, tx, rows)
}

// Count is how many orders or tickets have an answer, or a choice of it.
type Count struct {
	QuestionID ids.Question
	Pick       string // empty: what is not counted further
	Times      int
	Answered   int // how many of these are the first choice of their answer: their sum is how many answers there are
}

// CountQuery counts the answers about an event by what was chosen: of paid orders, and of tickets that were not
// revoked.
const CountQuery = `SELECT a.question_id, a.pick, COUNT(*) AS times,
	SUM(CASE WHEN EXISTS (SELECT 1 FROM question_answers AS b
		WHERE b.order_id = a.order_id AND b.position = a.position AND b.question_id = a.question_id AND b.pick < a.pick)
		THEN 0 ELSE 1 END) AS answered
	FROM question_answers AS a JOIN orders AS o ON o.id = a.order_id
	LEFT JOIN tickets AS t ON t.order_id = a.order_id AND t.position = a.position
	WHERE a.event_id = ? AND o.status = 'paid' AND (a.position < 0 OR t.status <> 'revoked')
	GROUP BY a.question_id, a.pick`

// Counts returns how often what was answered, in no order.
func Counts(ctx context.Context, db bun.IDB, event ids.Event) ([]Count, error) {
	var counts []Count
	err := db.NewRaw(CountQuery, event).Scan(ctx, &counts)
	return counts, err
}
