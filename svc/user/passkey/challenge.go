package passkey

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/uptrace/bun"
)

// Signer authenticates bytes with a key that all instances have.
type Signer interface {
	MAC(payload []byte) (kid string, sum []byte)
	CheckMAC(ctx context.Context, kid string, payload, sum []byte) bool
}

const (
	challengeTTL = 5 * time.Minute
	nonceSize    = 16
	headSize     = nonceSize + 8 // and the second in which it ends
	keySize      = 16            // of a key's id
)

// challenges makes challenges that need not be stored until they are used: nonce, end, the id of a key, and a MAC over
// these and the purpose. Anyone may ask for one, so it must cost nothing.
type challenges struct {
	signer Signer
	now    func() time.Time
}

func (c challenges) make(purpose string) []byte {
	head := make([]byte, nonceSize, headSize+keySize+sha256.Size)
	rand.Read(head) // never fails, by its documentation
	head = binary.BigEndian.AppendUint64(head, uint64(c.now().Add(challengeTTL).Unix()))
	kid, sum := c.signer.MAC(payload(head, purpose))
	return append(append(head, kid...), sum...)
}

func payload(head []byte, purpose string) []byte {
	return append([]byte("passkey challenge "+purpose+"\n"), head...)
}

// check returns a challenge in the form that came back from a client, if it was made for the purpose and is not over.
func (c challenges) check(text, purpose string) ([]byte, error) {
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(raw) != headSize+keySize+sha256.Size {
		return nil, fmt.Errorf("%w: the challenge is none", ErrWrong)
	}
	head, kid, sum := raw[:headSize], raw[headSize:headSize+keySize], raw[headSize+keySize:]
	if !c.signer.CheckMAC(context.Background(), string(kid), payload(head, purpose), sum) {
		return nil, fmt.Errorf("%w: the challenge is for something else", ErrWrong)
	}
	if c.now().Unix() >= int64(binary.BigEndian.Uint64(head[nonceSize:])) {
		return nil, fmt.Errorf("%w: the challenge is over", ErrWrong)
	}
	return raw, nil
}

// useUp remembers that a challenge was answered; it is answered once.
func useUp(ctx context.Context, tx bun.Tx, challenge []byte) error {
	sum := sha256.Sum256(challenge)
	end := time.Unix(int64(binary.BigEndian.Uint64(challenge[nonceSize:headSize])), 0).UTC()
	res, err := tx.ExecContext(ctx,
		"INSERT INTO passkey_challenges (hash, expires_at) VALUES (?, ?) ON CONFLICT (hash) DO NOTHING",
		hex.EncodeToString(sum[:]), end)
	if err != nil {
		return err
	}
	return changed(res, fmt.Errorf("%w: the challenge was answered before", ErrWrong))
}

// changed returns otherwise unless a statement changed a row.
func changed(res sql.Result, otherwise error) error {
	if n, err := res.RowsAffected(); err != nil || n > 0 {
		return err
	}
	return otherwise
}
