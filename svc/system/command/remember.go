package command

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/starlightsymphony/starlight/svc/system"
)

// listening is what a data folder remembers of the system that it belongs to.
type listening struct {
	HTTP string `json:"http,omitempty"`
	Ops  string `json:"ops,omitempty"`
	NATS string `json:"nats,omitempty"`
	Leaf string `json:"leaf,omitempty"`
}

const (
	listeningFile = "listening.json"
	defaultNATS   = "nats://127.0.0.1:4222"
)

// remember writes where the system listens into its data folder, for the commands. A member of a cluster has nothing to
// add: the NATS server is not its own.
func remember(cfg system.Config, sys *system.System) error {
	if cfg.NATSURL != "" {
		return nil
	}
	text, err := json.Marshal(listening{HTTP: sys.URL(), Ops: sys.OpsURL(), NATS: sys.NATSURL(),
		Leaf: sys.LeafURL()})
	if err != nil {
		return err
	}
	path := filepath.Join(cfg.Data, listeningFile)
	if err := os.WriteFile(path+".new", append(text, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// natsURL returns where the system's NATS server listens: as given, as the data folder remembers, or the default.
func (t target) natsURL() string {
	if t.NATSURL != "" {
		return t.NATSURL
	}
	l, err := recall(t.Data)
	if err != nil || l.NATS == "" {
		return defaultNATS
	}
	return l.NATS
}

// recall returns where the system of a data folder last listened.
func recall(data string) (l listening, err error) {
	text, err := os.ReadFile(filepath.Join(data, listeningFile))
	if err != nil {
		return l, err
	}
	err = json.Unmarshal(text, &l)
	return l, err
}

type healthyCommand struct {
	Ops string `default:"127.0.0.1:9090" help:"Operations listener of the process."`
}

// Run asks once.
func (c healthyCommand) Run(s *streams) error {
	client := http.Client{Timeout: 4 * time.Second}
	resp, err := client.Get("http://" + c.Ops + "/readyz")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("not ready: %s", resp.Status)
	}
	_, err = fmt.Fprintln(s.out, "ready")
	return err
}
