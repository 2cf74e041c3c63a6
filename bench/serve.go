package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/nats-io/nats.go"
)

// echoSubject is what the echo baseline asks.
const echoSubject = "bench.echo"

// serve is the baseline server of a child process. It announces itself on out and ends when in does.
func serve(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	if len(args) == 0 {
		return errors.New("serve: which baseline?")
	}
	kind := args[0]
	flags := flag.NewFlagSet("serve "+kind, flag.ContinueOnError)
	payloadFile := flags.String("payload", "", "file with the bytes to answer")
	dir := flags.String("dir", "", "folder for the files of the broker, or for mails")
	offers := flags.String("offers", "", "what the order baseline sells, JSON")
	pool := flags.Int("pool", 16, "database connections")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	// The same limits as a gateway that faces people.
	app := fiber.New(fiber.Config{DisableStartupMessage: true, Immutable: true, BodyLimit: 1 << 20,
		ReadTimeout: 30 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute})
	hi := hello{}
	listening := func(addr string) {}
	switch kind {
	case "fiber", "echo":
		payload, err := os.ReadFile(*payloadFile)
		if err != nil {
			return err
		}
		if kind == "fiber" {
			mountBare(app, payload)
			break
		}
		stop, err := mountEcho(ctx, app, payload, *dir)
		if err != nil {
			return err
		}
		defer stop()
	case "broker":
		nats, err := startOpenBroker(*dir)
		if err != nil {
			return err
		}
		defer nats.Shutdown()
		hi.Addr = nats.ClientURL()
		if err := json.NewEncoder(out).Encode(hi); err != nil {
			return err
		}
		_, _ = io.Copy(io.Discard, in) // until the harness lets go
		return nil
	case "pgrow", "pgone":
		shop, err := openShop(ctx, os.Getenv(databaseEnv), []byte(*offers), *pool, kind == "pgone")
		if err != nil {
			return err
		}
		defer shop.close()
		shop.mount(app)
		hi.Tokens = shop.tokens
	case "pgpurchase":
		till, err := openTill(ctx, os.Getenv(databaseEnv), []byte(*offers), *pool, *dir)
		if err != nil {
			return err
		}
		defer till.close()
		till.mount(app)
		listening = func(addr string) { till.run(ctx, addr) }
		hi.Tokens = till.tokens
	default:
		return fmt.Errorf("serve: no baseline %q", kind)
	}

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	hi.Addr = listener.Addr().String()
	listening(hi.Addr)
	if err := json.NewEncoder(out).Encode(hi); err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(io.Discard, in) // until the harness lets go
		_ = app.ShutdownWithTimeout(time.Second)
	}()
	return app.Listener(listener)
}

// mountBare answers the payload at once: what HTTP alone costs.
func mountBare(app *fiber.App, payload []byte) {
	app.Get("/v1/events/:id", func(c *fiber.Ctx) error {
		c.Set(fiber.HeaderContentType, fiber.MIMEApplicationJSON)
		return c.Send(payload)
	})
}

// mountEcho answers the payload after asking for it over NATS: what HTTP and a mesh cost when nobody does any work. The
// server and the connections are of the same kind as those of the system in one process.
func mountEcho(ctx context.Context, app *fiber.App, payload []byte, dir string) (stop func(), err error) {
	b, err := startBroker(ctx, dir)
	if err != nil {
		return nil, err
	}
	gateway, service, err := b.connect()
	if err != nil {
		b.stop()
		return nil, err
	}
	stop = func() {
		gateway.Close()
		service.Close()
		b.stop()
	}
	_, err = service.QueueSubscribe(echoSubject, "echo", func(m *nats.Msg) {
		_ = m.Respond(payload) // the asker times out
	})
	if err == nil {
		err = service.Flush()
	}
	if err != nil {
		stop()
		return nil, err
	}
	app.Get("/v1/events/:id", func(c *fiber.Ctx) error {
		answer, err := gateway.Request(echoSubject, nil, 5*time.Second)
		if err != nil {
			return fiber.ErrServiceUnavailable
		}
		c.Set(fiber.HeaderContentType, fiber.MIMEApplicationJSON)
		return c.Send(answer.Data)
	})
	return stop, nil
}
