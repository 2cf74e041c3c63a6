package command_test

import (
	"os"
	"path/filepath"
	"testing"
)

// A wrong setting is one clear line that names the variable, and nothing is started.
func TestWrongSettings(t *testing.T) {
	t.Parallel()
	alone := []string{"up", "--http=127.0.0.1:0", "--ops=off", "--nats=127.0.0.1:0"}
	for env, words := range map[string]string{
		"STARLIGHT_SMTP_URL=foo":                        "STARLIGHT_SMTP_URL: it must have the form smtp://",
		"STARLIGHT_SMTP_URL=smtp://nohost:99999":        `STARLIGHT_SMTP_URL: "99999" is no port`,
		"STARLIGHT_SMTP_URL=smtp://":                    "STARLIGHT_SMTP_URL: it must have the form",
		"STARLIGHT_SMS_URL=foo":                         "STARLIGHT_SMS_URL: it must have the form",
		"STARLIGHT_PUBLIC_URL=tickets.example.org":      "STARLIGHT_PUBLIC_URL: it must have the form https://",
		"STARLIGHT_PUBLIC_URL=https://example.org/?a=b": "STARLIGHT_PUBLIC_URL: ",
		"STARLIGHT_CALLBACK_URL=ftp://example.org":      "STARLIGHT_CALLBACK_URL: it must have the form",
		"STARLIGHT_STRIPE_URL=foo":                      "STARLIGHT_STRIPE_URL: it must have the form",
		"STARLIGHT_REPLICAS=2":                          "STARLIGHT_REPLICAS: it is 1 or 3, not 2",
		"STARLIGHT_REPLICAS=3":                          "STARLIGHT_REPLICAS: the embedded NATS server is one server",
		"STARLIGHT_ADMIN_PASSWORD=short":                "STARLIGHT_ADMIN_PASSWORD: it must have 8 to 256 characters",
		"STARLIGHT_ADMIN_EMAIL=ada":                     `STARLIGHT_ADMIN_EMAIL: "ada" is no mail address`,
		"STARLIGHT_DATABASE_URL=mysql://u:hunter22@db": "STARLIGHT_DATABASE_URL: a database URL begins with " +
			"postgres://",
		"STARLIGHT_NATS_URL=http://n1":  "STARLIGHT_NATS_URL: it must have the form nats://",
		"STARLIGHT_TRUSTED_PROXY=proxy": `STARLIGHT_TRUSTED_PROXY: "proxy" is neither`,
	} {
		fails(t, []string{env}, words, append(alone, "--data="+t.TempDir())...)
	}
	for flag, words := range map[string]string{"--http=foo": "STARLIGHT_HTTP: ",
		"--ops=127.0.0.1:70000": "STARLIGHT_OPS: ", "--nats=1.2.3.4": "STARLIGHT_NATS: "} {
		fails(t, nil, words, append(alone, "--data="+t.TempDir(), flag)...)
	}
	for _, role := range []string{"payment", "notification"} {
		fails(t, []string{"STARLIGHT_NATS_URL=nats://127.0.0.1:1",
			"STARLIGHT_DATABASE_URL=postgres://u:p@127.0.0.1:1/x"}, "it needs STARLIGHT_PUBLIC_URL", "run", role)
	}
	data := t.TempDir()
	if err := os.WriteFile(filepath.Join(data, "outbox"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	fails(t, nil, filepath.Join(data, "outbox")+": not a directory", append(alone, "--data="+data)...)
}
