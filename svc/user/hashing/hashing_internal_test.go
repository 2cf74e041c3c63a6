package hashing

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/observe"
)

func TestHash(t *testing.T) {
	h := New(1, observe.NewRegistry(), time.Now)
	a, b := h.Hash("a password"), h.Hash("a password")
	if a == b {
		t.Error("two hashes are the same: no salt")
	}
	if ok, outdated, err := h.Verify("a password", a); !ok || outdated || err != nil {
		t.Errorf("verify: %v %v %v", ok, outdated, err)
	}
	if ok, _, err := h.Verify("b password", a); ok || err != nil {
		t.Errorf("verify of another password: %v %v", ok, err)
	}
	if ok, _, err := h.Verify("", h.Dummy); ok || err != nil {
		t.Errorf("verify against the dummy: %v %v", ok, err)
	}
	for _, bad := range []string{"", "$argon2i$v=19$m=19456,t=2,p=1$YWJjZGVmZ2g$" + strings.Repeat("A", 43),
		"$argon2id$v=18$m=19456,t=2,p=1$YWJjZGVmZ2g$" + strings.Repeat("A", 43),
		"$argon2id$v=19$m=4294967295,t=2,p=1$YWJjZGVmZ2g$" + strings.Repeat("A", 43),
		"$argon2id$v=19$m=19456,t=0,p=1$YWJjZGVmZ2g$" + strings.Repeat("A", 43), a[:len(a)-2], a + "$"} {
		if _, _, err := h.Verify("a password", bad); !errors.Is(err, ErrHash) {
			t.Errorf("verify against %q: %v, want ErrHash", bad, err)
		}
	}
}
