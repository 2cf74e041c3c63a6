package natsconf

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

//go:embed hub.conf cluster.conf leaf.conf
var confs embed.FS

// WriteExternal writes into dir what outside servers and the roles that connect to them need: auth.conf, which the
// .conf files include, the .conf files themselves where they are missing, creds/ROLE.creds for each role and for the
// system account, and the keys under nats/. Run again it keeps what is there, issues anew what has changed and revokes
// the old. The keys stay at home; servers need auth.conf, services their own credentials and nothing else.
func WriteExternal(dir string, roles []Role) error {
	auth, err := prepare(dir, roles)
	if err != nil {
		return err
	}
	text := fmt.Sprintf(`# Who may connect. Made by "starlight auth init"; safe to read, useless without the keys.
operator: %s
system_account: %s
resolver: MEMORY
resolver_preload: {
  # SYS
  %s: %s
  # STARLIGHT
  %s: %s
}
`, auth.operatorJWT, auth.systemID, auth.systemID, auth.systemJWT, auth.accountID, auth.accountJWT)
	if err := writeFile(filepath.Join(dir, "auth.conf"), []byte(text)); err != nil {
		return fmt.Errorf("natsconf: %w", err)
	}
	entries, err := confs.ReadDir(".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			continue // somebody's own version
		}
		conf, err := confs.ReadFile(e.Name())
		if err != nil {
			return err
		}
		if err := writeFile(path, conf); err != nil {
			return fmt.Errorf("natsconf: %w", err)
		}
	}
	return nil
}
