package stripe

import (
	"bufio"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/payment/provider"
)

// TestStripeMock makes every call to stripe-mock, which checks requests against Stripe's own description of its API and
// answers with examples of Stripe's. It remembers nothing: what depends on that is tested with a stand-in.
func TestStripeMock(t *testing.T) {
	door := newRecorder(t, startStripeMock(t))
	now := time.Now()
	s := newTest(t, door.URL, now)
	req := newRequest(now)
	remote, err := s.Create(t.Context(), req)
	if err != nil || !strings.HasPrefix(remote.ID, "cs_") {
		t.Fatalf("create: %+v, %v", remote, err)
	}
	sent := door.only(t, "POST /v1/checkout/sessions")
	for name, want := range map[string]string{
		"mode": "payment", "client_reference_id": req.PaymentID.String(), "success_url": req.ReturnURL, "cancel_url": req.ReturnURL,
		"metadata[payment_id]": req.PaymentID.String(), "payment_intent_data[metadata][order_id]": req.OrderID.String(),
		"line_items[0][price_data][unit_amount]": "5000", "line_items[0][price_data][currency]": "eur", "adaptive_pricing[enabled]": "false",
	} {
		if got := sent.form.Get(name); got != want {
			t.Errorf("create sends %s=%q, want %q", name, got, want)
		}
	}
	if sent.key != req.Key {
		t.Errorf("create has the key %q, want %q", sent.key, req.Key)
	}
	for _, id := range []string{remote.ID, "pi_1"} {
		state, err := s.Fetch(t.Context(), id)
		// The example is of no payment of ours.
		if err != nil || !strings.HasPrefix(state.ID, "cs_") || state.PaymentID != "" {
			t.Errorf("fetch %s: %+v, %v", id, state, err)
		}
	}
	for _, call := range []string{"GET /v1/checkout/sessions/" + remote.ID, "GET /v1/checkout/sessions"} {
		door.only(t, call)
	}
	// The example stays open, whatever is asked of it, and is cancelled as a whole.
	_, err = s.Cancel(t.Context(), remote.ID)
	wantFault(t, err, fault.Unavailable)
	for _, call := range []string{"POST /v1/checkout/sessions/" + remote.ID + "/expire", "POST /v1/payment_intents/"} {
		door.only(t, call)
	}
	refund, err := s.Refund(t.Context(), provider.RefundRequest{Key: "starlight-refund-1", RemoteID: remote.ID, Amount: api.Money{Amount: 2000, Currency: "EUR"}})
	if err != nil || !strings.HasPrefix(refund.ID, "re_") {
		t.Errorf("refund: %+v, %v", refund, err)
	}
	door.only(t, "GET /v1/refunds")
	sent = door.only(t, "POST /v1/refunds")
	if sent.key != "starlight-refund-1" || sent.form.Get("amount") != "2000" || !strings.HasPrefix(sent.form.Get("payment_intent"), "pi_") {
		t.Errorf("refund sends %+v", sent)
	}
}

// startStripeMock runs stripe-mock until the end of the test and returns its URL.
func startStripeMock(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("stripe-mock")
	if home, e := os.UserHomeDir(); err != nil && e == nil {
		path, err = exec.LookPath(filepath.Join(home, "go", "bin", "stripe-mock"))
	}
	if err != nil {
		testkit.Missing(t, "stripe-mock is not installed: go install github.com/stripe/stripe-mock@latest")
	}
	cmd := exec.Command(path, "-http-addr", "127.0.0.1:0", "-https-addr", "127.0.0.1:0") // both: each has a fixed port of its own
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may be over
		_ = cmd.Wait()
	})
	address := regexp.MustCompile(`HTTP at address: (127\.0\.0\.1:[1-9][0-9]*)`)
	found := make(chan string, 1)
	go func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if a := address.FindStringSubmatch(lines.Text()); a != nil {
				select {
				case found <- a[1]:
				default:
				}
			}
		}
		close(found)
	}()
	a, ok := <-found
	if !ok {
		t.Fatal("stripe-mock has ended")
	}
	return "http://" + a
}

// recorder passes requests on and keeps them.
type recorder struct {
	*httptest.Server
	mu   sync.Mutex
	kept []recorded
}

type recorded struct {
	call, key string
	form      url.Values
}

func newRecorder(t *testing.T, to string) *recorder {
	t.Helper()
	target, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	r := new(recorder)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	proxy := &httputil.ReverseProxy{Transport: transport, Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(target) }}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			t.Error(err)
		}
		form, err := url.ParseQuery(string(body))
		if err != nil {
			t.Error(err)
		}
		r.mu.Lock()
		r.kept = append(r.kept, recorded{req.Method + " " + req.URL.Path, req.Header.Get("Idempotency-Key"), form})
		r.mu.Unlock()
		req.Body = io.NopCloser(strings.NewReader(string(body)))
		proxy.ServeHTTP(w, req)
	}))
	t.Cleanup(r.Close)
	return r
}

// only returns the one request of that method and path, or beginning of a path that ends with a slash.
func (r *recorder) only(t *testing.T, call string) (found recorded) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, k := range r.kept {
		if k.call == call || strings.HasSuffix(call, "/") && strings.HasPrefix(k.call, call) {
			found = k
			n++
		}
	}
	if n != 1 {
		t.Errorf("%s was called %d times, want once", call, n)
	}
	return found
}
