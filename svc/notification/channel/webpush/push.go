// Package webpush sends messages to browsers through the push services that these are subscribed at: RFC 8030, 8188,
// 8291 and 8292.
package webpush

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"time"

	"github.com/starlightsymphony/starlight/shared/web"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/svc/notification/channel"
)

// Config is what a Sender is made of.
type Config struct {
	Key          []byte // the private key that push services know this system by
	Contact      string // of the operator: mailto: or https:
	Now          func() time.Time
	AllowPrivate bool          // endpoints may be in private networks and without TLS
	Timeout      time.Duration // of a message; 0 means channel.HTTPTimeout
}

// Sender sends to push services.
type Sender struct {
	identity *vapid
	client   *http.Client
	gate     *gate
	now      func() time.Time
	private  bool
}

// New returns a sender.
func New(c Config) (*Sender, error) {
	identity, err := newVAPID(c.Key, c.Contact)
	if err != nil {
		return nil, err
	}
	timeout := cmp.Or(c.Timeout, channel.HTTPTimeout)
	client := channel.GuardedClient(func() bool { return c.AllowPrivate }, timeout, perHost)
	return &Sender{identity: identity, client: client, gate: newGate(c.Now), now: c.Now, private: c.AllowPrivate}, nil
}

// NewKey returns a key for Config.
func NewKey() ([]byte, error) {
	key, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	return key.Bytes(), nil
}

// PublicKey returns what browsers subscribe with, in base64url.
func (s *Sender) PublicKey() string { return s.identity.public }

// Subscription is where a browser of a person takes messages, and the keys to seal them with.
type Subscription struct {
	Endpoint, P256dh, Auth string

	Person  string // messages to one person share a bound
	Failing bool   // the last message did not get through
}

// CheckKeys reports what is wrong with the keys of a subscription.
func (s Subscription) CheckKeys() error {
	_, _, err := subscriptionKeys(s.P256dh, s.Auth)
	return err
}

// Message is what a browser's service worker is given.
type Message struct {
	Body  []byte
	Topic string        // at most 32 characters: the same topic again replaces the message that was not shown yet
	TTL   time.Duration // how long a push service keeps it for a device that is off
}

// SubscriptionEnded is the error of a subscription at which no message arrives any more.
type SubscriptionEnded struct{ Status int }

func (g *SubscriptionEnded) Error() string {
	return fmt.Sprintf("the push service answers %d: the subscription has ended", g.Status)
}

// Failure is the error of a message that a push service did not take.
type Failure struct {
	error
	// Device says that it is a matter of this device: its push service is well, or was never seen to be.
	Device bool
	// Final says that the service has refused this message, and would refuse it again.
	Final bool
}

// Unwrap returns the cause.
func (f *Failure) Unwrap() error { return f.error }

// Send sends one message. The error is a *channel.Busy if it had no turn, a *Failure or a *SubscriptionEnded if the
// push service did not take it, and a fault of code Invalid if it cannot be sent at all.
func (s *Sender) Send(ctx context.Context, to Subscription, m Message) error {
	sealed, err := encrypt(m.Body, to.P256dh, to.Auth)
	if err != nil {
		return fault.Wrap(err, fault.Invalid, "the push message cannot be sealed")
	}
	authorization, err := s.identity.authorization(to.Endpoint, s.now())
	if err != nil {
		return fault.Wrap(err, fault.Invalid, "the push message cannot be signed")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to.Endpoint, bytes.NewReader(sealed))
	if err != nil {
		return fault.Wrap(withoutAddress(err), fault.Invalid, "the push endpoint is no address")
	}
	req.Header.Set("Authorization", authorization)
	req.Header.Set("Content-Encoding", "aes128gcm")
	req.Header.Set("Content-Type", "application/octet-stream")
	req.Header.Set("TTL", strconv.Itoa(int(m.TTL.Seconds())))
	req.Header.Set("Urgency", "normal")
	req.Header.Set("Topic", m.Topic)
	turn, err := s.gate.enter(ctx, req.URL.Host, to.Person, to.Failing)
	if err != nil {
		return err
	}
	status, err := s.post(req.WithContext(turn.ctx))
	device := turn.leave(ctx, err == nil && status < 500)
	if err != nil && turn.cut {
		return &channel.Busy{Reason: "the push service was silent while others waited", After: firstRest}
	}
	if err != nil {
		err = fault.Wrap(withoutAddress(err), fault.Unavailable, "the push service cannot be reached")
		return &Failure{error: err, Device: device}
	}
	return classify(status, device)
}

// post makes a request and returns the status of the answer.
func (s *Sender) post(req *http.Request) (status int, err error) {
	resp, err := s.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	// so that the connection serves again
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, channel.MaxResponseSize))
	return resp.StatusCode, nil
}

// withoutAddress returns the cause of an error, whose own text has the address: who knows that may write to the device,
// and causes stand in logs.
func withoutAddress(err error) error {
	var at *url.Error
	if errors.As(err, &at) {
		return at.Err
	}
	return err
}

// classify says what an answer means: for now, for this subscription, or for this message.
func classify(status int, device bool) error {
	switch {
	case status/100 == 2:
		return nil
	case status == http.StatusNotFound || status == http.StatusGone:
		return &SubscriptionEnded{status}
	}
	err := fault.New(fault.Unavailable, "the push service answers %d", status)
	final := status < 500 && status != http.StatusTooManyRequests
	return &Failure{error: err, Device: device && status != http.StatusTooManyRequests, Final: final}
}

// IsAllowed reports whether an endpoint may be called at all. Where its name leads is checked at each dial.
func (s *Sender) IsAllowed(endpoint string) bool {
	u, err := url.Parse(endpoint)
	if err != nil || u.Hostname() == "" || u.User != nil {
		return false
	}
	if s.private {
		return u.Scheme == "https" || u.Scheme == "http"
	}
	if ip, err := netip.ParseAddr(u.Hostname()); err == nil && !web.IsPublic(ip) {
		return false
	}
	return u.Scheme == "https"
}
