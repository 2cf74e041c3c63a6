package natsconf

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

//go:embed hub.conf cluster.conf leaf.conf
var confs embed.FS

// WriteExternal writes into dir what outside servers and the roles that connect to them need: auth.conf, which the
// .conf files include, the .conf files themselves where they are missing (local-*.conf: a cluster on one machine;
// secure.conf: a cluster that speaks TLS),
// creds/ROLE.creds for each role and for the system account, and the keys under nats/. Run again it keeps what is
// there, issues anew what has changed and revokes the old. The keys stay at home; servers need auth.conf, services
// their own credentials and nothing else.
func WriteExternal(dir string, roles []Role) error {
	auth, err := prepare(dir, roles)
	if err != nil {
		return err
	}
	text := fmt.Sprintf(`# Who may connect. Made by "starlight auth init"; safe to read, useless without the keys.
operator: %s
system_account: %s
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
	files, err := serverConfs()
	if err != nil {
		return err
	}
	for name, conf := range files {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			continue // a version of its own
		}
		if err := writeFile(path, conf); err != nil {
			return fmt.Errorf("natsconf: %w", err)
		}
	}
	return nil
}

// localNodes is how many servers the files for a cluster on one machine are for.
const localNodes = 3

// serverConfs returns the .conf files by name: the embedded ones, and of cluster.conf one for each server of a cluster
// on one machine, where each needs ports and a folder of its own.
func serverConfs() (map[string][]byte, error) {
	files := map[string][]byte{}
	entries, err := confs.ReadDir(".")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if files[e.Name()], err = confs.ReadFile(e.Name()); err != nil {
			return nil, err
		}
	}
	cluster := string(files["cluster.conf"])
	_, settings, found := strings.Cut(cluster, "\n\n")
	var routes []string
	for i := range localNodes {
		routes = append(routes, fmt.Sprintf("nats://127.0.0.1:%d", 6222+i))
	}
	for i := range localNodes {
		name := fmt.Sprintf("n%d", i+1)
		text := fmt.Sprintf("# One of three NATS servers on this machine:  nats-server -c local-%s.conf\n# Its "+
			"clients connect to nats://127.0.0.1:%d.\n\n", name, 4222+i) + settings
		for old, now := range map[string]string{
			"$NATS_NAME":             name,
			"0.0.0.0:4222":           fmt.Sprintf("127.0.0.1:%d", 4222+i),
			`store_dir: "jetstream"`: fmt.Sprintf(`store_dir: "jetstream-%s"`, name),
			`dir: "accounts"`:        fmt.Sprintf(`dir: "accounts-%s"`, name),
			"0.0.0.0:6222":           fmt.Sprintf("127.0.0.1:%d", 6222+i),
			"$NATS_ROUTES":           "[" + strings.Join(routes, ", ") + "]",
			"0.0.0.0:7422":           fmt.Sprintf("127.0.0.1:%d", 7422+i),
		} {
			found = found && strings.Count(text, old) == 1
			text = strings.Replace(text, old, now, 1)
		}
		if !found {
			return nil, errors.New("natsconf: cluster.conf has not the settings that differ from server to server")
		}
		files["local-"+name+".conf"] = []byte(text)
	}
	secure, err := withTLS(cluster)
	files["secure.conf"] = []byte(secure)
	return files, err
}

// withTLS returns the configuration of a cluster whose servers speak TLS with clients, with venues, and with each
// other, where both sides show a certificate.
func withTLS(cluster string) (string, error) {
	const cert = `cert_file: "tls/server.pem", key_file: "tls/server.key"`
	for old, now := range map[string]string{
		"nats-server -c cluster.conf\n":                              "nats-server -c secure.conf\n",
		`# tls: { cert_file: "server.pem", key_file: "server.key" }`: "tls: { " + cert + " }",
		"# Routes carry no credentials: keep port 6222 on a private network, or give the cluster block a tls block " +
			"with verify.\n": "# tls/ is beside this file, as starlight auth init writes it.\n",
		"  name: starlight\n":      "  name: starlight\n  tls: { " + cert + `, ca_file: "tls/ca.pem", verify: true, timeout: 5 }` + "\n",
		"  listen: 0.0.0.0:7422\n": "  listen: 0.0.0.0:7422\n  tls: { " + cert + ", timeout: 10 }\n",
	} {
		if strings.Count(cluster, old) != 1 {
			return "", fmt.Errorf("natsconf: cluster.conf has not %q", old)
		}
		cluster = strings.Replace(cluster, old, now, 1)
	}
	return cluster, nil
}
