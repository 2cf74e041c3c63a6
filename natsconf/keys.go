package natsconf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"
)

// authority holds the keys that sign who may connect: one operator, its system account, and the account in which the
// whole system lives. Files: DIR/nats/*.nk (seeds), DIR/nats/*.jwt, DIR/creds/ROLE.creds, all readable by the owner
// only.
type authority struct {
	dir string

	operatorKey, systemKey, accountKey nkeys.KeyPair
	operator                           *jwt.OperatorClaims
	operatorJWT, systemJWT, accountJWT string
	systemID, accountID                string
}

func credsFile(dir, role string) string { return filepath.Join(dir, "creds", role+".creds") }

// prepare loads the authority of dir, or makes it, and sees to it that each role has credentials with exactly the
// permissions it shall have.
func prepare(dir string, roles []Role) (*authority, error) {
	if err := checkRoles(roles); err != nil {
		return nil, err
	}
	for _, sub := range []string{"nats", "creds"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, fmt.Errorf("natsconf: %w", err)
		}
	}
	a := &authority{dir: dir}
	if err := a.load(); err != nil {
		return nil, fmt.Errorf("natsconf: keys in %s: %w", filepath.Join(dir, "nats"), err)
	}
	if err := a.issue(roles); err != nil {
		return nil, fmt.Errorf("natsconf: credentials in %s: %w", filepath.Join(dir, "creds"), err)
	}
	return a, nil
}

func (a *authority) load() (err error) {
	if a.operatorKey, err = a.key("operator", nkeys.CreateOperator); err != nil {
		return err
	}
	if a.systemKey, err = a.key("system", nkeys.CreateAccount); err != nil {
		return err
	}
	if a.accountKey, err = a.key("account", nkeys.CreateAccount); err != nil {
		return err
	}
	operatorID, err := a.operatorKey.PublicKey()
	if err != nil {
		return err
	}
	if a.systemID, err = a.systemKey.PublicKey(); err != nil {
		return err
	}
	if a.accountID, err = a.accountKey.PublicKey(); err != nil {
		return err
	}

	a.operatorJWT, err = a.token("operator", func() jwt.Claims {
		c := jwt.NewOperatorClaims(operatorID)
		c.Name = "StarlightSymphony"
		c.SystemAccount = a.systemID
		return c
	})
	if err != nil {
		return err
	}
	if a.operator, err = jwt.DecodeOperatorClaims(a.operatorJWT); err != nil {
		return err
	}
	a.systemJWT, err = a.token("system", func() jwt.Claims {
		c := jwt.NewAccountClaims(a.systemID)
		c.Name = "SYS"
		return c
	})
	if err != nil {
		return err
	}
	a.accountJWT, err = a.token("account", func() jwt.Claims {
		c := jwt.NewAccountClaims(a.accountID)
		c.Name = "STARLIGHT"
		c.Limits.JetStreamLimits = jwt.JetStreamLimits{
			MemoryStorage: jwt.NoLimit, DiskStorage: jwt.NoLimit, Streams: jwt.NoLimit, Consumer: jwt.NoLimit,
			MaxAckPending: jwt.NoLimit, MemoryMaxStreamBytes: jwt.NoLimit, DiskMaxStreamBytes: jwt.NoLimit,
		}
		return c
	})
	return err
}

