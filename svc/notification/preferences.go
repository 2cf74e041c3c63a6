package notification

import (
	"context"
	"encoding/base64"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/opaque"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/text"
	"github.com/starlightsymphony/starlight/svc/notification/render"
)

func (s *Service) getPreferences(ctx context.Context, _ *rpc.None) (*api.Preferences, error) {
	return s.preferencesOf(ctx, callerOf(ctx))
}

func (s *Service) preferencesOf(ctx context.Context, user ids.User) (*api.Preferences, error) {
	var rows []preferenceRow
	if err := s.DB.Read().NewRaw("SELECT * FROM preferences WHERE user_id = ?", user).Scan(ctx, &rows); err != nil {
		return nil, err
	}
	p := &api.Preferences{Email: &api.AddressState{Status: api.AddressWorks}}
	for _, kind := range render.Kinds() {
		row := defaultPreference(user, kind)
		if i := slices.IndexFunc(rows, func(r preferenceRow) bool { return r.Kind == kind }); i >= 0 {
			row = rows[i]
		}
		always := render.IsTransactional(kind)
		p.Kinds = append(p.Kinds, api.Preference{Kind: kind, Transactional: always,
			Email: row.Email || always, SMS: row.SMS, Push: row.Push, Inbox: row.Inbox})
	}
	c, err := s.contacts.Do(ctx, user)
	if fault.Is(err, fault.NotFound) {
		return p, nil
	}
	if err != nil {
		return nil, err
	}
	b, blocked, err := s.bounceOf(ctx, user, c.Email)
	if err == nil && blocked {
		at := b.At.UTC()
		p.Email = &api.AddressState{Status: api.AddressBounced, Reason: b.Reason, Since: &at}
	}
	return p, err
}

// setPreferences stores what the caller chose.
func (s *Service) setPreferences(ctx context.Context, req *api.Preferences) (*api.Preferences, error) {
	var check fault.Check
	seen := map[string]bool{}
	for _, p := range req.Kinds {
		known := slices.Contains(render.Kinds(), p.Kind) && !seen[p.Kind]
		check.Field(known, "kinds", "must name each of %s at most once", strings.Join(render.Kinds(), ", "))
		check.Field(p.Email || !render.IsTransactional(p.Kind), "kinds",
			"mails about %s cannot be switched off", p.Kind)
		seen[p.Kind] = true
	}
	if a := req.Email; a != nil {
		check.Field(a.Status == api.AddressWorks || a.Status == api.AddressBounced, "email_address",
			"must have the status ok or bounced")
	}
	if err := check.Err(); err != nil {
		return nil, err
	}
	user := callerOf(ctx)
	err := s.DB.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		for _, p := range req.Kinds {
			row := preferenceRow{UserID: user, Kind: p.Kind, Email: p.Email, SMS: p.SMS, Push: p.Push, Inbox: p.Inbox}
			if err := upsertPreference(ctx, tx, row); err != nil {
				return err
			}
		}
		if req.Email == nil || req.Email.Status != api.AddressWorks {
			return nil
		}
		_, err := tx.ExecContext(ctx, "DELETE FROM bounces WHERE user_id = ?", user)
		return err
	})
	if err != nil {
		return nil, err
	}
	return s.preferencesOf(ctx, user)
}

func upsertPreference(ctx context.Context, tx bun.Tx, row preferenceRow) error {
	_, err := tx.NewInsert().Model(&row).On("CONFLICT (user_id, kind) DO UPDATE").
		Set("email = excluded.email, sms = excluded.sms, push = excluded.push, inbox = excluded.inbox").Exec(ctx)
	return err
}

// stopMails switches the mails of a kind off for a person.
func (s *Service) stopMails(ctx context.Context, user ids.User, kind string) error {
	return s.DB.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		row := defaultPreference(user, kind)
		row.Email = false
		_, err := tx.NewInsert().Model(&row).On("CONFLICT (user_id, kind) DO UPDATE").Set("email = excluded.email").
			Exec(ctx)
		return err
	})
}

// bounceRow is a row of the table bounces.
type bounceRow struct {
	bun.BaseModel `bun:"table:bounces,alias:bounces"`

	UserID  ids.User  `bun:"user_id,pk"`
	Address string    `bun:"address"` // hash
	Reason  string    `bun:"reason"`
	At      time.Time `bun:"at"`
}

