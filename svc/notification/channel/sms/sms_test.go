package sms

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/svc/notification/channel"
)

func TestAddresses(t *testing.T) {
	for _, bad := range []string{"", "https://host?from=x", "http://a:secret@host?from=x", "https://a:secret@host"} {
		if _, err := New(bad); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// An answer is about the moment, the number, or the message.
func TestAnswers(t *testing.T) {
	var status int
	var body string
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}))
	defer provider.Close()
	s, err := New(strings.Replace(provider.URL, "http://", "http://AC1:token@", 1) + "?from=1")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		status int
		body   string
		code   fault.Code
	}{
		{201, "", ""}, {429, "", fault.Unavailable}, {503, "", fault.Unavailable}, {401, "", fault.Unavailable},
		{400, `{"code": 21602}`, fault.Invalid}, {400, "not JSON", fault.Invalid},
	} {
		status, body = c.status, c.body
		if err := s.Send(t.Context(), "+491", "x"); c.code == "" && err != nil || c.code != "" && !fault.Is(err, c.code) {
			t.Errorf("%d %s is %v, want %q", c.status, c.body, err, c.code)
		}
	}
	status, body = 400, `{"code": 21211, "message": "no\nnumber"}`
	var never *channel.Undeliverable
	if err := s.Send(t.Context(), "+491", "x"); !errors.As(err, &never) || never.Reason != "21211: no number" {
		t.Errorf("a bad number is %v", err)
	}
}
