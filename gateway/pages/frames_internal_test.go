package pages

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"image"
	"image/color"
	"image/jpeg"
	"testing"

	"github.com/valyala/fasthttp"
	"rsc.io/qr"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
)

// counter is the computer of a venue at which one token is good.
type counter struct{}

func (counter) Ask(_ context.Context, _, token string, req any) (any, error) {
	if token != "good" {
		return nil, fault.New(fault.Unauthenticated, "a stranger")
	}
	return &api.Event{ID: req.(*api.EventRef).ID}, nil
}

func (counter) SignIn(context.Context, *api.Login, api.FactorProof) (*Entered, error) {
	return nil, errors.New("not asked")
}
func (counter) SignOut(context.Context, string) error { return nil }
func (counter) Standing() Standing                    { return Standing{} }

// frameOf is a frame with a code, as a browser sends it.
func frameOf(t *testing.T, text string) []byte {
	t.Helper()
	code, err := qr.Encode(text, qr.M)
	if err != nil {
		t.Fatal(err)
	}
	const module, quiet = 6, 4
	side := (code.Size + 2*quiet) * module
	m := image.NewGray(image.Rect(0, 0, side, side))
	for y := range side {
		for x := range side {
			m.SetGray(x, y, color.Gray{230})
			if code.Black(x/module-quiet, y/module-quiet) {
				m.SetGray(x, y, color.Gray{30})
			}
		}
	}
	var b bytes.Buffer
	if err := jpeg.Encode(&b, m, nil); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// The computer of a venue reads frames for those at its doors, and for nobody else; what is none is refused, and one
// without a code says nothing.
func TestFrames(t *testing.T) {
	s, err := New(Config{Here: counter{}})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(token string, body []byte) (int, string, error) {
		rc := &fasthttp.RequestCtx{}
		rc.Request.SetBodyRaw(body)
		v := &visit{Request: &Request{RC: rc, Param: func(string) string { return "evt_01k3q8v5z7m2n4p6r8s9t0w1xy" }}, site: s, access: token}
		err := s.frame(v)
		return rc.Response.StatusCode(), string(rc.Response.Body()), err
	}
	status, body, err := ask("good", frameOf(t, "SS1.a ticket \"<"))
	var got struct{ Code string }
	if err != nil || status != 200 || json.Unmarshal([]byte(body), &got) != nil || got.Code != "SS1.a ticket \"<" {
		t.Errorf("%d %s %v", status, body, err)
	}
	blank := &bytes.Buffer{}
	if err := jpeg.Encode(blank, image.NewGray(image.Rect(0, 0, 640, 480)), nil); err != nil {
		t.Fatal(err)
	}
	if status, body, err := ask("good", blank.Bytes()); err != nil || status != 204 || body != "" {
		t.Errorf("without a code: %d %s %v", status, body, err)
	}
	large := &bytes.Buffer{}
	if err := jpeg.Encode(large, image.NewGray(image.Rect(0, 0, 2000, 1000)), nil); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		token string
		body  []byte
		code  fault.Code
	}{
		"a stranger": {"", frameOf(t, "x"), fault.Unauthenticated}, "nothing": {"good", nil, fault.Invalid},
		"half": {"good", frameOf(t, "x")[:200], fault.Invalid}, "a page": {"good", []byte("<svg/>"), fault.Invalid},
		"much": {"good", make([]byte, mostFrame+1), fault.TooLarge}, "many pixels": {"good", large.Bytes(), fault.TooLarge},
	} {
		if _, _, err := ask(c.token, c.body); !fault.Is(err, c.code) {
			t.Errorf("%s: %v, want %v", name, err, c.code)
		}
	}
	// One of each session, and no more than there are places: others are left out at once.
	f := newFrames()
	places := make(chan struct{}, 2)
	done, ok := f.take(places, "a")
	if _, again := f.take(places, "a"); !ok || again {
		t.Errorf("a session has %v, and %v again", ok, again)
	}
	if _, other := f.take(places, "b"); !other {
		t.Error("there is no place for another session")
	}
	if _, third := f.take(places, "c"); third {
		t.Error("there is a third place of two")
	}
	done()
	if _, ok := f.take(places, "c"); !ok {
		t.Error("the place is not given back")
	}
}
