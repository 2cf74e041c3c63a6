package identity_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/rpc/identity"
)

// authority certifies identities: a certificate is a name.
type authority map[string]identity.Public

func (a authority) identity(t testing.TB, role, certificate string) *identity.Identity {
	t.Helper()
	exchange, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, sign, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	a[certificate] = identity.Public{Role: role, Exchange: exchange.PublicKey(), Verify: public}
	return identity.New(identity.Keys{Role: role, Exchange: exchange, Sign: sign, Certificate: certificate,
		Verify: func(c string) (identity.Public, error) {
			if p, ok := a[c]; ok {
				return p, nil
			}
			return identity.Public{}, errors.New("not signed")
		}})
}

// meet makes identities know each other.
func meet(t testing.TB, all ...*identity.Identity) {
	t.Helper()
	for _, one := range all {
		for _, other := range all {
			if one == other {
				continue
			}
			if _, err := one.Meet(other.Certificate()); err != nil {
				t.Fatal(err)
			}
		}
	}
}

var noon = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func request() identity.Request {
	return identity.Request{Endpoint: "payment.create", ID: "req_1", Principal: "usr_1;;admin", Params: "id=1",
		Body: []byte(`{"a":1}`)}
}

// A proof is good for the request that it was made for, for the service that it was made for, and for half a minute.
func TestProof(t *testing.T) {
	a := authority{}
	gateway, payment, event := a.identity(t, "gateway", "g"), a.identity(t, "payment", "p"), a.identity(t, "event", "e")
	meet(t, gateway, payment, event)
	good := gateway.Prove("payment", request(), noon, false)
	for name, tt := range map[string]struct {
		proof  string
		change func(*identity.Request)
		by     *identity.Identity
		at     time.Duration
		want   error
	}{
		"good":                  {},
		"almost too old":        {at: 30 * time.Second},
		"of a clock ahead":      {at: -5 * time.Second},
		"too old":               {at: 31 * time.Second, want: identity.ErrForged},
		"of the future":         {at: -6 * time.Second, want: identity.ErrForged},
		"another endpoint":      {change: func(r *identity.Request) { r.Endpoint = "payment.refund" }, want: identity.ErrForged},
		"another request":       {change: func(r *identity.Request) { r.ID = "req_2" }, want: identity.ErrForged},
		"another principal":     {change: func(r *identity.Request) { r.Principal = "usr_2;;admin" }, want: identity.ErrForged},
		"other parameters":      {change: func(r *identity.Request) { r.Params = "id=2" }, want: identity.ErrForged},
		"another body":          {change: func(r *identity.Request) { r.Body = []byte(`{"a":2}`) }, want: identity.ErrForged},
		"parts that are moved":  {change: func(r *identity.Request) { r.Params, r.Body = "", []byte("id=1\n{\"a\":1}") }, want: identity.ErrForged},
		"none":                  {proof: "none", want: identity.ErrForged},
		"cut off":               {proof: good[:len(good)-1], want: identity.ErrForged},
		"for another service":   {by: event, want: identity.ErrUnknown},
		"by a service":          {proof: event.Prove("payment", request(), noon, true), want: identity.ErrForged},
		"by the service itself": {proof: payment.Prove("payment", request(), noon, false), want: identity.ErrUnknown},
		"without a time":        {proof: strings.Split(good, "|")[0] + "||" + strings.Split(good, "|")[2], want: identity.ErrForged},
		"by a stranger":         {proof: authority{}.identity(t, "gateway", "x").Prove("payment", request(), noon, false), want: identity.ErrUnknown},
		"with another's name":   {proof: strings.Split(good, "|")[0] + "|" + event.Prove("payment", request(), noon, false)[17:], want: identity.ErrForged},
	} {
		t.Run(name, func(t *testing.T) {
			r := request()
			if tt.change != nil {
				tt.change(&r)
			}
			switch tt.proof {
			case "":
				tt.proof = good
			case "none":
				tt.proof = ""
			}
			if tt.by == nil {
				tt.by = payment
			}
			if err := tt.by.Check(tt.proof, r, noon.Add(tt.at)); !errors.Is(err, tt.want) {
				t.Errorf("error is %v, want %v", err, tt.want)
			}
		})
	}
}

