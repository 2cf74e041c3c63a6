// Package config lets administrators read and change the live settings.
//
// The settings are the keys of the KV bucket "config"; every process follows them by itself (shared/settings). This
// package adds what a bucket has not: documentation, checks before a value is written, history and rollback, over REST
// and for the command line.
package config

import (
	"context"
	"encoding/json"
	"log/slog"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/auditlog"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/settings"
)

// Bucket is the KV bucket of the settings.
const Bucket = settings.Bucket

// Deps is what the service stands on.
type Deps struct {
	JS  jetstream.JetStream
	Log *slog.Logger
}

// Service is one instance of the config service.
type Service struct {
	values *Values
	js     jetstream.JetStream
	log    *slog.Logger
}

// claim publishes who is about to write a setting. The audit service makes the line once the value is there.
func (s *Service) claim(ctx context.Context, key string, value *string) (ids.Audit, error) {
	line, err := auditlog.NewLine(ctx, "config", auditlog.Act{Object: key, After: struct {
		Value *string `json:"value,omitempty"`
	}{value}})
	if err != nil {
		return "", err
	}
	data, err := json.Marshal(line)
	if err != nil {
		return "", err
	}
	_, err = s.js.Publish(ctx, api.AuditClaim(line.ID), data, jetstream.WithMsgID(line.ID.String()))
	return line.ID, err
}

// New returns the service. The bucket must exist.
func New(ctx context.Context, d Deps) (*Service, error) {
	values, err := Open(ctx, d.JS)
	if err != nil {
		return nil, err
	}
	s := &Service{values: values, log: d.Log, js: d.JS}
	values.claim = s.claim
	return s, nil
}

// Register binds the endpoints.
func (s *Service) Register(srv *rpc.Server) {
	rpc.Handle(srv, api.ListSettings, s.list)
	rpc.Handle(srv, api.GetSetting, s.get)
	rpc.Handle(srv, api.PutSetting, s.put)
	rpc.Handle(srv, api.DeleteSetting, s.reset)
	rpc.Handle(srv, api.GetSettingHistory, s.history)
	rpc.Handle(srv, api.RollbackToSetting, s.rollback)
}

func (s *Service) list(ctx context.Context, _ *rpc.None) (*api.List[api.Setting], error) {
	all, err := s.values.List(ctx)
	return &api.List[api.Setting]{Items: all}, err
}

func (s *Service) get(ctx context.Context, req *api.SettingRef) (*api.Setting, error) {
	one, err := s.values.Get(ctx, req.Key)
	return &one, err
}

func (s *Service) put(ctx context.Context, req *api.SetSetting) (*api.Setting, error) {
	if req.DryRun {
		one, err := s.values.Check(ctx, req.Key, req.Value)
		return &one, err
	}
	one, err := s.values.Put(ctx, req.Key, req.Value)
	return s.changed(ctx, one, err)
}

func (s *Service) reset(ctx context.Context, req *api.SettingRef) (*rpc.None, error) {
	if err := s.values.Reset(ctx, req.Key); err != nil {
		return nil, err
	}
	s.log.InfoContext(ctx, "setting taken out", "setting", req.Key, "by", rpc.Caller(ctx).User)
	return nil, nil
}

func (s *Service) history(ctx context.Context, req *api.SettingRef) (*api.List[api.SettingChange], error) {
	all, err := s.values.History(ctx, req.Key)
	return &api.List[api.SettingChange]{Items: all}, err
}

func (s *Service) rollback(ctx context.Context, req *api.RollbackSetting) (*api.Setting, error) {
	one, err := s.values.Rollback(ctx, req.Key, req.Revision)
	return s.changed(ctx, one, err)
}

// changed says who has changed a setting.
func (s *Service) changed(ctx context.Context, one api.Setting, err error) (*api.Setting, error) {
	if err != nil {
		return nil, err
	}
	s.log.InfoContext(ctx, "setting written", "setting", one.Key, "value", one.Value, "revision", one.Revision,
		"by", rpc.Caller(ctx).User)
	return &one, nil
}
