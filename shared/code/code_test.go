package code_test

import (
	"crypto/ed25519"
	"strings"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/code"
	"github.com/starlightsymphony/starlight/shared/ids"
)

func TestSignAndParse(t *testing.T) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for _, product := range []bool{false, true} {
		want := code.Payload{Event: ids.New[ids.EventKind](now), Ticket: ids.New[ids.TicketKind](now), Revision: 7,
			Product: product}
		text := code.Sign(want, "k1", private)
		got, ok := code.Parse(text)
		if !ok || got.Payload != want || got.KeyID != "k1" || !ed25519.Verify(public, got.Body, got.Signature) {
			t.Errorf("%+v %v, want %+v", got, ok, want)
		}
		// What a ticket is stands in what was signed: a product's code is not made one of a ticket.
		other, ok := code.Parse("ST1" + text[3:])
		if ok && product && ed25519.Verify(public, other.Body, other.Signature) {
			t.Error("the code of a product passes as that of a ticket")
		}
	}
}

func FuzzParseCode(f *testing.F) {
	f.Add("ST1.abc.01jc0000000000000000000000.01jc0000000000000000000000.1.AAAA")
	f.Add("ST1.....")
	f.Fuzz(func(t *testing.T, text string) {
		c, ok := code.Parse(text)
		if !ok {
			return
		}
		if _, err := ids.Parse[ids.TicketKind](c.Ticket.String()); err != nil {
			t.Fatal(err)
		}
		if body := string(c.Body); !strings.HasPrefix(text, body) || len(body) == len(text) {
			t.Fatalf("body %q of code %q", c.Body, text)
		}
	})
}
