package command

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/starlightsymphony/starlight/svc/system"
)

type authRewrap struct {
	database
	Data string `default:"./data" help:"Data folder, for the embedded SQLite." type:"path"`
}

// Run seals everything again. The system may run, once each of its processes has the new key.
func (c authRewrap) Run(s *streams) error {
	url, err := c.url()
	if err != nil {
		return err
	}
	keys, err := sealKeys()
	if err != nil {
		return err
	}
	if !keys.Set() {
		return errors.New("STARLIGHT_KEY is not set: the new key first, then a comma and the one before")
	}
	n, err := system.Rewrap(s.ctx, cmp.Or(url, "sqlite:"+filepath.Join(c.Data, "sql")), keys)
	if err != nil {
		return fmt.Errorf("%w (%d are sealed by the new key)", err, n)
	}
	_, err = fmt.Fprintf(s.out, "%d secrets sealed again; STARLIGHT_KEY need not name earlier keys any more\n", n)
	return err
}
