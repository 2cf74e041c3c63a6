package command_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/system"
)

// outsider is a running system with a person, and a third-party service called hello that has credentials.
type outsider struct {
	t           *testing.T
	sys         *system.System
	data, creds string
	at          []string
	user        string
	token       string
	violations  chan error
	mu          sync.Mutex
	last        nats.Header // of the last request to hello
	http        http.Client
}

func newOutsider(t *testing.T, ops string, events ...string) *outsider {
	t.Helper()
	o := &outsider{t: t, data: t.TempDir(), violations: make(chan error, 100)}
	var err error
	o.sys, err = system.Start(t.Context(), system.Config{Data: o.data, HTTP: "127.0.0.1:0", Ops: ops, NATS: "127.0.0.1:0",
		AdminPassword: "a long enough one", LogTo: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.sys.Close(context.Background()) })
	o.at = []string{"--data", o.data, "--nats-url", o.sys.NATSURL()}
	o.creds = filepath.Join(t.TempDir(), "hello.creds")
	args := []string{"auth", "service", "hello", "--out", o.creds}
	for _, e := range events {
		args = append(args, "--subject", e)
	}
	o.does(args...)
	var person struct{ ID string }
	o.call("POST", "/v1/users", `{"email":"ada@example.org","password":"a long enough one","name":"Ada"}`, 201, &person)
	var session struct {
		Token string `json:"access_token"`
	}
	o.call("POST", "/v1/sessions", `{"email":"ada@example.org","password":"a long enough one"}`, 201, &session)
	o.user, o.token = person.ID, session.Token
	return o
}

func (o *outsider) does(args ...string) {
	o.t.Helper()
	if code, _, errs := run(append(args, o.at...)...); code != 0 {
		o.t.Fatalf("%v: %s", args, errs)
	}
}

// request sends a request and returns the answer with its body.
func (o *outsider) request(method, path, body string) (*http.Response, []byte, error) {
	req, err := http.NewRequest(method, o.sys.URL()+path, strings.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	if o.token != "" {
		req.Header.Set("Authorization", "Bearer "+o.token)
	}
	resp, err := o.http.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp, text, err
}

func (o *outsider) call(method, path, body string, status int, into any) {
	o.t.Helper()
	resp, text, err := o.request(method, path, body)
	if err != nil || resp.StatusCode != status {
		o.t.Fatalf("%s %s: %v, %s", method, path, err, text)
	}
	if into != nil {
		if err := json.Unmarshal(text, into); err != nil {
			o.t.Fatal(err)
		}
	}
}

// eventually waits until a request is answered with a status.
func (o *outsider) eventually(method, path string, status int) (text []byte) {
	o.t.Helper()
	testkit.Eventually(o.t, 10*time.Second, func() error {
		resp, body, err := o.request(method, path, "")
		if err != nil || resp.StatusCode != status {
			return fmt.Errorf("%s %s: %v, %s", method, path, err, body)
		}
		text = body
		return nil
	})
	return text
}

func (o *outsider) connect() *nats.Conn {
	o.t.Helper()
	nc, err := nats.Connect(o.sys.NATSURL(), nats.UserCredentials(o.creds), nats.CustomInboxPrefix("_INBOX_x_hello"),
		nats.MaxReconnects(0), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			o.violations <- err
		}))
	if err != nil {
		o.t.Fatal(err)
	}
	o.t.Cleanup(nc.Close)
	return nc
}

func (o *outsider) serve(nc *nats.Conn) {
	o.t.Helper()
	service, err := micro.AddService(nc, micro.Config{Name: "hello", Version: "1.0.0"})
	if err != nil {
		o.t.Fatal(err)
	}
	for subject, metadata := range map[string]map[string]string{
		"x.hello.greet":  {"method": "GET", "path": "/greet/{name}"},
		"x.hello.echo":   {"method": "POST", "path": "/echo", "access": "public"},
		"x.hello.secret": {"method": "GET", "path": "/secret", "access": "admin"},
		"x.hello.broken": {"method": "GET", "path": "broken", "access": "public"},
	} {
		err := service.AddEndpoint(strings.TrimPrefix(subject, "x.hello."), micro.HandlerFunc(func(r micro.Request) {
			o.mu.Lock()
			o.last = nats.Header(r.Headers())
			o.mu.Unlock()
			if strings.Contains(r.Headers().Get("Starlight-Params"), "nobody") {
				r.Error("404", "nobody is not there", nil)
				return
			}
			r.Respond(append([]byte(`{"got":`), append(append([]byte(nil), orNull(r.Data())...), '}')...))
		}), micro.WithEndpointSubject(subject), micro.WithEndpointMetadata(metadata))
		if err != nil {
			o.t.Fatal(err)
		}
	}
	if err := nc.Flush(); err != nil {
		o.t.Fatal(err)
	}
}

