package gateway_test

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/nats-io/nats.go"
	"github.com/valyala/fasthttp"

	"github.com/starlightsymphony/starlight/gateway"
	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// hammer sends GET requests over a few dozen connections.
func hammer(b *testing.B, url string, headers ...string) {
	client := &fasthttp.Client{MaxConnsPerHost: 256}
	defer client.CloseIdleConnections()
	b.ReportAllocs()
	b.SetParallelism(32)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		req, resp := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
		req.SetRequestURI(url)
		for i := 0; i < len(headers); i += 2 {
			req.Header.Set(headers[i], headers[i+1])
		}
		for pb.Next() {
			if err := client.Do(req, resp); err != nil || resp.StatusCode() != 200 {
				b.Error(resp.StatusCode(), err)
				return
			}
		}
	})
}

// The team list stands for an answer that its service keeps ready.
const teamPath = "/v1/events/" + string(theEvent) + "/team"

func openHot(b *testing.B) *door {
	d := open(b, withoutLog)
	body := bytes.Repeat([]byte("x"), 420)
	s := d.server("event")
	hot := rpc.Encoded{JSON: body, Tag: "1"}
	rpc.HandleCached(s, api.ListTeam, func(context.Context, *api.EventRef) (rpc.Encoded, bool) { return hot, true },
		func(context.Context, *api.EventRef) (rpc.Encoded, error) { return hot, nil })
	testkit.Serve(d.t, s)
	return d
}

func BenchmarkBrowse(b *testing.B) {
	d := openHot(b)
	hammer(b, d.url+teamPath, "Authorization", "Bearer "+d.token(person()))
}

// BenchmarkBareEcho is Fiber and NATS with nothing between.
func BenchmarkBareEcho(b *testing.B) {
	n := testkit.NATS(b)
	body := bytes.Repeat([]byte("x"), 420)
	if _, err := n.Conn.QueueSubscribe("echo", "q", func(m *nats.Msg) { m.Respond(body) }); err != nil {
		b.Fatal(err)
	}
	nc := n.Connect()
	app := fiber.New(fiber.Config{Immutable: true, DisableStartupMessage: true})
	app.Get("/v1/events/:id", func(c *fiber.Ctx) error {
		m, err := nc.Request("echo", []byte(c.Params("id")), time.Second)
		if err != nil {
			return err
		}
		return c.Send(m.Data)
	})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	go app.Listener(ln)
	defer app.Shutdown()
	hammer(b, "http://"+ln.Addr().String()+"/v1/events/"+string(theEvent))
}

// withoutLog discards the log.
func withoutLog(c *gateway.Config) { c.Log = slog.New(slog.DiscardHandler) }
