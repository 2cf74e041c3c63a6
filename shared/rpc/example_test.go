package rpc_test

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// Greeting is a request: Name comes from the path, Loud from the body.
type Greeting struct {
	Name string `json:"-" path:"name"`
	Loud bool   `json:"loud,omitempty"`
}

// Greeted is its answer.
type Greeted struct {
	Text string `json:"text"`
}

// Greet is the declaration that the service, its callers and the gateway share.
var Greet = rpc.Endpoint[Greeting, Greeted]{Spec: rpc.Spec{Service: "greeter", Name: "greet", Method: "POST", Path: "/v1/greetings/{name}",
	Access: rpc.Public, Summary: "Say hello"}}

func Example() {
	ns, _ := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, NoSigs: true})
	ns.Start()
	defer ns.Shutdown()
	nc, err := nats.Connect(ns.ClientURL())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer nc.Close()

	// The service binds a handler to the declaration.
	srv := rpc.NewServer(nc, rpc.ServerConfig{Service: "greeter", Log: slog.New(slog.DiscardHandler), Registry: observe.NewRegistry()})
	rpc.Handle(srv, Greet, func(_ context.Context, req *Greeting) (*Greeted, error) {
		if req.Name == "Eve" {
			return nil, fault.New(fault.NotFound, "Eve is not here")
		}
		return &Greeted{Text: "hello " + req.Name}, nil
	})
	ctx := context.Background()
	if err := srv.Start(ctx); err != nil {
		fmt.Println(err)
		return
	}
	defer srv.Drain(ctx)

	// Another service calls it.
	client := rpc.NewClient(nc, rpc.ClientConfig{Name: "caller"})
	resp, err := rpc.Call(ctx, client, Greet, &Greeting{Name: "Ada"})
	fmt.Println(resp.Text, err)
	_, err = rpc.Call(ctx, client, Greet, &Greeting{Name: "Eve"})
	fmt.Println(err, fault.Is(err, fault.NotFound))
	// Output:
	// hello Ada <nil>
	// not_found: Eve is not here true
}
