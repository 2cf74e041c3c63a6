package natsconf

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// renewAfter is the pause before a connection comes back: a revocation takes along what is issued in its own second.
const renewAfter = 1100 * time.Millisecond

// ConnectVenue connects the system to the account of a venue. Each connection is a new user, so that it comes back when
// the venue's credentials are revoked.
func (s *Server) ConnectVenue(v *Venue) (*nats.Conn, error) {
	var seed []byte // of the user that the server was told of last
	token := func() (text string, err error) {
		text, seed, err = newUser(VenueUser, v.key, jwt.Permissions{})
		return text, err
	}
	sign := func(nonce []byte) ([]byte, error) {
		pair, err := nkeys.FromSeed(seed)
		if err != nil {
			return nil, err
		}
		defer pair.Wipe()
		return pair.Sign(nonce)
	}
	opts := append(connectOptions(VenueUser, s.cfg.Log, s.cfg.OnPermissionError), nats.InProcessServer(s.gate),
		nats.UserJWT(token, sign), nats.IgnoreAuthErrorAbort(), nats.ReconnectWait(renewAfter))
	nc, err := nats.Connect("", opts...)
	if err != nil {
		return nil, fmt.Errorf("natsconf: connect to %s: %w", v.ID, err)
	}
	return nc, nil
}

// Venues returns the ids of the venues that have an account, those that were made since the start too.
func (s *Server) Venues() ([]string, error) {
	return withExt(filepath.Join(s.cfg.Dir, "nats", "venues"), ".jwt")
}

// DialVenue connects the system to the account of a venue by its id, and makes the server know the account if it does
// not yet.
func (s *Server) DialVenue(ctx context.Context, id string) (*nats.Conn, error) {
	v, err := OpenVenue(s.cfg.Dir, id)
	if err != nil {
		return nil, err
	}
	nc, err := s.ConnectVenue(v)
	if err == nil {
		return nc, nil
	}
	if err := s.pushVenue(ctx, v); err != nil {
		return nil, err
	}
	return s.ConnectVenue(v)
}

// IssueVenue returns new credentials of a venue's computer. The account is made on the first call.
func (s *Server) IssueVenue(ctx context.Context, id string) ([]byte, error) {
	s.venues.Lock()
	defer s.venues.Unlock()
	v, err := OpenVenue(s.cfg.Dir, id)
	if err != nil {
		return nil, err
	}
	if err := s.pushVenue(ctx, v); err != nil {
		return nil, err
	}
	return v.Credentials(ctx)
}

// RevokeVenue ends all credentials of a venue's computer, and the connections that it has by them.
func (s *Server) RevokeVenue(ctx context.Context, id string, now time.Time) error {
	s.venues.Lock()
	defer s.venues.Unlock()
	v, err := OpenVenue(s.cfg.Dir, id)
	if err != nil {
		return err
	}
	if err := v.Revoke(s.cfg.Dir, now); err != nil {
		return err
	}
	return s.pushVenue(ctx, v)
}

// pushVenue makes this server know an account.
func (s *Server) pushVenue(ctx context.Context, v *Venue) error {
	nc, err := s.Connect("sys")
	if err != nil {
		return err
	}
	defer nc.Close()
	return v.Push(ctx, nc)
}

// Of outside servers the system has credentials of its own for each venue, HubCreds in DIR. They end with those of the
// venue, and are made anew then.

// HubCreds returns the path of the system's credentials for a venue.
func HubCreds(dir, id string) string { return filepath.Join(dir, id+".creds") }

// WriteHubCreds writes the credentials of the system for the venue into a folder. A connection that has lost its own
// by Revoke finds them there.
func (v *Venue) WriteHubCreds(ctx context.Context, dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("natsconf: %w", err)
	}
	creds, err := v.credentials(ctx, VenueUser)
	if err != nil {
		return err
	}
	if err := writeFile(HubCreds(dir, v.ID), creds); err != nil {
		return fmt.Errorf("natsconf: the credentials of the system for %s: %w", v.ID, err)
	}
	return nil
}

// VenueFolder is the folder with the credentials of the system for the venues of outside servers.
type VenueFolder struct {
	Dir  string     // empty: there are no venues
	Dial DialConfig // of the servers; Role and Creds do not count
}

// Venues returns the ids of the venues that there are credentials for. A folder that is not there is empty.
func (f VenueFolder) Venues() ([]string, error) {
	if f.Dir == "" {
		return nil, nil
	}
	return withExt(f.Dir, ".creds")
}

// DialVenue connects the system to the account of a venue. It tries until ctx ends.
func (f VenueFolder) DialVenue(ctx context.Context, id string) (*nats.Conn, error) {
	cfg := f.Dial
	cfg.Role, cfg.Creds = VenueUser, HubCreds(f.Dir, id)
	return Dial(ctx, cfg, nats.IgnoreAuthErrorAbort(), nats.ReconnectWait(renewAfter))
}

// withExt returns the names of the venues that have a file with the extension in a folder.
func withExt(dir, ext string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("natsconf: %w", err)
	}
	var names []string
	for _, e := range entries {
		if name, found := strings.CutSuffix(e.Name(), ext); found && venueID(name) {
			names = append(names, name)
		}
	}
	return names, nil
}