func orNull(b []byte) []byte {
	if len(b) == 0 {
		return []byte("null")
	}
	return b
}

// A service of somebody else stands behind the gateway once an administrator says so, with identity, limits and metrics.
func TestThirdPartyService(t *testing.T) {
	o := newOutsider(t, "127.0.0.1:0")
	nc := o.connect()
	o.serve(nc)
	o.eventually("GET", "/x/hello/greet/Ada", 404) // nobody has let it in
	o.does("config", "set", "gateway.services", "hello")
	o.eventually("GET", "/x/hello/greet/Ada?loud=yes", 200)

	o.mu.Lock()
	last := o.last
	o.mu.Unlock()
	if p := last.Get("Starlight-Params"); p != "name=Ada&loud=yes" {
		t.Errorf("parameters are %q", p)
	}
	if p := last.Get("Starlight-Principal"); !strings.HasPrefix(p, o.user+";ses_") {
		t.Errorf("the principal is %q", p)
	}
	if last.Get("Authorization") != "" || last.Get("Http-Authorization") != "" || last.Get("Starlight-Request-Id") == "" {
		t.Errorf("headers are %v", last)
	}
	o.verify(last.Get("Starlight-Identity"))

	var problem struct{ Code, Detail string }
	o.call("GET", "/x/hello/greet/nobody", "", 404, &problem)
	if problem.Code != "not_found" || problem.Detail != "nobody is not there" {
		t.Errorf("the problem is %+v", problem)
	}
	o.call("DELETE", "/x/hello/greet/Ada", "", 405, nil)
	o.call("GET", "/x/hello/secret", "", 403, nil)
	o.call("GET", "/x/hello/broken", "", 404, nil)
	o.call("GET", "/x/other/greet/Ada", "", 404, nil)
	token := o.token
	o.token = ""
	o.call("GET", "/x/hello/greet/Ada", "", 401, nil)
	resp, body, err := o.request("POST", "/x/hello/echo", `{"a":1}`)
	if err != nil || resp.StatusCode != 200 || string(body) != `{"got":{"a":1}}` {
		t.Errorf("echo: %v %s", err, body)
	}
	if policy := resp.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "sandbox") {
		t.Errorf("the policy is %q", policy)
	}
	o.token = token

	testkit.Eventually(t, 10*time.Second, func() error {
		metrics, err := http.Get(o.sys.OpsURL() + "/metrics")
		if err != nil {
			return err
		}
		defer metrics.Body.Close()
		text, err := io.ReadAll(metrics.Body)
		for _, class := range []string{"2xx", "4xx"} {
			want := regexp.MustCompile(`(?m)^starlight_external_requests_total\{.*class="` + class + `".* [1-9]`)
			if err == nil && (!want.Match(text) || !bytes.Contains(text, []byte(`service="hello"`))) {
				err = errors.New("there is no count of " + class)
			}
		}
		return err
	})
	code, out, errs := run(append([]string{"mesh", "ls"}, o.at...)...)
	if code != 0 || !strings.Contains(out, "hello") {
		t.Errorf("mesh ls: %s %s", out, errs)
	}

	o.does("config", "set", "gateway.services", "")
	o.eventually("GET", "/x/hello/greet/Ada", 404)
	o.does("config", "set", "gateway.services", "hello")
	o.eventually("GET", "/x/hello/greet/Ada", 200)
	o.does("auth", "service", "hello", "--revoke")
	o.eventually("GET", "/x/hello/greet/Ada", 503)
	if again, err := nats.Connect(o.sys.NATSURL(), nats.UserCredentials(o.creds)); err == nil {
		again.Close()
		t.Error("revoked credentials let in")
	}
}

// verify checks the proof of an identity as a service would.
func (o *outsider) verify(text string) {
	o.t.Helper()
	var set api.KeySet
	o.call("GET", "/x/keys", "", 200, &set)
	token, err := jwt.Parse(text, func(token *jwt.Token) (any, error) {
		for _, k := range set.Keys {
			if k.ID == token.Header["kid"] {
				x, err := base64.RawURLEncoding.DecodeString(k.X)
				return ed25519.PublicKey(x), err
			}
		}
		return nil, errors.New("no such key")
	}, jwt.WithValidMethods([]string{"EdDSA"}), jwt.WithAudience("x.hello"), jwt.WithExpirationRequired())
	if err != nil {
		o.t.Fatal(err)
	}
	if subject, err := token.Claims.GetSubject(); err != nil || subject != o.user {
		o.t.Errorf("the proof is of %q, %v", subject, err)
	}
}

