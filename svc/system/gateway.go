package system

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/starlightsymphony/starlight/gateway"
	"github.com/starlightsymphony/starlight/natsconf"
	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/listen"
	"github.com/starlightsymphony/starlight/shared/media"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/shared/revocation"
	"github.com/starlightsymphony/starlight/shared/rpc"
)

// listen takes the gateway's address.
func (s *System) listen(_, _ context.Context) error {
	if !s.cfg.runs(roleGateway) {
		return nil
	}
	var err error
	if s.proxies, err = parsePrefixes(s.cfg.TrustedProxies); err != nil {
		return err
	}
	ln, err := net.Listen("tcp", s.cfg.HTTP)
	if err != nil {
		return fmt.Errorf("gateway: %w; --http gives it another address", err)
	}
	s.listener = listen.New(ln, listen.Config{Name: roleGateway, Log: s.logger(roleGateway), Registry: s.registry,
		Total: listen.Room(), Now: s.cfg.Now, PerAddress: func() int { return api.ConnectionsPerAddress.Get(s.live) },
		Exempt: func(a netip.Addr) bool { // what stands between people and here connects for all of them
			return a.IsLoopback() ||
				slices.ContainsFunc(s.proxies, func(p netip.Prefix) bool { return p.Contains(a) })
		}})
	s.httpURL = "http://" + ln.Addr().String()
	if s.cfg.TLSCert != "" {
		s.httpURL = "https://" + ln.Addr().String()
		if s.listener, err = listen.TLS(s.listener, s.cfg.TLSCert, s.cfg.TLSKey, s.logger(roleGateway)); err != nil {
			return errors.Join(err, ln.Close())
		}
	}
	if s.cfg.PublicURL == "" {
		s.cfg.PublicURL = s.httpURL
	}
	return nil
}

func (s *System) startGateway(ctx, background context.Context) error {
	if !s.cfg.runs(roleGateway) {
		return nil
	}
	var err error
	if s.gateConn, err = s.connect(ctx, roleGateway); err != nil {
		return err
	}
	revoked, err := s.openRevocations(ctx, background)
	if err != nil {
		return err
	}
	own, err := s.identity(roleGateway)
	if err != nil {
		return err
	}
	signer, err := s.signer(roleGateway)
	if err != nil {
		return err
	}
	js, err := jetstream.New(s.gateConn)
	if err != nil {
		return err
	}
	files, err := s.media(js)
	if err != nil {
		return err
	}
	document, err := api.OpenAPI(s.cfg.Version)
	if err != nil {
		return err
	}
	s.gateway, err = gateway.New(gateway.Config{NATS: s.gateConn, Client: rpc.NewClient(s.gateConn,
		rpc.ClientConfig{Name: roleGateway, Identity: own, Now: s.cfg.Now, Traffic: s.traffic,
			Instances: s.choice}),
		Endpoints: api.All(), Settings: s.live,
		Revoked: revoked,
		Log:     s.logger(roleGateway), Registry: s.registry, Ready: s.health.Ready, TrustedProxies: s.proxies,
		Tracer: s.traces.Tracer(roleGateway), Signer: signer, Media: files, PublicURL: s.cfg.PublicURL,
		OpenAPI: document, Now: s.cfg.Now})
	if err != nil {
		return err
	}
	s.unlist, err = rpc.Announce(ctx, s.gateConn, rpc.Announcement{Name: roleGateway, Version: s.cfg.Version,
		Description: "HTTP to NATS", Metadata: s.listed(), Serves: s.gateway.Serves, Ejects: s.choice.Ejected,
		Answers: func(inbox string) bool { return !strings.HasPrefix(inbox, "_INBOX.") }, Log: s.logger(roleGateway)})
	if err != nil {
		return err
	}
	ln := s.listener
	s.background(background, "gateway", func(context.Context) error { return s.gateway.Serve(ln) })
	return nil
}

// media returns where pictures are kept.
func (s *System) media(js jetstream.JetStream) (media.Store, error) {
	if s.cfg.MediaDir == "" {
		return media.NewObjects(js), nil
	}
	return media.NewFolder(s.cfg.MediaDir)
}

// signer returns the key by which a role signs, nil on a NATS server without accounts.
func (s *System) signer(role string) (ed25519.PrivateKey, error) {
	creds := s.cfg.NATSCreds
	if s.embedded != nil {
		creds = s.embedded.Creds(role)
	}
	if creds == "" {
		return nil, nil
	}
	own, err := natsconf.ReadIdentity(creds, role)
	if err != nil {
		return nil, err
	}
	return own.Sign, nil
}

// openRevocations opens the list of what access tokens are no longer good. A gateway that loses it is not ready.
func (s *System) openRevocations(ctx, background context.Context) (list *revocation.List, err error) {
	js, err := jetstream.New(s.gateConn)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, liveWithin)
	defer cancel()
	err = natsconf.Retry(ctx, func(ctx context.Context) error { // a leader may be elected just now
		kv, err := js.KeyValue(ctx, revocation.Bucket)
		if err != nil {
			return err
		}
		list, err = revocation.Open(background, revocation.Config{KV: kv, Log: s.logger(roleGateway),
			Registry: s.registry})
		return err
	})
	if err != nil {
		return nil, err
	}
	s.health.Add(observe.Check{Name: "revocations", Run: func(context.Context) error { return list.Current() }})
	return list, nil
}

// parsePrefixes reads addresses and CIDR ranges.
func parsePrefixes(texts []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, text := range texts {
		if addr, err := netip.ParseAddr(text); err == nil {
			out = append(out, netip.PrefixFrom(addr, addr.BitLen()))
			continue
		}
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("trusted proxy: %w", err)
		}
		out = append(out, p.Masked())
	}
	return out, nil
}
