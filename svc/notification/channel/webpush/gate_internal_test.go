package webpush

import (
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// A thousand people with a device each, at a thousand hosts that take connections and say nothing, have messages before
// the one to a stranger, whose push service was never heard of, either. It is there within a second.
func TestUnknownHostBehindThousandSilentOnes(t *testing.T) {
	tarpit, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tarpit.Close() // and with it what it has not taken
	port := tarpit.Addr().(*net.TCPAddr).Port
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusCreated) }))
	defer service.Close()
	key, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	sender, err := New(Config{Key: key, Contact: "mailto:ops@example.org", Now: time.Now, AllowPrivate: true})
	if err != nil {
		t.Fatal(err)
	}
	device, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	send := func(endpoint, person string) error {
		encode := base64.RawURLEncoding.EncodeToString
		return sender.Send(t.Context(), Subscription{Endpoint: endpoint, P256dh: encode(device.PublicKey().Bytes()),
			Auth: encode(make([]byte, 16)), Person: person}, Message{Body: []byte("x"), TTL: time.Minute})
	}
	const silent = 1000
	var all sync.WaitGroup
	defer all.Wait()
	for i := range silent {
		all.Go(func() {
			if err := send(fmt.Sprintf("http://127.2.%d.%d:%d", i/250, 1+i%250, port), fmt.Sprint("person ", i)); err == nil {
				t.Error("a silent host has answered")
			}
		})
	}
	for begun := 0; begun < silent; { // all of them are in the gate before
		sender.gate.mu.Lock()
		begun = len(sender.gate.hosts)
		sender.gate.mu.Unlock()
		time.Sleep(time.Millisecond)
	}
	began := time.Now()
	if err := send(service.URL, "stranger"); err != nil {
		t.Errorf("the stranger's message: %v", err)
	}
	took := time.Since(began)
	t.Logf("behind %d silent hosts a message took %s", silent, took.Round(time.Millisecond))
	if took > time.Second {
		t.Errorf("behind %d silent hosts a message took %s", silent, took)
	}
	sender.gate.mu.Lock()
	defer sender.gate.mu.Unlock()
	if n := len(sender.gate.trying); n > unproven {
		t.Errorf("%d messages are on their way to hosts that never answered", n)
	}
}