// key reads a seed, or makes one on the first start. A seed that is there and cannot be read is an error: making a new
// one would lock out everybody who holds credentials.
func (a *authority) key(name string, create func() (nkeys.KeyPair, error)) (nkeys.KeyPair, error) {
	path := filepath.Join(a.dir, "nats", name+".nk")
	seed, err := os.ReadFile(path)
	if err == nil {
		return nkeys.FromSeed(seed)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	pair, err := create()
	if err != nil {
		return nil, err
	}
	if seed, err = pair.Seed(); err != nil {
		return nil, err
	}
	return pair, writeFile(path, seed)
}

// token reads a signed claim, or signs the fresh one when there is none or when other keys signed it.
func (a *authority) token(name string, fresh func() jwt.Claims) (string, error) {
	path := filepath.Join(a.dir, "nats", name+".jwt")
	claims := fresh()
	if raw, err := os.ReadFile(path); err == nil {
		if have, err := jwt.Decode(string(raw)); err == nil && have.Claims().Subject == claims.Claims().
			Subject && a.operatorSigned(have) {
			return string(raw), nil
		}
	}
	return a.sign(path, claims)
}

func (a *authority) operatorSigned(c jwt.Claims) bool {
	id, err := a.operatorKey.PublicKey()
	return err == nil && c.Claims().Issuer == id
}

func (a *authority) sign(path string, claims jwt.Claims) (string, error) {
	text, err := claims.Encode(a.operatorKey)
	if err != nil {
		return "", err
	}
	return text, writeFile(path, []byte(text))
}

// issue writes the credentials that are missing or differ in permissions, and removes those of roles that are gone.
// Whoever loses credentials is revoked, otherwise a copy of the old file would keep the old permissions for ever; the
// revocation is on disk before the file that it is for goes away.
func (a *authority) issue(roles []Role) error {
	wanted := make(map[string]jwt.Permissions, len(roles))
	for _, r := range roles {
		wanted[r.Name] = r.permissions(roles)
	}
	have, err := a.issued()
	if err != nil {
		return err
	}
	account, err := jwt.DecodeAccountClaims(a.accountJWT)
	if err != nil {
		return err
	}
	var gone []string
	for name, claims := range have {
		want, ok := wanted[name]
		if ok && claims.current && reflect.DeepEqual(claims.Permissions, want) {
			delete(wanted, name)
			continue
		}
		account.RevokeAt(claims.Subject, time.Now())
		gone = append(gone, name)
	}
	if len(gone) > 0 {
		if a.accountJWT, err = a.sign(filepath.Join(a.dir, "nats", "account.jwt"), account); err != nil {
			return err
		}
	}
	for _, name := range gone {
		if err := os.Remove(credsFile(a.dir, name)); err != nil {
			return err
		}
	}
	for name, want := range wanted {
		if err := a.user(name, a.accountKey, want); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if claims, _, _, err := readUser(credsFile(a.dir, "sys")); err == nil && claims.Issuer == a.systemID {
		return nil
	}
	return a.user("sys", a.systemKey, jwt.Permissions{})
}

// issuedUser is what stands in credentials.
type issuedUser struct {
	*jwt.UserClaims
	current bool // false: made by a version that gave roles no identity
}

// issued returns what is in the credentials that the account has signed, by role. Other files are not ours.
func (a *authority) issued() (map[string]issuedUser, error) {
	entries, err := os.ReadDir(filepath.Join(a.dir, "creds"))
	if err != nil {
		return nil, err
	}
	have := make(map[string]issuedUser)
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".creds")
		if !ok {
			continue
		}
		if claims, _, seed, err := readUser(credsFile(a.dir, name)); err == nil && claims.Issuer == a.accountID {
			have[name] = issuedUser{claims, current(claims, seed)}
		}
	}
	return have, nil
}

// user writes the credentials of a new user of an account.
func (a *authority) user(name string, account nkeys.KeyPair, permissions jwt.Permissions) error {
	token, seed, err := newUser(name, account, permissions)
	if err != nil {
		return err
	}
	creds, err := jwt.FormatUserConfig(token, seed)
	if err != nil {
		return err
	}
	return writeFile(credsFile(a.dir, name), creds)
}

// newUser returns a new user of an account: the token that says so, and the seed of its key.
func newUser(name string, account nkeys.KeyPair, permissions jwt.Permissions) (token string, seed []byte, err error) {
	pair, err := nkeys.CreateUser()
	if err != nil {
		return "", nil, err
	}
	id, err := pair.PublicKey()
	if err != nil {
		return "", nil, err
	}
	if seed, err = pair.Seed(); err != nil {
		return "", nil, err
	}
	claims := jwt.NewUserClaims(id)
	claims.Name = name
	claims.Permissions = permissions
	if claims.Tags, err = identityTags(seed); err != nil {
		return "", nil, err
	}
	token, err = claims.Encode(account)
	return token, seed, err
}

// apply makes a server trust the authority. Accounts are files of DIR/nats/accounts, which the server writes when it is
// told of a new one or of a change.
func (a *authority) apply(opts *server.Options) error {
	dir := filepath.Join(a.dir, "nats", "accounts")
	if err := os.RemoveAll(dir); err != nil { // what stands there may be as new as what is stored now, and would stay
		return err
	}
	resolver, err := server.NewDirAccResolver(dir, 0, 0, server.NoDelete)
	if err != nil {
		return err
	}
	accounts := map[string]string{a.systemID: a.systemJWT, a.accountID: a.accountJWT}
	venues, err := a.venues()
	if err != nil {
		return err
	}
	for _, v := range venues {
		accounts[v.Account] = v.JWT
	}
	for id, text := range accounts {
		if err := resolver.Store(id, text); err != nil {
			return err
		}
	}
	opts.TrustedOperators = []*jwt.OperatorClaims{a.operator}
	opts.SystemAccount = a.systemID
	opts.AccountResolver = resolver
	return nil
}

// writeFile replaces a file as a whole: a crash leaves the old one or the new one. Only the owner may read it.
func writeFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // nothing is left to remove after the rename
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if closing := f.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
