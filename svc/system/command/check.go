package command

import (
	"errors"
	"fmt"
	"net"
	"net/mail"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/starlightsymphony/starlight/svc/system"
	"github.com/starlightsymphony/starlight/svc/user/passwords"
)

// check says of the first wrong setting which variable holds it and what it has to look like, before anything is
// started. It never repeats a value that may hold a secret.
func check(cfg system.Config) error {
	for _, c := range []struct {
		name string
		err  error
	}{
		{"STARLIGHT_HTTP", address(cfg.HTTP)},
		{"STARLIGHT_OPS", or("off", cfg.Ops, address)},
		{"STARLIGHT_NATS", or("", cfg.NATS, address)},
		{"STARLIGHT_NATS_URL", servers(cfg.NATSURL)},
		{"STARLIGHT_DATABASE_URL", databaseURL(cfg.DatabaseURL)},
		{"STARLIGHT_REPLICAS", replicas(cfg)},
		{"STARLIGHT_PUBLIC_URL", base(cfg.PublicURL)},
		{"STARLIGHT_CALLBACK_URL", base(cfg.CallbackURL)},
		{"STARLIGHT_STRIPE_URL", base(cfg.Stripe.URL)},
		{"STARLIGHT_VIES_URL", base(cfg.VIESURL)},
		{"STARLIGHT_SMTP_URL", outside(cfg.SMTPURL, "smtp://user:password@host:port or the same with smtps", "smtp",
			"smtps")},
		{"STARLIGHT_SMS_URL", outside(cfg.SMSURL, "https://account:token@host?from=NUMBER", "https", "http")},
		{"STARLIGHT_TRUSTED_PROXY", proxies(cfg.TrustedProxies)},
		{"STARLIGHT_ADMIN_EMAIL", or("", cfg.AdminEmail, plainAddress)},
		{"STARLIGHT_ADMIN_PASSWORD", password(cfg.AdminPassword)},
	} {
		if c.err != nil {
			return fmt.Errorf("%s: %w", c.name, c.err)
		}
	}
	if len(cfg.Roles) == 0 || slices.Contains(cfg.Roles, "gateway") {
		return nil
	}
	for _, role := range []string{"payment", "notification"} { // without a gateway beside them they cannot know
		if slices.Contains(cfg.Roles, role) && cfg.PublicURL == "" {
			return fmt.Errorf(
				"%s writes links into what people get: it needs STARLIGHT_PUBLIC_URL, where they reach the gateway",
				role)
		}
	}
	return nil
}

// or leaves out a value that needs no check.
func or(fine, value string, check func(string) error) error {
	if value == fine {
		return nil
	}
	return check(value)
}

func address(value string) error {
	host, port, err := net.SplitHostPort(value)
	if err != nil {
		return fmt.Errorf("%q is no address such as 127.0.0.1:8080", value)
	}
	if strings.ContainsAny(host, " /@") {
		return fmt.Errorf("%q is no host", host)
	}
	return portNumber(port)
}

func portNumber(text string) error {
	if n, err := strconv.Atoi(text); err != nil || n < 0 || n > 65535 {
		return fmt.Errorf("%q is no port: it is a number up to 65535", text)
	}
	return nil
}

// parsed parses a URL that has one of the schemes and a host. The error holds nothing of the value.
func parsed(value, form string, schemes ...string) (*url.URL, error) {
	u, err := url.Parse(value)
	if err != nil || u.Hostname() == "" || !slices.Contains(schemes, u.Scheme) {
		return nil, errors.New("it must have the form " + form)
	}
	if u.Port() != "" {
		if err := portNumber(u.Port()); err != nil {
			return nil, err
		}
	}
	return u, nil
}

// base checks a URL that paths are appended to.
func base(value string) error {
	if value == "" {
		return nil
	}
	const form = "https://tickets.example.org"
	u, err := parsed(value, form, "https", "http")
	if err == nil && (u.User != nil || u.RawQuery != "" || u.Fragment != "") {
		err = errors.New("it must have the form " + form + ", without user, query and fragment")
	}
	return err
}

func outside(value, form string, schemes ...string) error {
	if value == "" {
		return nil
	}
	_, err := parsed(value, form, schemes...)
	return err
}

func servers(list string) error {
	if list == "" {
		return nil
	}
	for s := range strings.SplitSeq(list, ",") {
		s = strings.TrimSpace(s)
		if !strings.Contains(s, "://") {
			s = "nats://" + s
		}
		if _, err := parsed(s, "nats://host:4222, or several with commas between", "nats", "tls", "ws",
			"wss"); err != nil {
			return err
		}
	}
	return nil
}

func databaseURL(value string) error {
	scheme, _, _ := strings.Cut(value, ":")
	if value != "" && !slices.Contains([]string{"sqlite", "postgres", "postgresql"}, scheme) {
		return errors.New("a database URL begins with postgres:// or sqlite:DIR")
	}
	return nil
}

func replicas(cfg system.Config) error {
	switch {
	case cfg.Replicas != 0 && cfg.Replicas != 1 && cfg.Replicas != 3:
		return fmt.Errorf("it is 1 or 3, not %d", cfg.Replicas)
	case cfg.Replicas == 3 && cfg.NATSURL == "":
		return errors.New("the embedded NATS server is one server and keeps one copy; three need STARLIGHT_NATS_URL")
	}
	return nil
}

func proxies(list []string) error {
	for _, text := range list {
		if _, err := netip.ParseAddr(text); err == nil {
			continue
		}
		if _, err := netip.ParsePrefix(text); err != nil {
			return fmt.Errorf("%q is neither an address nor a range such as 10.0.0.0/8", text)
		}
	}
	return nil
}

func plainAddress(value string) error {
	if a, err := mail.ParseAddress(value); err != nil || a.Address != value {
		return fmt.Errorf("%q is no mail address such as ada@example.org", value)
	}
	return nil
}

func password(value string) error {
	if n := len([]rune(value)); value != "" && (n < passwords.Shortest || n > passwords.Longest) {
		return fmt.Errorf("it must have %d to %d characters", passwords.Shortest, passwords.Longest)
	}
	return nil
}
