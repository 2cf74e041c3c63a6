package observe

import (
	"encoding/json"
	"log/slog"
	"regexp"
	"strings"
	"time"
)

// redacted stands in a log line where a secret would have been.
const redacted = "[redacted]"

// What secrets look like inside a text: credentials in a URL, secret query values, bearer tokens, JWTs.
var (
	urlUserinfo = regexp.MustCompile(`(://)[^/?#\s"'@]*:[^/?#\s"']*@`)
	urlQuery    = regexp.MustCompile(
		`(?i)([?&](?:[a-z_-]*token|ticket|code|key|api_?key|password|[a-z_-]*secret|sig|signature)=)[^&#\s"']+`)
	bearer  = regexp.MustCompile(`(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}`)
	jwtText = regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)?`)
)

// secretKey tells whether the value of a log attribute of that name is a secret. A plain "code" is one (it opens a
// door); the code of a fault is logged as "fault".
func secretKey(key string) bool {
	k := strings.ReplaceAll(strings.ToLower(key), "-", "_")
	switch k {
	case "code", "ticket_code", "reset_code", "pin", "otp", "jwt", "seed", "nkey", "nkey_seed", "cookie", "set_cookie",
		"api_key", "apikey", "private_key", "signing_key", "creds", "credentials", "signature", "pwd", "dsn":
		return true
	}
	for _, part := range []string{"password", "passwd", "passphrase", "secret", "token", "authorization"} {
		if strings.Contains(k, part) {
			return true
		}
	}
	return false
}

// scrub takes what looks like a secret out of a text.
func scrub(s string) string {
	if strings.Contains(s, "://") {
		s = urlUserinfo.ReplaceAllString(s, "${1}"+redacted+"@")
	}
	if strings.Contains(s, "=") {
		s = urlQuery.ReplaceAllString(s, "${1}"+redacted)
	}
	if strings.Contains(s, " ") {
		s = bearer.ReplaceAllString(s, "${1} "+redacted)
	}
	if strings.Contains(s, "eyJ") {
		s = jwtText.ReplaceAllString(s, redacted)
	}
	return s
}

// replaceAttr is the slog hook that keeps secrets out and writes levels in lower case.
func replaceAttr(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.LevelKey {
		if level, ok := a.Value.Any().(slog.Level); ok {
			return slog.String(slog.LevelKey, levelName(level))
		}
	}
	if a.Key != slog.MessageKey && secretKey(a.Key) {
		return slog.String(a.Key, redacted)
	}
	switch a.Value.Kind() {
	case slog.KindString:
		a.Value = slog.StringValue(scrub(a.Value.String()))
	case slog.KindAny:
		a.Value = cleanAny(a.Value.Any())
	case slog.KindDuration:
		a.Value = slog.StringValue(a.Value.Duration().String())
	}
	return a
}

// cleanAny renders a value that slog would hand to encoding/json, whose fields no hook sees.
func cleanAny(v any) slog.Value {
	switch v := v.(type) {
	case nil:
		return slog.AnyValue(nil)
	case error:
		return slog.StringValue(scrub(v.Error()))
	case slog.Level, time.Time, *slog.Source:
		return slog.AnyValue(v)
	case interface{ String() string }:
		return slog.StringValue(scrub(v.String()))
	}
	data, err := json.Marshal(v)
	if err != nil {
		return slog.StringValue("!ERROR: " + err.Error())
	}
	var tree any
	if err := json.Unmarshal(data, &tree); err != nil {
		return slog.StringValue("!ERROR: " + err.Error())
	}
	return slog.AnyValue(cleanTree(tree))
}

func cleanTree(v any) any {
	switch v := v.(type) {
	case string:
		return scrub(v)
	case []any:
		for i := range v {
			v[i] = cleanTree(v[i])
		}
	case map[string]any:
		for k := range v {
			if secretKey(k) {
				v[k] = redacted
			} else {
				v[k] = cleanTree(v[k])
			}
		}
	}
	return v
}
