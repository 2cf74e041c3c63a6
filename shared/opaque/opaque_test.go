package opaque_test

import (
	"strings"
	"testing"

	"github.com/starlightsymphony/starlight/shared/opaque"
)

func TestTokens(t *testing.T) {
	token, hash := opaque.New("rt_")
	other, _ := opaque.New("rt_")
	if token == other || len(token) != 3+43 || hash != opaque.Hash(token) || len(hash) != 64 || strings.Contains(hash, token) {
		t.Errorf("%s %s, %s", token, other, hash)
	}
	if got := opaque.Hash("abc"); got != "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" { // FIPS 180-2
		t.Errorf("the hash of abc is %s", got)
	}
	for text, want := range map[string]bool{token: true, token[3:]: false, token[:45]: false, token + "A": false, "": false,
		"pr_" + token[3:]: false, "rt_" + strings.Repeat("=", 43): false, "rt_" + strings.Repeat("_", 43): false} {
		if got := opaque.Is("rt_", text); got != want {
			t.Errorf("%q: %t", text, got)
		}
	}
}
