package factor

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/ids"
)

const (
	recoveryCodes = 10
	recoverySize  = 24 // letters and digits of 5 bits: 120 bits cannot be guessed, so a hash needs no salt and no work
	recoveryGroup = 4
)

// NewCodes makes recovery codes. They are not stored yet.
func NewCodes() []string {
	codes := make([]string, recoveryCodes)
	for i := range codes {
		text := strings.ToLower(rand.Text()[:recoverySize])
		var groups []string
		for at := 0; at < recoverySize; at += recoveryGroup {
			groups = append(groups, text[at:at+recoveryGroup])
		}
		codes[i] = strings.Join(groups, "-")
	}
	return codes
}

// hashOf is what is stored of a recovery code, however it was typed.
func hashOf(user ids.User, code string) string {
	plain := strings.ToLower(strings.NewReplacer("-", "", " ", "").Replace(code))
	sum := sha256.Sum256([]byte("recovery " + user.String() + " " + plain))
	return hex.EncodeToString(sum[:])
}

// SetCodes stores recovery codes in the place of those before.
func (s *Store) SetCodes(ctx context.Context, tx bun.Tx, user ids.User, codes []string) error {
	if _, err := tx.ExecContext(ctx, "DELETE FROM recovery_codes WHERE user_id = ?", user); err != nil {
		return err
	}
	for _, code := range codes {
		_, err := tx.ExecContext(ctx, "INSERT INTO recovery_codes (user_id, hash) VALUES (?, ?)", user,
			hashOf(user, code))
		if err != nil {
			return err
		}
	}
	return nil
}

// UseRecoveryCode uses a recovery code up. It reports false if it is none.
func (s *Store) UseRecoveryCode(ctx context.Context, tx bun.Tx, user ids.User, code string) (bool, error) {
	res, err := tx.ExecContext(ctx, "DELETE FROM recovery_codes WHERE user_id = ? AND hash = ?", user,
		hashOf(user, code))
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n == 1, err
}
