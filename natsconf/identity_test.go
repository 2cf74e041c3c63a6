package natsconf_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"github.com/starlightsymphony/starlight/natsconf"
)

// The keys of a role follow from its credentials, and its certificate proves them to every other role of the account,
// and to none of another.
func TestIdentities(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	for _, d := range []string{dir, elsewhere} {
		if err := natsconf.WriteExternal(d, roles()); err != nil {
			t.Fatal(err)
		}
	}
	read := func(dir, role string) *natsconf.Identity {
		t.Helper()
		own, err := natsconf.ReadIdentity(filepath.Join(dir, "creds"), role)
		if err != nil {
			t.Fatal(err)
		}
		return own
	}
	gateway, again, payment := read(dir, "gateway"), read(dir, "gateway"), read(dir, "payment")
	if !gateway.Exchange.Equal(again.Exchange) || !gateway.Sign.Equal(again.Sign) || gateway.Exchange.Equal(payment.Exchange) || gateway.Sign.Equal(payment.Sign) {
		t.Error("the keys do not follow from the credentials")
	}
	got, err := payment.Verify(gateway.Certificate)
	if err != nil || got.Role != "gateway" || !got.Exchange.Equal(gateway.Exchange.PublicKey()) || !got.Verify.Equal(gateway.Sign.Public()) {
		t.Errorf("the certificate says %+v, %v", got, err)
	}
	if _, err := read(elsewhere, "payment").Verify(gateway.Certificate); err == nil {
		t.Error("the certificate of another account is believed")
	}

	// With the seed of a role one can sign a token that names another, but not as the account.
	raw, err := os.ReadFile(filepath.Join(dir, "creds", "payment.creds"))
	if err != nil {
		t.Fatal(err)
	}
	pair, err := jwt.ParseDecoratedUserNKey(raw)
	if err != nil {
		t.Fatal(err)
	}
	claims, err := jwt.DecodeUserClaims(payment.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	account, err := nkeys.CreateAccount()
	if err != nil {
		t.Fatal(err)
	}
	claims.Name = "gateway"
	forged, err := claims.Encode(account)
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(payment.Certificate, ".")
	named := strings.Split(forged, ".")
	signature, err := pair.Sign([]byte(named[0] + "." + named[1]))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"of an account that is made up": forged,
		"with the signature of another": named[0] + "." + named[1] + "." + parts[2],
		"without a signature":           named[0] + "." + named[1] + ".",
		"with a signature of the role":  named[0] + "." + named[1] + "." + string(signature),
		"nothing":                       "",
		"of a user without keys":        sysToken(t, dir),
	} {
		if got, err := payment.Verify(text); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func sysToken(t *testing.T, dir string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, "creds", "sys.creds"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := jwt.ParseDecoratedJWT(raw)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// Credentials of a version that gave roles no keys are made anew.
func TestIdentitiesAfterAnUpdate(t *testing.T) {
	dir := t.TempDir()
	if err := natsconf.WriteExternal(dir, roles()); err != nil {
		t.Fatal(err)
	}
	seed, err := os.ReadFile(filepath.Join(dir, "nats", "account.nk"))
	if err != nil {
		t.Fatal(err)
	}
	account, err := nkeys.FromSeed(seed)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "creds", "gateway.creds")
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text, err := jwt.ParseDecoratedJWT(raw)
	if err != nil {
		t.Fatal(err)
	}
	claims, err := jwt.DecodeUserClaims(text)
	if err != nil {
		t.Fatal(err)
	}
	claims.Tags = nil
	old, err := claims.Encode(account)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(raw), text, old, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := natsconf.ReadIdentity(path, "gateway"); err == nil || !strings.Contains(err.Error(), "auth init") {
		t.Fatalf("error is %v", err)
	}
	if err := natsconf.WriteExternal(dir, roles()); err != nil {
		t.Fatal(err)
	}
	if _, err := natsconf.ReadIdentity(path, "gateway"); err != nil {
		t.Error(err)
	}
}
