package systemtest

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/system"
)

// Confirm proves the address of an account with the token that was mailed there.
func (s *Site) Confirm(cfg system.Config, email string) {
	s.T.Helper()
	token := regexp.MustCompile(`ec_[A-Za-z0-9_-]{43}`)
	testkit.Eventually(s.T, 60*time.Second, func() error {
		files, err := filepath.Glob(filepath.Join(cfg.Data, "outbox", "*.eml"))
		if err != nil {
			return err
		}
		for _, file := range files {
			raw, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			text := strings.ReplaceAll(string(raw), "=\r\n", "")
			if found := token.FindString(text); found != "" && strings.Contains(text, "<"+email+">") {
				got, err := s.Send("POST", "/v1/email-confirmations/confirm", "", api.ConfirmEmail{Token: found})
				if err == nil {
					err = got.Is(204, "")
				}
				return err
			}
		}
		return errors.New("no mail has the token")
	})
}
