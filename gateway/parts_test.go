package gateway_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/starlightsymphony/starlight/gateway"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

var getLong = rpc.Endpoint[rpc.None, []string]{Spec: rpc.Spec{Service: "books", Name: "get", Method: "GET", Path: "/v1/long", Access: rpc.User}}

// An answer in parts reaches the client as one body, and one that cannot be finished is not taken for whole.
func TestAnswerInParts(t *testing.T) {
	const pieces, size = 40, 512 << 10
	var broken, away atomic.Int64
	d := open(t, func(c *gateway.Config) { c.Endpoints = append(c.Endpoints, getLong.Describe()) })
	s := d.server("books")
	rpc.HandleParts(s, getLong, func(ctx context.Context, _ *rpc.None, at string) (rpc.Part, error) {
		n, _ := strconv.Atoi(at)
		switch {
		case int64(n) == broken.Load() && n > 0:
			return rpc.Part{}, fault.New(fault.Internal, "no")
		case n == 7 && away.Add(-1) >= 0:
			return rpc.Part{}, fault.New(fault.Unavailable, "not now")
		case rpc.Caller(ctx).User == "":
			return rpc.Part{}, fault.New(fault.Unauthenticated, "who?")
		}
		text := fmt.Sprintf("%08d", n) + strings.Repeat("x", size-8)
		if n == pieces-1 {
			return rpc.Part{Body: []byte(text)}, nil
		}
		return rpc.Part{Body: []byte(text), Next: strconv.Itoa(n + 1)}, nil
	})
	testkit.Serve(t, s)
	bearer := "Bearer " + d.token(person())

	away.Store(2)
	got := d.do("GET", "/v1/long", "", "Authorization", bearer, "Starlight-Part", "39")
	if got.StatusCode != 200 || len(got.body) != pieces*size || got.Header.Get("Content-Type") != "application/json" {
		t.Fatalf("%d with %d bytes", got.StatusCode, len(got.body))
	}
	for n := range pieces {
		if at := got.body[n*size:][:8]; at != fmt.Sprintf("%08d", n) {
			t.Fatalf("piece %d is %s", n, at)
		}
	}
	if head := d.do("HEAD", "/v1/long", "", "Authorization", bearer); head.StatusCode != 200 || head.body != "" {
		t.Errorf("HEAD: %d %q", head.StatusCode, head.body)
	}

	broken.Store(9)
	req, err := http.NewRequestWithContext(t.Context(), "GET", d.url+"/v1/long", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", bearer)
	resp, err := d.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if n, err := io.Copy(io.Discard, resp.Body); err == nil {
		t.Errorf("an answer that broke off after %d bytes reads as whole", n)
	}
	if !strings.Contains(d.log.String(), "an answer broke off") {
		t.Error("the log has no line of it")
	}
}
