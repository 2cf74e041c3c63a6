package notification_test

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/notification"
)

// pushService is a push service that answers with a status, or not at all until it is closed.
type pushService struct {
	*httptest.Server
	status atomic.Int64 // 0: silent
	got    atomic.Int64 // messages
	held   atomic.Int64 // without an answer
	most   atomic.Int64 // of them at a time
	over   chan struct{}
}

func openPushService(t *testing.T, status int64) *pushService {
	p := &pushService{over: make(chan struct{})}
	p.status.Store(status)
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.got.Add(1)
		if status := p.status.Load(); status > 0 {
			w.WriteHeader(int(status))
			return
		}
		p.most.Store(max(p.most.Load(), p.held.Add(1)))
		defer p.held.Add(-1)
		select {
		case <-p.over:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(func() { close(p.over); p.Close() })
	return p
}

// subscribes makes a device of a user.
func (h *harness) subscribes(u api.User, endpoint string) {
	h.t.Helper()
	key, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		h.t.Fatal(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	call(h, u, api.CreatePushSubscription, &api.NewPushSubscription{Endpoint: endpoint,
		Keys: api.PushKeys{P256dh: encode(key.PublicKey().Bytes()), Auth: encode(make([]byte, 16))}})
}

func (h *harness) count(query string, args ...any) (n int) {
	h.t.Helper()
	if err := h.db.Read().NewRaw(query, args...).Scan(context.Background(), &n); err != nil {
		h.t.Fatal(err)
	}
	return n
}

func withPush(t *testing.T, test func(t *testing.T, h *harness)) {
	t.Helper()
	testkit.DB(t, "notification", notification.Migrations(), func(t *testing.T, db *store.DB) {
		test(t, open(t, db, func(d *notification.Deps) { d.PushPrivate, d.PushTimeout = true, time.Minute }))
	})
}

// A thousand messages to devices that never answer hold up no message to others: none of them has timed out when that
// of a stranger is there.
func TestSilentDevicesHoldUpNobody(t *testing.T) {
	withPush(t, func(t *testing.T, h *harness) {
		mallory, ada := h.join("mallory"), h.join("ada")
		silent := openPushService(t, 0)
		for i := range 20 {
			at := silent
			if i%2 == 0 { // most have a host of their own
				at = openPushService(t, 0)
			}
			h.subscribes(mallory, at.URL+"/"+fmt.Sprint(i))
		}
		good := openPushService(t, 201)
		h.subscribes(ada, good.URL+"/ada")
		h.settled()
		for i := range 50 {
			h.publish(api.PasswordChanged.Subject, fmt.Sprint("m", i), api.UserEvent{UserID: mallory.ID})
		}
		h.posted("password_changed", 50)
		h.publish(api.PasswordChanged.Subject, "a", api.UserEvent{UserID: ada.ID})
		testkit.Eventually(t, 50*time.Second, func() error {
			if good.got.Load() == 0 {
				return errors.New("the stranger has no message")
			}
			return nil
		})
		if n := h.count("SELECT COUNT(*) FROM push_subscriptions WHERE failures > 0"); n != 0 {
			t.Errorf("%d messages have timed out before", n)
		}
		if n := silent.most.Load(); n > 2 {
			t.Errorf("%d messages to one person were on their way", n)
		}
		testkit.Eventually(t, 50*time.Second, func() error { // but for those on their way, all have left the stream
			if n := h.count("SELECT COUNT(*) FROM deferrals"); n < 998 {
				return fmt.Errorf("%d are put off", n)
			}
			return nil
		})
	})
}

// A push service that is away is tried again, at longer and longer intervals, and for some hours. Its devices stay.
func TestPushIsPutOff(t *testing.T) {
	withPush(t, func(t *testing.T, h *harness) {
		ada := h.join("ada")
		service := openPushService(t, 503)
		h.subscribes(ada, service.URL+"/ada")
		h.publish(api.PasswordChanged.Subject, "a", api.UserEvent{UserID: ada.ID})
		deferred := func(n int) {
			t.Helper()
			testkit.Eventually(t, 30*time.Second, func() error {
				if got := h.count("SELECT COUNT(*) FROM deferrals"); got != n || service.got.Load() == 0 {
					return fmt.Errorf("%d are put off, want %d; %d tries", got, n, service.got.Load())
				}
				return nil
			})
			h.settled()
		}
		deferred(1)
		h.clock.Advance(time.Minute)
		testkit.Eventually(t, 30*time.Second, func() error {
			if n := service.got.Load(); n != 2 {
				return fmt.Errorf("%d tries", n)
			}
			return nil
		})
		deferred(1)
		service.status.Store(201)
		h.clock.Advance(10 * time.Minute)
		h.delivered("push", "sent", 1)
		if n := h.count("SELECT COUNT(*) FROM push_subscriptions WHERE failures = 0"); n != 1 {
			t.Error("the device still counts as failing")
		}
		// After some hours a message is given up.
		service.status.Store(503)
		h.publish(api.PasswordChanged.Subject, "b", api.UserEvent{UserID: ada.ID})
		deferred(1)
		h.clock.Advance(5 * time.Hour)
		h.delivered("push", "failed", 1)
		deferred(0)
		if left := call(h, ada, api.ListPushSubscriptions, &rpc.None{}); len(left.Items) != 1 {
			t.Error("the device is gone")
		}
	})
}

// A device that takes nothing is dropped, and one whose push service refuses a message keeps no dead letter.
func TestFailingDevicesAreDropped(t *testing.T) {
	withPush(t, func(t *testing.T, h *harness) {
		ada := h.join("ada")
		service := openPushService(t, 400)
		h.subscribes(ada, service.URL+"/ada")
		for i := range 30 {
			h.publish(api.PasswordChanged.Subject, fmt.Sprint(i), api.UserEvent{UserID: ada.ID})
			h.delivered("push", "failed", i+1)
		}
		if left := call(h, ada, api.ListPushSubscriptions, &rpc.None{}); len(left.Items) != 0 {
			t.Error("the device is still there")
		}
		admin := api.User{ID: ids.New[ids.UserKind](time.Now()), Roles: []string{"admin"}}
		if dead := call(h, admin, api.ListDeadLetters, &api.Page{}); len(dead.Items) != 0 {
			t.Errorf("dead letters %+v", dead.Items)
		}
		if strings.Contains(h.log.String(), service.URL) {
			t.Error("the log names the endpoint")
		}
	})
}

// Who knows the endpoint of somebody else's device does not take it over without its keys; the same browser does, when
// another person has signed in there.
func TestDevicesOfOthersStayTheirs(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		ada, eve := h.join("ada"), h.join("eve")
		const endpoint = "https://push.example/of-ada"
		keys := func(auth byte) api.PushKeys {
			key, err := ecdh.P256().GenerateKey(rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			encode := base64.RawURLEncoding.EncodeToString
			return api.PushKeys{P256dh: encode(key.PublicKey().Bytes()), Auth: encode(bytes.Repeat([]byte{auth}, 16))}
		}
		own, other := keys(1), keys(2)
		subscribe := func(u api.User, k api.PushKeys) error {
			_, err := rpc.Call(h.as(u), h.gateway, api.CreatePushSubscription, &api.NewPushSubscription{Endpoint: endpoint, Keys: k})
			return err
		}
		of := func(u api.User) int {
			return h.count("SELECT count(*) FROM push_subscriptions WHERE endpoint = ? AND user_id = ?", endpoint, u.ID)
		}
		if err := subscribe(ada, own); err != nil {
			t.Fatal(err)
		}
		half := api.PushKeys{P256dh: own.P256dh, Auth: other.Auth}
		for _, k := range []api.PushKeys{other, half, {P256dh: other.P256dh, Auth: own.Auth}} {
			if err := subscribe(eve, k); !fault.Is(err, fault.Conflict) {
				t.Errorf("with other keys: %v", err)
			}
		}
		if of(ada) != 1 || of(eve) != 0 {
			t.Errorf("Ada has %d, Eve %d", of(ada), of(eve))
		}
		if err := subscribe(ada, other); err != nil { // her own, renewed
			t.Error(err)
		}
		if err := subscribe(eve, other); err != nil || of(ada) != 0 || of(eve) != 1 {
			t.Errorf("in the same browser: Ada has %d, Eve %d, %v", of(ada), of(eve), err)
		}
	})
}
