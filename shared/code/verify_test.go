package code_test

import (
	"crypto/ed25519"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/starlightsymphony/starlight/shared/code"
	"github.com/starlightsymphony/starlight/shared/ids"
)

// Codes that are verified at once are good if each is alone, however many are forged, and in which way.
func TestVerify(t *testing.T) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	_, other, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	sign := func(n int64, key ed25519.PrivateKey) code.Signed {
		c, ok := code.Parse(code.Sign(code.Payload{Event: ids.New[ids.EventKind](now), Ticket: ids.New[ids.TicketKind](now),
			Revision: n}, "k1", key))
		if !ok {
			t.Fatal("it is no code")
		}
		return c
	}
	forgeries := []func(*rapid.T, *code.Signed){
		func(rt *rapid.T, c *code.Signed) { // a bit is another one
			c.Signature[rapid.IntRange(0, len(c.Signature)-1).Draw(rt, "byte")] ^= 1 << rapid.IntRange(0, 7).Draw(rt, "bit")
		},
		func(rt *rapid.T, c *code.Signed) { c.Body[rapid.IntRange(0, len(c.Body)-1).Draw(rt, "byte")] ^= 1 },
		func(_ *rapid.T, c *code.Signed) { *c = sign(1, other) },
		func(_ *rapid.T, c *code.Signed) { c.Signature = sign(2, private).Signature },
		func(_ *rapid.T, c *code.Signed) { c.Signature = c.Signature[:63] },
		func(_ *rapid.T, c *code.Signed) { c.Signature = nil },
		func(_ *rapid.T, c *code.Signed) { clear(c.Signature) },
	}
	rapid.Check(t, func(rt *rapid.T) {
		codes := make([]code.Signed, rapid.IntRange(0, 40).Draw(rt, "codes"))
		for i := range codes {
			codes[i] = sign(int64(i), private)
		}
		for range rapid.IntRange(0, 3).Draw(rt, "forged") {
			if len(codes) > 0 {
				i := rapid.IntRange(0, len(codes)-1).Draw(rt, "which")
				if len(codes[i].Signature) == ed25519.SignatureSize {
					forgeries[rapid.IntRange(0, len(forgeries)-1).Draw(rt, "how")](rt, &codes[i])
				}
			}
		}
		for i, good := range code.Verify(public, codes) {
			if want := ed25519.Verify(public, codes[i].Body, codes[i].Signature); good != want {
				rt.Fatalf("code %d of %d is %v, want %v", i, len(codes), good, want)
			}
		}
		for i, good := range code.Verify(public[:31], codes) {
			if good {
				rt.Fatalf("code %d is good for no key", i)
			}
		}
	})
	// Two signatures of which one has as much too much as the other has too little.
	a, b := sign(1, private), sign(2, private)
	for a.Signature[32] == 255 || b.Signature[32] == 0 {
		a, b = sign(1, private), sign(2, private)
	}
	a.Signature[32]++
	b.Signature[32]--
	if got := code.Verify(public, []code.Signed{a, b, sign(3, private), sign(4, private)}); got[0] || got[1] || !got[2] || !got[3] {
		t.Errorf("signatures that make up for each other: %v", got)
	}
}

func BenchmarkVerify(b *testing.B) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		b.Fatal(err)
	}
	now := time.Now()
	for _, n := range []int{1, 8, 64, 256} {
		var codes []code.Signed
		for range n {
			c, _ := code.Parse(code.Sign(code.Payload{Event: ids.New[ids.EventKind](now), Ticket: ids.New[ids.TicketKind](now)}, "k1", private))
			codes = append(codes, c)
		}
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for range b.N/n + 1 {
				code.Verify(public, codes)
			}
		})
	}
}