// What a service of somebody else may do ends at its own subjects, and at the events that it was given.
func TestThirdPartyServiceMayNot(t *testing.T) {
	o := newOutsider(t, "off", "ev.user.>")
	nc := o.connect()
	refused := func(what string, do func() error) {
		t.Helper()
		if err := errors.Join(do(), nc.Flush()); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-o.violations:
			if !errors.Is(err, nats.ErrPermissionViolation) {
				t.Errorf("%s: %v", what, err)
			}
		case <-time.After(testkit.Within(5 * time.Second)):
			t.Errorf("%s: nothing refused it", what)
		}
	}
	for _, subject := range []string{"api.ticketing.create_order", "ev.user.account.created", "_INBOX_gateway.x", "_INBOX.x",
		"x.hello.greet", "x.other.greet", "$SRV.PING", "$KV.config.ticketing.hold_ttl", "logs.user.info",
		"$JS.API.STREAM.DELETE.EVENTS", "$JS.API.CONSUMER.CREATE.EVENTS.x_hello.ev.ticketing.>",
		"$JS.API.CONSUMER.CREATE.EVENTS.x_other.ev.user.>", "$JS.API.CONSUMER.CREATE.EVENTS"} {
		refused("publish "+subject, func() error { return nc.Publish(subject, []byte("{}")) })
	}
	for _, subject := range []string{">", "api.>", "ev.>", "ev.user.>", "x.other.>", "x.>", "_INBOX.>", "_INBOX_gateway.>",
		"$SRV.PING.user", "logs.>"} {
		refused("subscribe "+subject, func() error {
			_, err := nc.SubscribeSync(subject)
			return err
		})
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	consumer, err := js.CreateConsumer(t.Context(), api.EventsStream, jetstream.ConsumerConfig{Durable: "x_hello",
		FilterSubject: "ev.user.>"})
	if err != nil {
		t.Fatal(err)
	}
	msg, err := consumer.Next(jetstream.FetchMaxWait(10 * time.Second))
	if err != nil || !strings.HasPrefix(msg.Subject(), "ev.user.") {
		t.Fatalf("the event is %v, %v", msg, err)
	}
	if err := msg.DoubleAck(t.Context()); err != nil {
		t.Error(err)
	}
	fails(t, nil, "no subject of domain events", "auth", "service", "other", "--subject", "api.>", "--data", o.data)
	fails(t, nil, "the name of a service", "auth", "service", "Other.>", "--data", o.data)
}

// The examples serve through the gateway.
func TestExampleServices(t *testing.T) {
	folder, err := filepath.Abs(filepath.Join("..", "..", "..", "examples"))
	if err != nil {
		t.Fatal(err)
	}
	t.Run("javascript", func(t *testing.T) {
		modules := filepath.Dir(testkit.NPM(t, "nats", "2.29.3"))
		at := t.TempDir() // an import looks for its modules beside the file
		text, err := os.ReadFile(filepath.Join(folder, "javascript", "hello.mjs"))
		if err == nil {
			err = errors.Join(os.WriteFile(filepath.Join(at, "hello.mjs"), text, 0o600),
				os.Symlink(modules, filepath.Join(at, "node_modules")))
		}
		if err != nil {
			t.Fatal(err)
		}
		greets(t, "node", filepath.Join(at, "hello.mjs"))
	})
	t.Run("python", func(t *testing.T) {
		if out, err := exec.Command("python3", "-c", "import nats.micro, nkeys").CombinedOutput(); err != nil {
			t.Skipf("SKIPPED: python3 with nats-py[nkeys] is not here: %v %s", err, out)
		}
		greets(t, "python3", filepath.Join(folder, "python", "hello.py"))
	})
}

// greets runs an example, and calls it.
func greets(t *testing.T, program, script string) {
	o := newOutsider(t, "off")
	o.does("config", "set", "gateway.services", "hello")
	cmd := exec.Command(program, script)
	cmd.Env = append(os.Environ(), "STARLIGHT_NATS_URL="+o.sys.NATSURL(), "STARLIGHT_NATS_CREDS="+o.creds)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		t.Log(output.String())
	})
	var answer struct{ Greeting, From string }
	if err := json.Unmarshal(o.eventually("GET", "/x/hello/greet/Ada", 200), &answer); err != nil {
		t.Fatal(err)
	}
	if answer.Greeting != "Hello, Ada" || answer.From != o.user {
		t.Errorf("the answer is %+v", answer)
	}
	o.call("GET", "/x/hello/greet/nobody", "", 404, nil)
}
