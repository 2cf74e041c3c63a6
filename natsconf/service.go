package natsconf

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
)

// External is a third-party service: a member with credentials of its own, which serves x.NAME.> and answers on nats
// micro. It may publish replies to what it was asked, and nothing else.
type External struct {
	Name   string   // [a-z][a-z0-9_]*
	Stream string   // of the domain events
	Events []string // subjects of domain events that it may read, by a consumer named x_NAME
}

// Credentials returns new credentials of the service, signed by the authority in a folder. Those from before stay good:
// see RevokeExternal.
func (e External) Credentials(dir string) ([]byte, error) {
	if !plain(e.Name) {
		return nil, fmt.Errorf("natsconf: the name of a service is letters, digits and _: %q is not", e.Name)
	}
	for _, s := range e.Events {
		if !server.IsValidSubject(s) || !strings.HasPrefix(s, "ev.") || strings.ContainsAny(s, " \t\r\n") {
			return nil, fmt.Errorf("natsconf: %q is no subject of domain events, such as ev.event.>", s)
		}
	}
	a, err := openAuthority(dir)
	if err != nil {
		return nil, err
	}
	token, seed, err := newUser(ExternalInbox(e.Name), a.accountKey, e.permissions())
	if err != nil {
		return nil, fmt.Errorf("natsconf: the credentials of %s: %w", e.Name, err)
	}
	if err := a.remember(e.Name, token); err != nil {
		return nil, fmt.Errorf("natsconf: the credentials of %s: %w", e.Name, err)
	}
	return jwt.FormatUserConfig(token, seed)
}

// ExternalInbox names a third-party service where names of roles stand: its inboxes begin with _INBOX_ and this.
func ExternalInbox(name string) string { return "x_" + name }

// permissions returns what stands in the credentials. Replies are allowed one by one, where they were asked for: it
// could else forge those of others. Domain events come by a consumer and not by a plain subscription: what is published
// has the inbox of who waits for its acknowledgement, which the service could then forge.
func (e External) permissions() jwt.Permissions {
	consumer := ExternalInbox(e.Name)
	var publish jwt.StringList
	for _, s := range e.Events {
		publish = append(publish, "$JS.API.CONSUMER.CREATE."+e.Stream+"."+consumer+"."+s)
	}
	if len(e.Events) > 0 {
		at := e.Stream + "." + consumer
		publish = append(publish, "$JS.API.CONSUMER.INFO."+at, "$JS.API.CONSUMER.DELETE."+at,
			"$JS.API.CONSUMER.MSG.NEXT."+at, "$JS.ACK."+at+".>", "$JS.ACK.*.*."+at+".>")
	}
	p := jwt.Permissions{Resp: &jwt.ResponsePermission{MaxMsgs: 1, Expires: time.Minute}}
	p.Pub.Allow = tidy(publish)
	if len(publish) == 0 { // an empty list would allow everything
		p.Pub.Deny = jwt.StringList{">"}
	}
	p.Sub.Allow = tidy(append(microSubjects(e.Name), "x."+e.Name+".>", InboxPrefix(consumer)+".>"))
	return p
}

// openAuthority loads the keys of a folder that has them.
func openAuthority(dir string) (*authority, error) {
	if _, err := os.Stat(filepath.Join(dir, "nats", "operator.nk")); err != nil {
		return nil, fmt.Errorf("natsconf: no keys in %s: %w", dir, err)
	}
	a := &authority{dir: dir}
	if err := a.load(); err != nil {
		return nil, fmt.Errorf("natsconf: keys in %s: %w", filepath.Join(dir, "nats"), err)
	}
	return a, nil
}

func issuedFile(dir, name string) string { return filepath.Join(dir, "nats", "services", name) }

// remember writes down whom credentials were made for, so that they can be revoked: a line each, without a secret.
func (a *authority) remember(name, token string) error {
	claims, err := jwt.DecodeUserClaims(token)
	if err != nil {
		return err
	}
	path := issuedFile(a.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(claims.Subject + "\n")
	return errors.Join(err, f.Sync(), f.Close())
}

// RevokeExternal ends all credentials of a third-party service that were made until now, and returns the account, for
// the servers to know: see Push.
func RevokeExternal(dir, name string, now time.Time) (*Account, error) {
	if !plain(name) {
		return nil, fmt.Errorf("natsconf: the name of a service is letters, digits and _: %q is not", name)
	}
	a, err := openAuthority(dir)
	if err != nil {
		return nil, err
	}
	users, err := os.ReadFile(issuedFile(dir, name))
	if err != nil {
		return nil, fmt.Errorf("natsconf: no credentials of %s were made here: %w", name, err)
	}
	claims, err := jwt.DecodeAccountClaims(a.accountJWT)
	if err != nil {
		return nil, fmt.Errorf("natsconf: the account: %w", err)
	}
	for id := range strings.FieldsSeq(string(users)) {
		claims.RevokeAt(id, now)
	}
	text, err := a.sign(filepath.Join(dir, "nats", "account.jwt"), claims)
	if err != nil {
		return nil, fmt.Errorf("natsconf: the account: %w", err)
	}
	return &Account{ID: "the system", JWT: text}, nil
}
