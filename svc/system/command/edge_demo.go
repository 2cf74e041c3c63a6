package command

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/starlightsymphony/starlight/svc/system/demo"
)

// demo opens a venue at a running demo, and is its computer. What it keeps is gone in the end.
func (c *edgeCommand) demo(s *streams) (err error) {
	if c.Venue != "" || c.Hub != "" || c.Creds != "" {
		return errors.New("--demo opens a venue of its own: it goes without --venue, --hub and --creds")
	}
	system, err := recall(c.DemoOf)
	if err != nil || system.HTTP == "" || system.Leaf == "" {
		return fmt.Errorf("the folder %s is not that of a system with venues: start one there with "+
			"starlight up --demo, or name its folder with --demo-of", c.DemoOf)
	}
	dir, err := os.MkdirTemp("", "starlight-venue-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	client := &http.Client{Timeout: 30 * time.Second}
	venue, err := demo.OpenVenue(s.ctx, demo.Config{BaseURL: system.HTTP, Client: client, Out: s.out})
	if err != nil {
		return fmt.Errorf("the system at %s, by the folder %s: %w", system.HTTP, c.DemoOf, err)
	}
	cable, err := demo.NewCable(strings.TrimPrefix(system.Leaf, "nats-leaf://"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cable.Close()) }()
	c.Venue, c.Hub = venue.ID, "nats-leaf://"+cable.Address()
	c.Creds, c.Data = filepath.Join(dir, "venue.creds"), filepath.Join(dir, "edge")
	if err := os.WriteFile(c.Creds, []byte(venue.Credentials), 0o600); err != nil {
		return err
	}
	return c.run(s, func(ctx context.Context, url string) error { return venue.Show(ctx, url, cable) })
}