// What a service passes on is the principal that it was given, for the same request, to those whom it may call.
func TestPassOn(t *testing.T) {
	a := authority{}
	gateway, payment := a.identity(t, "gateway", "g"), a.identity(t, "payment", "p")
	ticketing, event := a.identity(t, "ticketing", "t"), a.identity(t, "event", "e")
	meet(t, gateway, payment, ticketing, event)
	if text := identity.PassOn(gateway.Prove("payment", request(), noon, false)); text != "" {
		t.Errorf("passes on %q", text)
	}
	passed := identity.PassOn(gateway.Prove("payment", request(), noon, true))
	check := func(text string, change func(*identity.Request), callers []string, at time.Duration) error {
		r := request()
		r.Endpoint, r.Params, r.Body = "ticketing.begin_payment", "", []byte("another")
		if change != nil {
			change(&r)
		}
		return ticketing.CheckPassedOn(text, r, callers, noon.Add(at))
	}
	callers := []string{"payment"}
	if err := check(passed, nil, callers, 0); err != nil {
		t.Error(err)
	}
	for name, err := range map[string]error{
		"another principal":   check(passed, func(r *identity.Request) { r.Principal = "usr_2;;admin" }, callers, 0),
		"another request":     check(passed, func(r *identity.Request) { r.ID = "req_2" }, callers, 0),
		"another service":     check(passed, nil, []string{"event"}, 0),
		"another endpoint":    check(strings.Replace(passed, "payment.create", "payment.refund", 1), nil, callers, 0),
		"too old":             check(passed, nil, callers, 31*time.Second),
		"by a service":        check(identity.PassOn(event.Prove("payment", request(), noon, true)), nil, callers, 0),
		"a MAC instead":       check(gateway.Prove("ticketing", request(), noon, false), nil, callers, 0),
		"without a signature": check(passed[:strings.LastIndex(passed, "|")+1], nil, callers, 0),
	} {
		if !errors.Is(err, identity.ErrForged) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := payment.Check(passed, request(), noon); !errors.Is(err, identity.ErrUnknown) {
		t.Errorf("what is passed on comes as a request of the gateway: %v", err)
	}
}

// Only the receiver reads a sealed body, only the sender its reply, and both only of this request.
func TestSealed(t *testing.T) {
	a := authority{}
	gateway, user, event := a.identity(t, "gateway", "g"), a.identity(t, "user", "u"), a.identity(t, "event", "e")
	meet(t, gateway, user, event)
	r := request()
	sealed, header, body, err := gateway.Seal("user", r)
	if err != nil {
		t.Fatal(err)
	}
	wire := r
	wire.Body = body
	answering, plain, err := user.Open(header, wire)
	if err != nil || !bytes.Equal(plain, r.Body) {
		t.Fatalf("opened is %q, %v", plain, err)
	}
	reply := answering.SealReply([]byte("token"))
	if bytes.Contains(body, []byte(`"a"`)) || bytes.Contains(reply, []byte("token")) {
		t.Error("the bodies are not sealed")
	}
	if text, err := sealed.OpenReply(reply); err != nil || string(text) != "token" {
		t.Errorf("reply is %q, %v", text, err)
	}
	if _, err := sealed.OpenReply(body); !errors.Is(err, identity.ErrForged) {
		t.Errorf("the request opens as its reply: %v", err)
	}
	if _, _, err := event.Open(header, wire); !errors.Is(err, identity.ErrUnknown) {
		t.Errorf("another service: %v", err)
	}
	other := wire
	other.ID = "req_2"
	if _, _, err := user.Open(header, other); !errors.Is(err, identity.ErrForged) {
		t.Errorf("another request: %v", err)
	}
	bent := wire
	bent.Body = append(bytes.Clone(body[:len(body)-1]), body[len(body)-1]^1)
	if _, _, err := user.Open(header, bent); !errors.Is(err, identity.ErrForged) {
		t.Errorf("a changed body: %v", err)
	}
	if _, _, err := user.Open("", wire); !errors.Is(err, identity.ErrUnknown) {
		t.Errorf("not sealed: %v", err)
	}
}

// While keys are being replaced, instances with the old and the new ones are served alike.
func TestReplacedKeys(t *testing.T) {
	a := authority{}
	gateway, old, fresh := a.identity(t, "gateway", "g"), a.identity(t, "user", "u1"), a.identity(t, "user", "u2")
	meet(t, gateway, old)
	if err := fresh.Check(gateway.Prove("user", request(), noon, false), request(), noon); !errors.Is(err, identity.ErrUnknown) {
		t.Fatal(err)
	}
	meet(t, gateway, fresh)
	proof := gateway.Prove("user", request(), noon, false)
	_, header, body, err := gateway.Seal("user", request())
	if err != nil {
		t.Fatal(err)
	}
	wire := request()
	wire.Body = body
	for _, one := range []*identity.Identity{old, fresh} {
		if err := one.Check(proof, request(), noon); err != nil {
			t.Error(err)
		}
		if _, _, err := one.Open(header, wire); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"u3", "u4", "u5"} { // in the end the oldest are forgotten
		meet(t, gateway, a.identity(t, "user", name))
	}
	if proof := gateway.Prove("user", request(), noon, false); strings.Count(proof, ":") != 3 {
		t.Errorf("proof is %s", proof)
	}
	if err := old.Check(gateway.Prove("user", request(), noon, false), request(), noon); !errors.Is(err, identity.ErrUnknown) {
		t.Error(err)
	}
	if _, err := gateway.Meet("made up"); !errors.Is(err, identity.ErrForged) {
		t.Errorf("met a stranger: %v", err)
	}
}

func second[T any](_ T, err error) error { return err }

// Requests that meet the same service at once, while others prove to it, disturb nobody.
func TestMeetingAtOnce(t *testing.T) {
	a := authority{}
	gateway := a.identity(t, "gateway", "g")
	for n := range 50 {
		certificate := fmt.Sprintf("p%d", n)
		payment := a.identity(t, "payment", certificate)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for _, err := range []error{second(gateway.Meet(certificate)), second(payment.Meet("g"))} {
					if err != nil {
						t.Error(err)
					}
				}
				if err := payment.Check(gateway.Prove("payment", request(), noon, false), request(), noon); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
}

// Whatever stands in a header, it is refused and not more.
func FuzzCheck(f *testing.F) {
	a := authority{}
	gateway, user := a.identity(f, "gateway", "g"), a.identity(f, "user", "u")
	meet(f, gateway, user)
	f.Add(gateway.Prove("user", request(), noon, true))
	_, header, _, err := gateway.Seal("user", request())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(header)
	f.Fuzz(func(t *testing.T, text string) {
		other := request()
		other.Body = []byte("other")
		if err := user.Check(text, other, noon); err == nil {
			t.Error("a proof of another request")
		}
		_ = user.CheckPassedOn(text, other, []string{"payment"}, noon)
		if _, _, err := user.Open(text, other); err == nil {
			t.Error("a body that was not sealed")
		}
		_ = identity.PassOn(text)
	})
}

func BenchmarkProve(b *testing.B) {
	a := authority{}
	gateway, user := a.identity(b, "gateway", "g"), a.identity(b, "user", "u")
	meet(b, gateway, user)
	for b.Loop() {
		gateway.Prove("user", request(), noon, false)
	}
}

func BenchmarkCheck(b *testing.B) {
	a := authority{}
	gateway, user := a.identity(b, "gateway", "g"), a.identity(b, "user", "u")
	meet(b, gateway, user)
	proof := gateway.Prove("user", request(), noon, false)
	for b.Loop() {
		if err := user.Check(proof, request(), noon); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkProveToPassOn(b *testing.B) {
	a := authority{}
	gateway, user := a.identity(b, "gateway", "g"), a.identity(b, "user", "u")
	meet(b, gateway, user)
	for b.Loop() {
		gateway.Prove("user", request(), noon, true)
	}
}

func BenchmarkCheckPassedOn(b *testing.B) {
	a := authority{}
	gateway, user := a.identity(b, "gateway", "g"), a.identity(b, "user", "u")
	meet(b, gateway, user)
	proof := identity.PassOn(gateway.Prove("user", request(), noon, true))
	for b.Loop() {
		if err := user.CheckPassedOn(proof, request(), []string{"payment"}, noon); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSealAndOpen(b *testing.B) {
	a := authority{}
	gateway, user := a.identity(b, "gateway", "g"), a.identity(b, "user", "u")
	meet(b, gateway, user)
	for b.Loop() {
		sealed, header, body, err := gateway.Seal("user", request())
		if err != nil {
			b.Fatal(err)
		}
		r := request()
		r.Body = body
		answering, _, err := user.Open(header, r)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := sealed.OpenReply(answering.SealReply(body)); err != nil {
			b.Fatal(err)
		}
	}
}
