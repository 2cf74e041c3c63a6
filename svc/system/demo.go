package system

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/settings"
	"github.com/starlightsymphony/starlight/svc/system/demo"
)

// Demo loads the demo season and shows one purchase.
func (s *System) Demo(ctx context.Context, out io.Writer) error {
	client := &http.Client{Timeout: 30 * time.Second}
	return demo.Run(ctx, demo.Config{BaseURL: s.httpURL, Client: client, Out: out, Now: s.cfg.Now,
		AdminEmail: s.AdminEmail(), AdminPassword: cmp.Or(s.newAdmin, s.cfg.AdminPassword)})
}

// enableSandbox turns the sandbox provider on, unless it was ever set.
func (s *System) enableSandbox(ctx context.Context, js jetstream.JetStream) error {
	kv, err := js.KeyValue(ctx, settings.Bucket)
	if err != nil {
		return err
	}
	_, err = kv.Create(ctx, api.SandboxEnabled.Key(), []byte("true"))
	if errors.Is(err, jetstream.ErrKeyExists) {
		return nil
	}
	return err
}
