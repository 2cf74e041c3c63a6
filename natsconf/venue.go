package natsconf

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// A venue is an account of its own, without JetStream, imports and exports. What its computer can reach is what is in
// that account: itself, and the connection that the system has there (VenueUser). The mesh is not in it, and no other
// venue is. Keys: DIR/nats/venues/VENUE.nk, the account as the operator signed it: VENUE.jwt.

// VenueUser is the part of the system that a venue talks to, as a user of the venue's account.
const VenueUser = "hub"

// Venue is the account of a venue.
type Venue struct {
	ID      string // ven_...
	Account string // public key
	JWT     string // signed by the operator; a running server learns of it by Push
	key     nkeys.KeyPair
	hub     []byte // the authority that it knows the hub by, in PEM; empty: none
}

// OpenVenue returns the account of a venue. It is made on the first call. The folder is that of the operator's keys: of
// an embedded server, or of WriteExternal.
func OpenVenue(dir, id string) (*Venue, error) {
	if !venueID(id) {
		return nil, fmt.Errorf("natsconf: %q is not the id of a venue", id)
	}
	a := &authority{dir: dir}
	if _, err := os.Stat(filepath.Join(dir, "nats", "operator.nk")); err != nil {
		return nil, fmt.Errorf("natsconf: the operator's keys: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "nats", "venues"), 0o700); err != nil {
		return nil, fmt.Errorf("natsconf: %w", err)
	}
	if err := a.load(); err != nil {
		return nil, fmt.Errorf("natsconf: keys in %s: %w", filepath.Join(dir, "nats"), err)
	}
	name := filepath.Join("venues", id)
	hub, err := hubAuthority(dir, time.Now())
	if err != nil {
		return nil, fmt.Errorf("natsconf: the authority of the hub's certificate: %w", err)
	}
	v := &Venue{ID: id, hub: hub}
	if v.key, err = a.key(name, nkeys.CreateAccount); err != nil {
		return nil, fmt.Errorf("natsconf: the key of %s: %w", id, err)
	}
	if v.Account, err = v.key.PublicKey(); err != nil {
		return nil, err
	}
	v.JWT, err = a.token(name, func() jwt.Claims {
		c := jwt.NewAccountClaims(v.Account)
		c.Name = id
		return c // JetStream is off unless limits allow it
	})
	if err != nil {
		return nil, fmt.Errorf("natsconf: the account of %s: %w", id, err)
	}
	return v, nil
}

// venueID reports whether id is safe as the name of a file and of an account.
func venueID(id string) bool {
	for i, c := range []byte(id) {
		letter := c >= 'a' && c <= 'z' || c == '_'
		if !letter && (i < 4 || c < '0' || c > '9') {
			return false
		}
	}
	return len(id) > 4 && len(id) <= 64 && id[:4] == "ven_"
}

// Credentials returns new credentials of the venue's computer, with the authority that it knows the hub by. Those that
// were given out before stay valid; see Revoke.
func (v *Venue) Credentials(ctx context.Context) ([]byte, error) {
	text, err := v.credentials(ctx, v.ID)
	return append(text, v.hub...), err
}

func (v *Venue) credentials(ctx context.Context, user string) ([]byte, error) {
	claims, err := jwt.DecodeAccountClaims(v.JWT)
	if err != nil {
		return nil, fmt.Errorf("natsconf: the account of %s: %w", v.ID, err)
	}
	// A revocation counts in whole seconds, and takes what was issued in its own second along.
	if revoked, ok := claims.Revocations[jwt.All]; ok {
		select {
		case <-time.After(time.Until(time.Unix(revoked+1, 0))):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	token, seed, err := newUser(user, v.key, jwt.Permissions{})
	if err != nil {
		return nil, err
	}
	return jwt.FormatUserConfig(token, seed)
}

// Revoke ends all credentials of the venue that were given out until now, and returns the account to Push.
func (v *Venue) Revoke(dir string, now time.Time) error {
	a := &authority{dir: dir}
	if err := a.load(); err != nil {
		return fmt.Errorf("natsconf: %w", err)
	}
	claims, err := jwt.DecodeAccountClaims(v.JWT)
	if err != nil {
		return fmt.Errorf("natsconf: the account of %s: %w", v.ID, err)
	}
	claims.RevokeAt(jwt.All, now)
	if v.JWT, err = a.sign(filepath.Join(dir, "nats", "venues", v.ID+".jwt"), claims); err != nil {
		return fmt.Errorf("natsconf: the account of %s: %w", v.ID, err)
	}
	return nil
}

// Push makes the servers that nc is connected to know the account as it is now. The connection is of the system
// account.
func (v *Venue) Push(ctx context.Context, nc *nats.Conn) error {
	return (&Account{ID: v.ID, JWT: v.JWT}).Push(ctx, nc)
}

// Account is an account as its servers shall know it.
type Account struct {
	ID  string // for people
	JWT string // signed by the operator
}

// Push makes the servers that nc is connected to know the account. The connection is of the system account.
func (v *Account) Push(ctx context.Context, nc *nats.Conn) error {
	msg, err := nc.RequestWithContext(ctx, "$SYS.REQ.CLAIMS.UPDATE", []byte(v.JWT))
	if err != nil {
		return fmt.Errorf("natsconf: telling the servers of %s: %w", v.ID, err)
	}
	var answer struct {
		Error *struct {
			Description string `json:"description"`
		} `json:"error"`
	}
	if err := json.Unmarshal(msg.Data, &answer); err != nil {
		return fmt.Errorf("natsconf: telling the servers of %s: %w", v.ID, err)
	}
	if answer.Error != nil {
		return fmt.Errorf("natsconf: the servers refuse the account of %s: %s", v.ID, answer.Error.Description)
	}
	return nil
}

// venues returns the accounts that were made in the folder.
func (a *authority) venues() ([]*Venue, error) {
	ids, err := withExt(filepath.Join(a.dir, "nats", "venues"), ".nk")
	if err != nil {
		return nil, err
	}
	var all []*Venue
	for _, id := range ids {
		v, err := OpenVenue(a.dir, id)
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, nil
}
