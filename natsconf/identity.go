package natsconf

import (
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"
)

// The tags in the credentials of a role that hold its public keys, in hex.
const (
	exchangeTag = "exchange:" // X25519
	signTag     = "sign:"     // Ed25519
)

// Identity is what a role proves itself by to other roles, beyond what NATS checks. The keys follow from the seed of
// the role's NATS user, so that its credentials stay the one secret it has. Their public halves stand in the user's
// token, which the account has signed: nobody who lacks the account's key can pass for another role.
type Identity struct {
	Role        string
	Exchange    *ecdh.PrivateKey // X25519
	Sign        ed25519.PrivateKey
	Certificate string // the user's token: proves the public keys to others
	account     string // public key
}

// PublicIdentity is what a certificate says.
type PublicIdentity struct {
	Role     string
	Exchange *ecdh.PublicKey
	Verify   ed25519.PublicKey
}

// ReadIdentity reads the identity of a role from a credentials file, or from the one in a folder that is the role's.
func ReadIdentity(creds, role string) (*Identity, error) {
	path, err := credsPath(creds, role)
	if err != nil {
		return nil, err
	}
	claims, text, seed, err := readUser(path)
	if err != nil {
		return nil, fmt.Errorf("natsconf: credentials %s: %w", path, err)
	}
	i := &Identity{Role: claims.Name, Certificate: text, account: claims.Issuer}
	if i.Exchange, i.Sign, err = identityKeys(seed); err != nil {
		return nil, fmt.Errorf("natsconf: credentials %s: %w", path, err)
	}
	own, err := i.Verify(text)
	if err != nil || !own.Exchange.Equal(i.Exchange.PublicKey()) || !own.Verify.Equal(i.Sign.Public()) {
		return nil, fmt.Errorf("natsconf: credentials %s are of an older version: run starlight auth init again", path)
	}
	return i, nil
}

// Verify returns who a certificate is of. It fails for one that the own account has not signed.
func (i *Identity) Verify(certificate string) (PublicIdentity, error) {
	claims, err := jwt.DecodeUserClaims(certificate)
	if err != nil {
		return PublicIdentity{}, fmt.Errorf("natsconf: certificate: %w", err)
	}
	if claims.Issuer != i.account || claims.IssuerAccount != "" {
		return PublicIdentity{}, errors.New("natsconf: certificate: it is of another account")
	}
	exchange, err := tagged(claims.Tags, exchangeTag)
	if err != nil {
		return PublicIdentity{}, err
	}
	verify, err := tagged(claims.Tags, signTag)
	if err != nil {
		return PublicIdentity{}, err
	}
	p := PublicIdentity{Role: claims.Name, Verify: verify}
	if p.Exchange, err = ecdh.X25519().NewPublicKey(exchange); err != nil {
		return PublicIdentity{}, fmt.Errorf("natsconf: certificate: %w", err)
	}
	return p, nil
}

// tagged returns the key that a tag holds. Both kinds of keys have 32 bytes.
func tagged(tags jwt.TagList, name string) ([]byte, error) {
	for _, t := range tags {
		if text, ok := strings.CutPrefix(t, name); ok {
			if key, err := hex.DecodeString(text); err == nil && len(key) == ed25519.PublicKeySize {
				return key, nil
			}
		}
	}
	return nil, fmt.Errorf("natsconf: certificate: it has no %s key", strings.TrimSuffix(name, ":"))
}

// identityKeys derives the keys of an identity from the seed of a NATS user.
func identityKeys(seed []byte) (*ecdh.PrivateKey, ed25519.PrivateKey, error) {
	exchange, err := hkdf.Key(sha256.New, seed, nil, "starlight identity exchange", ed25519.SeedSize)
	if err != nil {
		return nil, nil, err
	}
	sign, err := hkdf.Key(sha256.New, seed, nil, "starlight identity sign", ed25519.SeedSize)
	if err != nil {
		return nil, nil, err
	}
	key, err := ecdh.X25519().NewPrivateKey(exchange)
	return key, ed25519.NewKeyFromSeed(sign), err
}

// identityTags returns the public keys of an identity as they stand in the user's token.
func identityTags(seed []byte) (jwt.TagList, error) {
	exchange, sign, err := identityKeys(seed)
	if err != nil {
		return nil, err
	}
	public := sign.Public().(ed25519.PublicKey)
	return jwt.TagList{exchangeTag + hex.EncodeToString(exchange.PublicKey().Bytes()),
		signTag + hex.EncodeToString(public)}, nil
}

// credsPath returns the credentials file of a role: creds itself, or the one in it if it is a folder.
func credsPath(creds, role string) (string, error) {
	info, err := os.Stat(creds)
	if err == nil && info.IsDir() {
		creds = filepath.Join(creds, role+".creds")
		_, err = os.Stat(creds)
	}
	if err != nil {
		return "", fmt.Errorf("natsconf: credentials: %w", err)
	}
	return creds, nil
}

// readUser reads a credentials file: what the token says, the token, and the seed.
func readUser(path string) (claims *jwt.UserClaims, token string, seed []byte, err error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, "", nil, err
	}
	if token, err = jwt.ParseDecoratedJWT(raw); err != nil {
		return nil, "", nil, err
	}
	pair, err := jwt.ParseDecoratedUserNKey(raw)
	if err != nil {
		return nil, "", nil, err
	}
	if seed, err = pair.Seed(); err != nil {
		return nil, "", nil, err
	}
	if claims, err = jwt.DecodeUserClaims(token); err != nil {
		return nil, "", nil, err
	}
	return claims, token, seed, belongs(claims, pair)
}

// belongs returns an error if a token is of another key.
func belongs(claims *jwt.UserClaims, pair nkeys.KeyPair) error {
	public, err := pair.PublicKey()
	if err == nil && public != claims.Subject {
		err = errors.New("the token is of another key")
	}
	return err
}

// current reports whether a token has the tags that follow from the seed of its user.
func current(claims *jwt.UserClaims, seed []byte) bool {
	tags, err := identityTags(seed)
	return err == nil && slices.Equal(claims.Tags, tags)
}