// bounceOf returns why an address of a person is switched off, if it is.
func (s *Service) bounceOf(ctx context.Context, user ids.User, address string) (bounceRow, bool, error) {
	var row bounceRow
	err := s.DB.Read().NewRaw("SELECT * FROM bounces WHERE user_id = ? AND address = ?", user, hashed(address)).
		Scan(ctx, &row)
	if err = store.OrNotFound(err, "the address works"); fault.Is(err, fault.NotFound) {
		return row, false, nil
	}
	return row, err == nil, err
}

// blockAddress stores that an address does not exist: no more mails go there.
func (s *Service) blockAddress(ctx context.Context, user ids.User, address, reason string) error {
	return s.DB.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		const maxReason = 300 // characters
		reason := text.Shorten(text.OneLine(reason), maxReason)
		row := bounceRow{UserID: user, Address: hashed(address), Reason: reason, At: s.Now()}
		_, err := tx.NewInsert().Model(&row).On("CONFLICT (user_id) DO UPDATE").
			Set("address = excluded.address, reason = excluded.reason, at = excluded.at").Exec(ctx)
		return err
	})
}

func hashed(address string) string {
	return opaque.Hash(strings.ToLower(address))
}

// exportChoices returns the preferences of a person, and the devices.
func (s *Service) exportChoices(ctx context.Context, req *api.PersonRef) (*api.PersonChoices, error) {
	ctx = asPerson(ctx, req)
	preferences, err := s.preferencesOf(ctx, req.UserID)
	if err != nil {
		return nil, err
	}
	devices, err := s.listSubscriptions(ctx, nil)
	if err != nil {
		return nil, err
	}
	return &api.PersonChoices{Preferences: *preferences, PushSubscriptions: devices.Items}, nil
}

// unsubscribeURL returns where a reader stops the mails of a kind without signing in: RFC 8058. The token names person
// and kind, is authenticated, and is good for nothing else.
func (s *Service) unsubscribeURL(user ids.User, kind string) string {
	claim := user.String() + "." + kind
	kid, sum := s.keys.MAC([]byte("unsubscribe " + claim))
	token := claim + "." + kid + "." + base64.RawURLEncoding.EncodeToString(sum)
	return s.PublicURL + "/v1/unsubscribe?token=" + url.QueryEscape(token)
}

// readToken returns what an unsubscribe token is for.
func (s *Service) readToken(ctx context.Context, token string) (ids.User, string, error) {
	bad := fault.New(fault.NotFound, "this link is not complete; please use the one in the mail")
	part := strings.Split(token, ".")
	if len(token) > 512 || len(part) != 4 {
		return "", "", bad
	}
	user, err := ids.Parse[ids.UserKind](part[0])
	if err != nil {
		return "", "", bad
	}
	sum, err := base64.RawURLEncoding.DecodeString(part[3])
	if err != nil || !s.keys.CheckMAC(ctx, part[2], []byte("unsubscribe "+part[0]+"."+part[1]), sum) {
		return "", "", bad
	}
	if render.IsTransactional(part[1]) {
		return "", "", bad
	}
	return user, part[1], nil
}

// getUnsubscribePage shows a button: opening a link must change nothing, since mail programs open links by themselves.
func (s *Service) getUnsubscribePage(ctx context.Context, req *api.UnsubscribePage) (*rpc.Blob, error) {
	user, _, err := s.readToken(ctx, req.Token)
	if err != nil {
		return nil, err
	}
	return s.unsubscribePage(ctx, user, true)
}

func (s *Service) unsubscribe(ctx context.Context, req *api.Unsubscription) (*rpc.Blob, error) {
	user, kind, err := s.readToken(ctx, req.Token)
	if err != nil {
		return nil, err
	}
	if err := s.stopMails(ctx, user, kind); err != nil {
		return nil, err
	}
	return s.unsubscribePage(ctx, user, false)
}

// unsubscribePage is in the language of the person, if that is known.
func (s *Service) unsubscribePage(ctx context.Context, user ids.User, ask bool) (*rpc.Blob, error) {
	wanted := ""
	if c, err := s.contacts.Do(ctx, user); err == nil {
		wanted = c.Language
	}
	page, err := s.texts.UnsubscribePage(s.texts.Language(wanted), ask)
	if err != nil {
		return nil, err
	}
	return &rpc.Blob{ContentType: "text/html; charset=utf-8", Data: page}, nil
}
