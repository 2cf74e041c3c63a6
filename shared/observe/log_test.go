package observe_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/starlightsymphony/starlight/shared/observe"
)

func TestLogLine(t *testing.T) {
	var buf bytes.Buffer
	level := new(slog.LevelVar)
	log := observe.NewLogger(&buf, "ticketing", "ticketing-1", level)
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	ctx := observe.ContextWithRequest(t.Context(), "req_9", parent)
	log.DebugContext(ctx, "not yet")
	log.With("event", "evt_1").WarnContext(ctx, "low", "left", 3)

	var line map[string]any
	if err := json.Unmarshal(buf.Bytes(), &line); err != nil {
		t.Fatalf("%v: %s", err, buf.String())
	}
	for key, want := range map[string]any{
		"level": "warn", "msg": "low", "service": "ticketing", "instance": "ticketing-1", "event": "evt_1", "left": 3.0,
		"request_id": "req_9", "trace_id": "0af7651916cd43dd8448eb211c80319c", "span_id": "b7ad6b7169203331",
	} {
		if line[key] != want {
			t.Errorf("%s is %v, want %v", key, line[key], want)
		}
	}
	buf.Reset()
	level.Set(slog.LevelDebug)
	log.Debug("now")
	if !strings.Contains(buf.String(), `"msg":"now"`) {
		t.Error("the level does not follow its variable")
	}
}

type login struct {
	Email    string `json:"email"`
	Password string `json:"password"`
}

// A canary in every place where a secret may hide: none may come out.
func TestSecretsStayOut(t *testing.T) {
	const canary = "C4NARY-S3CRET-VALUE"
	jwt := "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJ1c3JfMSJ9." + canary
	tests := map[string]func(*slog.Logger){
		"password":      func(l *slog.Logger) { l.Info("x", "password", canary) },
		"new password":  func(l *slog.Logger) { l.Info("x", "new_password", canary) },
		"token":         func(l *slog.Logger) { l.Info("x", "Refresh-Token", canary) },
		"authorization": func(l *slog.Logger) { l.Info("x", "Authorization", "Bearer "+canary) },
		"secret":        func(l *slog.Logger) { l.Info("x", "stripe_secret", canary) },
		"code":          func(l *slog.Logger) { l.Info("x", "code", canary) },
		"bytes":         func(l *slog.Logger) { l.Info("x", "seed", []byte(canary)) },
		"group":         func(l *slog.Logger) { l.Info("x", slog.Group("login", "password", canary)) },
		"with":          func(l *slog.Logger) { l.With("token", canary).Info("x") },
		"open group":    func(l *slog.Logger) { l.WithGroup("g").Info("x", "cookie", canary) },
		"struct":        func(l *slog.Logger) { l.Info("x", "login", login{"a@b.c", canary}) },
		"pointers":      func(l *slog.Logger) { l.Info("x", "logins", []*login{{"a@b.c", canary}}) },
		"map": func(l *slog.Logger) {
			l.Info("x", "form",
				map[string]any{"a": map[string]string{"api_key": canary}})
		},
		"http header": func(l *slog.Logger) { l.Info("x", "header", http.Header{"Set-Cookie": {canary}}) },
		"message":     func(l *slog.Logger) { l.Info("dial postgres://bob:" + canary + "@db/x failed") },
		"error with url": func(l *slog.Logger) {
			l.Info("x", "error",
				errors.New("GET https://u:"+canary+"@h/: refused"))
		},
		"joined errors": func(l *slog.Logger) {
			l.Info("x", "error",
				errors.Join(errors.New("nats://u:"+canary+"@h")))
		},
		"query":          func(l *slog.Logger) { l.Info("x", "url", "/v1/reset?a=1&token="+canary+"&b=2") },
		"bearer in text": func(l *slog.Logger) { l.Info("x", "sent", "header was Bearer "+canary) },
		"jwt in text":    func(l *slog.Logger) { l.Info("x", "sent", "got "+jwt) },
		"jwt in a map":   func(l *slog.Logger) { l.Info("x", "sent", map[string]string{"a": jwt}) },
	}
	for name, write := range tests {
		t.Run(name, func(t *testing.T) {
			var buf bytes.Buffer
			write(observe.NewLogger(&buf, "user", "user-1", slog.LevelDebug))
			if strings.Contains(buf.String(), canary) {
				t.Errorf("the secret is in the log: %s", buf.String())
			}
			if !json.Valid(buf.Bytes()) {
				t.Errorf("no JSON: %s", buf.String())
			}
		})
	}
}

func TestOrdinaryValuesStay(t *testing.T) {
	var buf bytes.Buffer
	log := observe.NewLogger(&buf, "user", "user-1", slog.LevelDebug)
	log.Info("GET https://example.org/a?limit=5", "order", "ord_1", "seats", []int{1, 2}, "fault", "not_found",
		"login", login{Email: "a@b.c"}, "error", errors.New("sold out"), "none", nil)
	for _, want := range []string{"https://example.org/a?limit=5", `"order":"ord_1"`, `"seats":[1,2]`,
		`"fault":"not_found"`,
		`"email":"a@b.c"`, `"error":"sold out"`, `"none":null`} {
		if !strings.Contains(buf.String(), want) {
			t.Errorf("line lacks %s: %s", want, buf.String())
		}
	}
}

func TestTraceparent(t *testing.T) {
	const good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	tests := map[string]bool{
		good:                   true,
		"cc" + good[2:]:        true,
		"cc" + good[2:] + "-x": true,
		good[:53] + "00":       true,
		"":                     false,
		good[:54]:              false,
		good + "-x":            false,
		"ff" + good[2:]:        false,
		"cc" + good[2:] + "x":  false,
		strings.ToUpper(good):  false,
		"00-00000000000000000000000000000000-b7ad6b7169203331-01": false,
		"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01": false,
		"00-0af7651916cd43dd8448eb211c80319g-b7ad6b7169203331-01": false,
		"00-0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331-01": false,
	}
	for text, want := range tests {
		got, ok := observe.ParseTraceparent(text)
		if ok != want {
			t.Errorf("%q: %v", text, ok)
		}
		if ok && got.String()[3:52] != text[3:52] {
			t.Errorf("%q comes back as %q", text, got)
		}
	}
	trace, _ := observe.ParseTraceparent(good)
	child := trace.Child()
	if child.TraceID != trace.TraceID || child.SpanID == trace.SpanID || !child.Sampled || !child.Valid() {
		t.Errorf("child of %s is %s", trace, child)
	}
}

func FuzzTraceparent(f *testing.F) {
	f.Add("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	f.Add("ff-")
	f.Fuzz(func(t *testing.T, text string) {
		trace, ok := observe.ParseTraceparent(text)
		if !ok {
			return
		}
		again, ok := observe.ParseTraceparent(trace.String())
		if !ok || again != trace {
			t.Errorf("%q became %q", text, trace)
		}
	})
}

func TestRequestContext(t *testing.T) {
	if _, ok := observe.RequestFrom(t.Context()); ok {
		t.Error("an empty context has a request")
	}
	r, ok := observe.RequestFrom(observe.ContextWithRequest(t.Context(), "req_1", "garbage"))
	if !ok || r.ID != "req_1" || !r.Trace.Valid() {
		t.Errorf("request is %+v", r)
	}
}
