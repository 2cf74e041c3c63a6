package user

import (
	"context"
	"strings"
	"time"
	"unicode"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/opaque"
	"github.com/starlightsymphony/starlight/shared/revocation"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/stream"
	"github.com/starlightsymphony/starlight/shared/text"
)

const (
	devicePrefix  = "dt_"
	deviceTTL     = 365 * 24 * time.Hour // after its last login
	mostDevices   = 20                   // of a person; the one that was not used for the longest time goes first
	longestDevice = 200                  // characters of what a client says of itself
)

// knownDevice returns the hash of a device's token if a login to the account has given it out, and "" if not.
func (s *Service) knownDevice(ctx context.Context, account address, secret string) (string, error) {
	if !opaque.Is(devicePrefix, secret) {
		return "", nil
	}
	var hash string
	err := s.db.Read().NewRaw(`SELECT d.hash FROM devices AS d JOIN users AS u ON u.id = d.user_id
		WHERE d.hash = ? AND u.email_key = ? AND d.last_used_at > ?`, opaque.Hash(secret), account.key,
		s.now().Add(-deviceTTL)).Scan(ctx, &hash)
	if err = store.OrNotFound(err, "there is no such device"); fault.Is(err, fault.NotFound) {
		return "", nil
	}
	return hash, err
}

// useDevice notes that a locked person logs in from a device. A new one is the subject of a notice, unless it is the
// first of all.
func (s *Service) useDevice(ctx context.Context, tx bun.Tx, session sessionRow) error {
	res, err := tx.ExecContext(ctx, "UPDATE devices SET last_used_at = ? WHERE hash = ? AND user_id = ?",
		session.CreatedAt, session.DeviceHash, session.UserID)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n > 0 {
		return err
	}
	var before int
	if err := tx.NewRaw("SELECT count(*) FROM devices WHERE user_id = ?", session.UserID).Scan(ctx,
		&before); err != nil {
		return err
	}
	if before >= mostDevices {
		_, err := tx.ExecContext(ctx, `DELETE FROM devices WHERE user_id = ? AND hash NOT IN
			(SELECT hash FROM devices WHERE user_id = ? ORDER BY last_used_at DESC, hash LIMIT ?)`,
			session.UserID, session.UserID, mostDevices-1)
		if err != nil {
			return err
		}
	}
	_, err = tx.ExecContext(ctx, "INSERT INTO devices (hash, user_id, created_at, last_used_at) VALUES (?, ?, ?, ?)",
		session.DeviceHash, session.UserID, session.CreatedAt, session.CreatedAt)
	if err != nil || before == 0 {
		return err
	}
	return stream.Add(ctx, tx, api.DeviceWasAdded.Subject, api.SessionEvent{UserID: session.UserID,
		SessionID: session.ID, At: session.CreatedAt})
}

// forgetDevices makes the devices of a person unknown, but that of a session to keep; pass "" to keep none.
func forgetDevices(ctx context.Context, tx bun.Tx, id ids.User, keep ids.Session) error {
	_, err := tx.ExecContext(ctx, `DELETE FROM devices WHERE user_id = ? AND hash NOT IN
		(SELECT device_hash FROM sessions WHERE id = ?)`, id, keep)
	return err
}

// deviceName returns what a client says of itself, as it may be shown: on one line, with nothing that is not seen.
func deviceName(userAgent string) string {
	seen := strings.Map(func(r rune) rune {
		if !unicode.IsGraphic(r) {
			return -1
		}
		return r
	}, text.OneLine(userAgent))
	return text.Shorten(strings.TrimSpace(seen), longestDevice)
}

// enter stores the session of a locked person.
func (s *Service) enter(ctx context.Context, tx bun.Tx, row *userRow, a arrival) error {
	if fresh, err := s.addSession(ctx, tx, &a.session); err != nil || !fresh {
		return err
	}
	if err := s.useDevice(ctx, tx, a.session); err != nil {
		return err
	}
	if err := s.noteAdmin(ctx, tx, row, false); err != nil {
		return err
	}
	return insertRefresh(ctx, tx, a.refreshHash, a.session.ID, a.session.ExpiresAt)
}

// addSession writes a session of a locked person, and ends those that are too many beside it. It reports false if an
// earlier run of the transaction has done it.
func (s *Service) addSession(ctx context.Context, tx bun.Tx, session *sessionRow) (fresh bool, err error) {
	res, err := tx.NewInsert().Model(session).On("CONFLICT (id) DO NOTHING").Exec(ctx)
	if err != nil {
		return false, err
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return false, err
	}
	person := session.UserID
	if err := s.made.Take(ctx, tx, api.SessionsPerPerson, person.String(), "sessions of a person", 1); err != nil {
		return false, err
	}
	return true, s.endOldest(ctx, tx, person, session.ID)
}

// endOldest ends those sessions of a locked person that were not used for longest and are too many beside a new one.
func (s *Service) endOldest(ctx context.Context, tx bun.Tx, id ids.User, but ids.Session) error {
	most := api.MaxSessions.Get(s.live)
	if most == 0 {
		return nil
	}
	var ended []ids.Session
	err := tx.NewRaw(`DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE user_id = ? AND id <> ?
		ORDER BY last_used_at DESC, id DESC LIMIT 1000 OFFSET ?) RETURNING id`, id, but, most-1).Scan(ctx, &ended)
	if err != nil {
		return err
	}
	for _, session := range ended {
		m, err := revocation.OfSession(session).Message()
		if err != nil {
			return err
		}
		if err := stream.AddAll(ctx, tx, m); err != nil {
			return err
		}
	}
	return nil
}
