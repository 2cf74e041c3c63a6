package notification_test

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/notification"
)

// tarpit accepts connections at every address of this machine, and never answers.
type tarpit struct {
	port int
	open atomic.Int64 // connections
	most atomic.Int64 // of them at a time
}

func openTarpit(t *testing.T) *tarpit {
	t.Helper()
	ln, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &tarpit{port: ln.Addr().(*net.TCPAddr).Port}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			p.most.Store(max(p.most.Load(), p.open.Add(1)))
			go func() {
				defer p.open.Add(-1)
				defer c.Close()
				buf := make([]byte, 4096)
				for err == nil { // until the other side has enough
					_, err = c.Read(buf)
				}
			}()
		}
	}()
	return p
}

// host returns the address of the nth host.
func (p *tarpit) host(n int) string {
	return fmt.Sprintf("http://127.1.%d.%d:%d", n/250, 1+n%250, p.port)
}

// A thousand devices that never answer, of fifty people and each at a host of its own, have messages before those to two
// strangers, of whom one is at a host that has never answered, either. They are there before the first of them has timed
// out, which takes as long as it takes.
func TestThousandTarpits(t *testing.T) {
	withPush(t, func(t *testing.T, h *harness) {
		const people, devices = 50, 20
		p, good, unknown := openTarpit(t), openPushService(t, 201), openPushService(t, 201)
		ada, bob := h.join("ada"), h.join("bob")
		h.subscribes(ada, good.URL+"/ada")
		h.publish(api.PasswordChanged.Subject, "first", api.UserEvent{UserID: ada.ID})
		h.delivered("push", "sent", 1) // her push service has answered once
		h.subscribes(bob, unknown.URL+"/bob")
		var crowd []api.User
		for i := range people {
			u := h.join(fmt.Sprintf("mallory%d", i))
			for n := range devices {
				h.subscribes(u, p.host(i*devices+n))
			}
			crowd = append(crowd, u)
		}
		h.settled()
		for _, u := range crowd {
			h.publish(api.PasswordChanged.Subject, u.ID.String(), api.UserEvent{UserID: u.ID})
		}
		h.posted("password_changed", 1+people)
		began := time.Now()
		h.publish(api.PasswordChanged.Subject, "a", api.UserEvent{UserID: ada.ID})
		h.publish(api.PasswordChanged.Subject, "b", api.UserEvent{UserID: bob.ID})
		testkit.Eventually(t, 50*time.Second, func() error {
			if good.got.Load() < 2 || unknown.got.Load() < 1 {
				return fmt.Errorf("the strangers have %d and %d messages", good.got.Load(), unknown.got.Load())
			}
			return nil
		})
		t.Logf("behind %d devices that never answer two messages took %s", people*devices, time.Since(began).Round(time.Millisecond))
		if n := h.count("SELECT COUNT(*) FROM push_subscriptions WHERE failures > 0"); n != 0 {
			t.Errorf("%d messages have timed out before", n)
		}
		if n := p.most.Load(); n == 0 || n > 2*people {
			t.Errorf("%d hosts that have never answered were written to at a time, for %d people", n, people)
		}
	})
}

// A provider of text messages that accepts and never answers holds up text messages, of which a few are on their way at a
// time, and nothing else. When it is well again they arrive.
func TestSilentSMSProvider(t *testing.T) {
	testkit.DB(t, "notification", notification.Migrations(), func(t *testing.T, db *store.DB) {
		p := openSMSService(t)
		var silent atomic.Bool
		var held, most, over atomic.Int64
		well := make(chan struct{})
		front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if silent.Load() {
				most.Store(max(most.Load(), held.Add(1)))
				defer held.Add(-1)
				select {
				case <-well:
				case <-r.Context().Done():
					over.Add(1)
					return
				}
			}
			p.Config.Handler.ServeHTTP(w, r)
		}))
		t.Cleanup(front.Close)
		h := open(t, db, func(d *notification.Deps) {
			d.SMSURL = strings.Replace(front.URL, "http://", "http://AC1:secret@", 1) + "?from=%2B4930123456"
		})
		ada, bob := h.join("ada"), h.join("bob")
		h.confirmPhone(ada, p, "+4915112345678")
		h.settled()
		silent.Store(true)
		const messages = 9 // and the code is the tenth of the day
		for i := range messages {
			h.publish(api.PasswordChanged.Subject, fmt.Sprint(i), api.UserEvent{UserID: ada.ID})
		}
		testkit.Eventually(t, 20*time.Second, func() error {
			if held.Load() == 0 {
				return errors.New("no message is on its way")
			}
			return nil
		})
		began := time.Now()
		h.publish(api.LoginsHaveFailed.Subject, "b", api.UserEvent{UserID: bob.ID})
		h.mails("logins_failed", 1)
		t.Logf("beside a silent provider of text messages a mail took %s", time.Since(began).Round(time.Millisecond))
		h.mails("password_changed", messages)
		if n := len(p.messages(t, 1)); n != 1 {
			t.Errorf("%d text messages were taken", n)
		}
		if n := most.Load(); n > 4 {
			t.Errorf("%d text messages were on their way at a time", n)
		}
		close(well)
		h.clock.Advance(time.Minute) // those that were put off are due
		h.delivered("sms", "sent", 1+messages)
		p.mu.Lock()
		defer p.mu.Unlock()
		if n := len(p.got); n < 1+messages || n > 1+messages+int(over.Load()) {
			t.Errorf("%d text messages, of which %d were cut off", n, over.Load())
		}
	})
}

// confirmPhone gives somebody a number, to which messages of their account go.
func (h *harness) confirmPhone(u api.User, p *smsService, number string) {
	h.t.Helper()
	call(h, u, api.PutPreferences, &api.Preferences{Kinds: []api.Preference{{Kind: api.AboutAccount, Email: true, SMS: true, Inbox: true}}})
	h.setProfile(u, api.Profile{Phone: number})
	tokens, err := rpc.Call(h.t.Context(), h.gateway, api.CreateSession, &api.Login{Email: u.Email, Password: "correct horse battery"})
	if err != nil {
		h.t.Fatal(err)
	}
	as := h.signedIn(u, tokens.Tokens)
	if _, err := rpc.Call(as, h.gateway, api.RequestPhoneConfirmation, &rpc.None{}); err != nil {
		h.t.Fatal(err)
	}
	code := regexp.MustCompile(`[0-9]{6}`).FindString(p.messages(h.t, 1)[0].Get("Body"))
	if _, err := rpc.Call(as, h.gateway, api.ConfirmPhoneNumber, &api.ConfirmPhone{Code: code}); err != nil {
		h.t.Fatal(err)
	}
}
