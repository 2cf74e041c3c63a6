//go:build !unix

package natsconf

import (
	"fmt"
	"os"
	"path/filepath"
)

// lockDir opens the lock file. These systems have no advisory lock in the standard library; the listen address of the
// server is what keeps a second process away.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("natsconf: %w", err)
	}
	return f, nil
}
