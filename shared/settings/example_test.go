package settings_test

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/starlightsymphony/starlight/shared/settings"
)

// A setting is declared once, with its bounds. Its value follows the bucket, which any process, or the nats tool, may
// change.
func Example() {
	dir, err := os.MkdirTemp("", "settings")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	ns, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: dir,
		NoSigs: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	ns.Start()
	defer ns.WaitForShutdown()
	defer ns.Shutdown()
	nc, err := nats.Connect(ns.ClientURL())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer nc.Close()
	ctx := context.Background()
	js, _ := jetstream.New(nc)
	kv, err := js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: settings.Bucket, History: 16})
	if err != nil {
		fmt.Println(err)
		return
	}

	holdTTL := settings.Duration("ticketing.hold_ttl", 10*time.Minute, "How long an unpaid order keeps its seats.",
		settings.Between(time.Second, 24*time.Hour))
	live, err := settings.Open(ctx, kv, []settings.Definition{holdTTL}, nil, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer live.Close()
	fmt.Println("default", holdTTL.Get(live))

	changed := make(chan struct{}, 1)
	live.OnChange(holdTTL, func() { changed <- struct{}{} })
	kv.PutString(ctx, holdTTL.Key(), "48h") // out of bounds: the value before stays
	kv.PutString(ctx, holdTTL.Key(), "5m")
	<-changed
	fmt.Println("now", holdTTL.Get(live))
	fmt.Println(holdTTL.Check("48h"))

	// Tests and tools need no bucket.
	fixed := settings.Fixed(holdTTL.Is(time.Minute))
	fmt.Println("fixed", holdTTL.Get(fixed))
	// Output:
	// default 10m0s
	// now 5m0s
	// 48h is not within 1s to 24h
	// fixed 1m0s
}
