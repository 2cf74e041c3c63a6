package challenge_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/user/challenge"
)

func open(clock *testkit.Clock) challenge.Hashcash {
	sum := func(payload []byte) []byte {
		h := hmac.New(sha256.New, []byte("key"))
		h.Write(payload)
		return h.Sum(nil)
	}
	spent := map[string]bool{}
	return challenge.Hashcash{
		MAC:      func(p []byte) (string, []byte) { return "kid", sum(p) },
		CheckMAC: func(_ context.Context, kid string, p, s []byte) bool { return kid == "kid" && hmac.Equal(s, sum(p)) },
		Spend: func(_ context.Context, id string, _ time.Time) (bool, error) {
			fresh := !spent[id]
			spent[id] = true
			return fresh, nil
		},
		Bits: func() int { return 8 }, Now: clock.Now,
	}
}

func TestHashcash(t *testing.T) {
	clock := testkit.NewClock(time.Time{})
	h := open(clock)
	solved := func(purpose, answer string) bool {
		t.Helper()
		ok, err := h.Solved(t.Context(), purpose, answer)
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	answer := challenge.Solve(h.New("login", 0))
	if solved("register", answer) {
		t.Error("an answer is good for another purpose")
	}
	if !solved("login", answer) {
		t.Error("the answer is refused")
	}
	if solved("login", answer) {
		t.Error("an answer is good twice")
	}
	late := challenge.Solve(h.New("login", 0))
	clock.Advance(2*time.Minute + time.Second)
	if solved("login", late) {
		t.Error("a late answer is good")
	}
	c := h.New("login", 0)
	easy := *c
	easy.Nonce, easy.Bits = strings.Replace(c.Nonce, "login.8.", "login.0.", 1), 0
	old := strings.Split(c.Nonce, ".")
	for what, bad := range map[string]string{"made easier": challenge.Solve(&easy), "not solved": unsolved(c),
		"no nonce": ":1", "nothing": "", "no number": c.Nonce, "long": c.Nonce + ":" + strings.Repeat("1", 1000),
		"another key": strings.Join([]string{old[0], "0", old[2], old[3], "other", old[5]}, ".") + ":1",
		"no bits":     strings.Join([]string{old[0], "-1", old[2], old[3], old[4], old[5]}, ".") + ":1"} {
		if solved("login", bad) {
			t.Errorf("an answer that is %s is good", what)
		}
	}
}

// unsolved returns an answer that is wrong.
func unsolved(c *fault.Challenge) string {
	for n := 0; ; n++ {
		if answer := c.Nonce + ":" + strconv.Itoa(n); sha256.Sum256([]byte(answer))[0] != 0 {
			return answer
		}
	}
}

func TestLoadMakesItHarder(t *testing.T) {
	h := open(testkit.NewClock(time.Time{}))
	for load, want := range map[float64]int{0: 8, 1: 8, 2: 9, 5: 10, 1e9: 14} {
		if c := h.New("login", load); c.Bits != want {
			t.Errorf("load %g: %d bits, want %d", load, c.Bits, want)
		}
	}
}

func FuzzSolved(f *testing.F) {
	h := open(testkit.NewClock(time.Time{}))
	h.Bits = func() int { return 60 } // none is found by chance
	f.Add(h.New("login", 0).Nonce + ":0")
	f.Fuzz(func(t *testing.T, answer string) {
		if ok, err := h.Solved(t.Context(), "login", answer); ok || err != nil {
			t.Errorf("%q: %t %v", answer, ok, err)
		}
	})
}
