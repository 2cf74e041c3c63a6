package codes

import (
	"context"
	"crypto/rand"
	"strings"
	"time"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// normalize returns what of a code counts: not its case, and no blanks.
func normalize(code string) string {
	return strings.ToUpper(strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return -1
		}
		return r
	}, norm.NFKC.String(code)))
}

// letters are those of random codes: none looks like another.
const letters = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"

// randomLength makes a random code of 49 bits: at a million guesses a day it takes centuries to find one of a thousand.
const randomLength = 10

func random(prefix string) string {
	var raw [64]byte
	out := []byte(prefix)
	for n := 0; n < randomLength; {
		rand.Read(raw[:]) // never fails, by its documentation
		for _, b := range raw {
			if most := byte(256 / len(letters) * len(letters)); b < most && n < randomLength {
				out = append(out, letters[int(b)%len(letters)])
				n++
			}
		}
	}
	return string(out)
}

const (
	// remembered is how long a look into the database counts. What limits uses is not of it: see inventory.Terms.
	remembered   = time.Second
	mostFound    = 20_000
	mostGuessers = 20_000

	// Wrong codes in guessWithin: of a person, and of all who come from one address.
	guessWithin      = 10 * time.Minute
	guessesOfOne     = 20
	guessesOfAddress = 200
)

type cached struct {
	rows  []Row
	until time.Time
}

// guesses are the wrong codes of somebody.
type guesses struct {
	n     int
	since time.Time
}

// Find returns the code that a buyer has entered for an event. Its own comes before one of its organizer. Who enters
// many that do not exist is RateLimited.
func (c *Codes) Find(ctx context.Context, offer *api.Offer, entered string) (*Row, error) {
	if err := c.mayGuess(ctx); err != nil {
		return nil, err
	}
	word := normalize(entered)
	rows, err := c.read(ctx, offer.Event.ID.String()+"/"+word, `SELECT * FROM promo_codes WHERE scope IN (?, ?)
		AND word = ? AND NOT automatic AND NOT deleted ORDER BY scope LIMIT 2`, offer.Event.ID,
		offer.Event.OrganizerID, word)
	if err != nil {
		return nil, err
	}
	if len(rows) == 0 || word == "" {
		c.guessed(ctx)
		return nil, fault.New(fault.Invalid, "there is no such promo code").About("promo_code", "is not known")
	}
	return &rows[0], nil
}

// Automatic returns the discounts that apply to an event by themselves, and are valid now.
func (c *Codes) Automatic(ctx context.Context, offer *api.Offer) ([]*api.PromoTerms, error) {
	rows, err := c.read(ctx, offer.Event.ID.String(), `SELECT * FROM promo_codes WHERE scope IN (?, ?) AND automatic
		AND NOT deleted ORDER BY created_at, id LIMIT 50`, offer.Event.ID, offer.Event.OrganizerID)
	if err != nil {
		return nil, err
	}
	var out []*api.PromoTerms
	now := c.now()
	for i := range rows {
		t := &rows[i].Terms
		if valid(t, now) == nil && currencyFits(t, &offer.Event) {
			out = append(out, t)
		}
	}
	return out, nil
}

// read is a look into the database that counts for a moment.
func (c *Codes) read(ctx context.Context, key, query string, args ...any) ([]Row, error) {
	c.mu.Lock()
	have, ok := c.found[key]
	c.mu.Unlock()
	now := c.now()
	if ok && now.Before(have.until) {
		return have.rows, nil
	}
	var rows []Row
	if err := c.db.Read().NewRaw(query, args...).Scan(ctx, &rows); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.found) >= mostFound {
		clear(c.found)
	}
	c.found[key] = cached{rows, now.Add(remembered)}
	return rows, nil
}

// forget makes the next look into the database one, at this instance.
func (c *Codes) forget(row *Row) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if row.EventID == "" {
		clear(c.found)
		return
	}
	delete(c.found, row.EventID.String())
	delete(c.found, row.EventID.String()+"/"+row.Word)
}

// guessers returns by whom a request counts, and how many wrong codes each may enter.
func guessers(ctx context.Context) map[string]int {
	m := rpc.From(ctx)
	out := map[string]int{}
	if m.Principal.User != "" {
		out[m.Principal.User.String()] = guessesOfOne
	}
	if m.Address != "" {
		out[m.Address] = guessesOfAddress
		if m.Principal.User == "" {
			out[m.Address] = guessesOfOne
		}
	}
	return out
}

func (c *Codes) mayGuess(ctx context.Context) error {
	now := c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	for who, most := range guessers(ctx) {
		g := c.guesses[who]
		if left := g.since.Add(guessWithin).Sub(now); g.n >= most && left > 0 {
			return fault.New(fault.RateLimited, "too many promo codes were entered that do not exist").After(left)
		}
	}
	return nil
}

func (c *Codes) guessed(ctx context.Context) {
	now := c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.guesses) >= mostGuessers {
		clear(c.guesses)
	}
	for who := range guessers(ctx) {
		g := c.guesses[who]
		if now.Sub(g.since) >= guessWithin {
			g = guesses{since: now}
		}
		g.n++
		c.guesses[who] = g
	}
}

// valid returns a Conflict unless terms are good at that time.
func valid(t *api.PromoTerms, now time.Time) error {
	switch {
	case t.ValidFrom != nil && now.Before(*t.ValidFrom):
		return fault.New(fault.Conflict, "the promo code is good from %s on", t.ValidFrom.Format(time.RFC3339)).About(
			"promo_code", "is not good yet")
	case t.ValidUntil != nil && !now.Before(*t.ValidUntil):
		return fault.New(fault.Conflict, "the promo code was good until %s", t.ValidUntil.Format(time.RFC3339)).About(
			"promo_code", "is not good any more")
	}
	return nil
}

// currencyFits reports whether amounts of terms are in the currency of an event.
func currencyFits(t *api.PromoTerms, e *api.Event) bool {
	for _, m := range []*api.Money{t.Amount, t.Price} {
		if m != nil && len(e.TicketTypes) > 0 && m.Currency != e.TicketTypes[0].Price.Currency {
			return false
		}
	}
	return true
}
