package command

import (
	"cmp"
	"fmt"
	"path/filepath"

	"github.com/starlightsymphony/starlight/shared/keyring"
	"github.com/starlightsymphony/starlight/svc/system"
)

type authRotate struct {
	database
	Data    string `default:"./data" help:"Data folder, for the embedded SQLite." type:"path"`
	Purpose string `arg:"" enum:"access,tickets" help:"Which keys: ${enum}."`
}

// Run makes the next key. The system may run; each instance reads the key within a minute.
func (c authRotate) Run(s *streams) error {
	url, err := c.url()
	if err != nil {
		return err
	}
	keys, err := sealKeys()
	if err != nil {
		return err
	}
	id, lead, err := system.Rotate(s.ctx, cmp.Or(url, "sqlite:"+filepath.Join(c.Data, "sql")), c.Purpose, keys)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.out, "the key %s will sign (%s), %s after it was made: until then it is shown\n", id,
		c.Purpose, lead)
	return err
}

type authWithdraw struct {
	database
	Data    string `default:"./data" help:"Data folder, for the embedded SQLite." type:"path"`
	Purpose string `arg:"" enum:"access,tickets" help:"Which keys: ${enum}."`
	Key     string `arg:"" help:"The key's id: the kid of the token, or of /.well-known/jwks.json; of a ticket, what follows its revision in the code."`
}

// Run ends the key. The system may run.
func (c authWithdraw) Run(s *streams) error {
	url, err := c.url()
	if err != nil {
		return err
	}
	keys, err := sealKeys()
	if err != nil {
		return err
	}
	signs, err := system.Withdraw(s.ctx, cmp.Or(url, "sqlite:"+filepath.Join(c.Data, "sql")), c.Purpose, c.Key, keys)
	if err != nil {
		return err
	}
	lost := "access tokens that it has signed are refused within seconds, and clients refresh them; sessions stay"
	if c.Purpose == keyring.Tickets {
		lost = "codes that it has signed are refused within seconds, at venues as soon as they have a line; their " +
			"holders find new ones at the order, and printed ones are good no more"
	}
	_, err = fmt.Fprintf(s.out, "the key %s is withdrawn, and %s signs (%s): %s\n", c.Key, signs, c.Purpose, lost)
	return err
}
