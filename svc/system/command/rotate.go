package command

import (
	"cmp"
	"fmt"
	"path/filepath"

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
