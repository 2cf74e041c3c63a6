package system

import (
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/starlightsymphony/starlight/natsconf"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/observe"
	"github.com/starlightsymphony/starlight/svc/venue"
)

// newVenue returns the venue service. An embedded NATS server has the accounts of the venues and the keys to make them;
// for outside servers the service finds credentials in a folder, which starlight auth venue fills.
func newVenue(m *member) *venue.Service {
	s := m.sys
	deps := venue.Deps{DB: m.db, NATS: m.nc, JS: m.js, Client: m.client, Log: m.log, Metrics: s.registry,
		Now: s.cfg.Now, Live: s.live, Instance: s.instance, Version: s.cfg.Version, PublicURL: s.cfg.PublicURL,
		EdgeLog: func(id ids.Venue) *slog.Logger {
			return observe.NewShippingLogger(io.Discard, "edge", id.String(), s.level, s.shipper)
		}}
	if s.embedded != nil {
		deps.Accounts, deps.Keys = s.embedded, s.embedded
	} else {
		deps.Accounts = natsconf.VenueFolder{Dir: s.cfg.venueCreds(), Dial: natsconf.DialConfig{URL: s.cfg.NATSURL,
			CA: s.cfg.NATSCA, Log: m.log}}
	}
	return venue.New(deps)
}

// venueCreds returns the folder of the credentials for venues, or "" if there is none.
func (c *Config) venueCreds() string {
	if c.VenueCreds != "" {
		return c.VenueCreds
	}
	if info, err := os.Stat(c.NATSCreds); err != nil || !info.IsDir() {
		return "" // credentials of one role have no room for others
	}
	return filepath.Join(c.NATSCreds, "venues")
}
