package command_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/testkit"
	"github.com/starlightsymphony/starlight/svc/system"
)

// outside is a cluster of the smallest kind: a NATS server and PostgreSQL that are not starlight's own, the services in
// one process and the gateway in another.
type outside struct {
	t               *testing.T
	script          string // deploy/backup
	auth            string // the folder of auth init
	store           string // of NATS
	address         string // of NATS
	database        string
	gateway         string // address
	nats            *server.Server
	services, front *exec.Cmd
	data            string
	token           string
}

func startOutside(t *testing.T) *outside {
	t.Helper()
	for _, tool := range []string{"nats", "psql", "pg_dump", "pg_restore"} {
		if _, err := exec.LookPath(tool); err != nil {
			testkit.Missing(t, tool+" is not in PATH")
		}
	}
	script, err := filepath.Abs(filepath.Join(root, "deploy", "backup"))
	if err != nil {
		t.Fatal(err)
	}
	c := &outside{t: t, script: script, auth: t.TempDir(), address: testkit.FreeAddress(t),
		gateway: testkit.FreeAddress(t), database: testkit.Postgres(t)}
	authInit(t, c.auth)
	t.Chdir(c.auth) // the paths of the server's configuration are relative
	c.startNATS()
	t.Cleanup(func() { c.stopNATS() })
	return c
}

func (c *outside) startNATS() {
	c.t.Helper()
	opts, err := server.ProcessConfigFile("hub.conf")
	if err != nil {
		c.t.Fatal(err)
	}
	host, port, _ := strings.Cut(c.address, ":")
	c.store = c.t.TempDir()
	opts.Host, opts.NoSigs, opts.NoLog, opts.StoreDir = host, true, true, c.store
	opts.LeafNode.Host, opts.LeafNode.Port = "127.0.0.1", server.RANDOM_PORT
	if _, err := fmt.Sscan(port, &opts.Port); err != nil {
		c.t.Fatal(err)
	}
	if c.nats, err = server.NewServer(opts); err != nil {
		c.t.Fatal(err)
	}
	go c.nats.Start()
	if !c.nats.ReadyForConnections(testkit.Within(10 * time.Second)) {
		c.t.Fatal("the NATS server is not ready")
	}
}

func (c *outside) stopNATS() {
	c.nats.Shutdown()
	c.nats.WaitForShutdown()
}

// member starts a process with some roles, and returns it when it is ready.
func (c *outside) member(roles ...string) *exec.Cmd {
	c.t.Helper()
	cmd := program(c.t, []string{"STARLIGHT_NATS_URL=nats://" + c.address,
		"STARLIGHT_NATS_CREDS=" + filepath.Join(c.auth, "creds"), "STARLIGHT_DATABASE_URL=" + c.database,
		"STARLIGHT_VENUE_CREDS=" + filepath.Join(c.auth, "members", "venue", "venues"), "STARLIGHT_OPS=off",
		"STARLIGHT_DATA=" + filepath.Join(c.data, roles[0]), "STARLIGHT_HTTP=" + c.gateway,
		"STARLIGHT_PUBLIC_URL=http://" + c.gateway, "STARLIGHT_ADMIN_EMAIL=root@example.org",
		"STARLIGHT_ADMIN_PASSWORD=a long enough one"}, append([]string{"run"}, roles...)...)
	var log testkit.Buffer
	cmd.Stderr = &log
	out, err := cmd.StdoutPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { kill(cmd) })
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "ready") {
			go io.Copy(io.Discard, out) // ends with the process
			return cmd
		}
	}
	kill(cmd)
	c.t.Fatalf("%v did not become ready: %s", roles, log.String())
	return nil
}

func kill(cmd *exec.Cmd) {
	cmd.Process.Kill()
	cmd.Wait()
}

// start starts the services with empty folders, and returns before the gateway is there.
func (c *outside) start() {
	c.t.Helper()
	c.data = c.t.TempDir()
	c.services = c.member(slices.DeleteFunc(system.Names(), func(role string) bool { return role == "gateway" })...)
}

// open starts the gateway.
func (c *outside) open() {
	c.t.Helper()
	c.front = c.member("gateway")
	c.token = ask[api.Tokens](c, 201, "POST", "/v1/sessions",
		api.Login{Email: "root@example.org", Password: "a long enough one"}).AccessToken
}

// tool runs a program as an operator does, with the variables of deploy/backup.
func (c *outside) tool(env []string, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(c.t.Context(), name, args...)
	cmd.Env = append(append(os.Environ(), "DATABASE="+c.database, "NATS_URL=nats://"+c.address,
		"NATS_CREDS="+filepath.Join(c.auth, "creds", "admin.creds")), env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (c *outside) must(name string, args ...string) {
	c.t.Helper()
	if out, err := c.tool(nil, name, args...); err != nil {
		c.t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

// starlight runs a command against the cluster.
func (c *outside) starlight(args ...string) (string, error) {
	args = append(args, "--nats-url=nats://"+c.address, "--nats-creds="+filepath.Join(c.auth, "creds"))
	code, out, stderr := execute(c.t, []string{"STARLIGHT_DATABASE_URL=" + c.database}, args...)
	if code != 0 {
		return out, fmt.Errorf("starlight %v: exit %d\n%s%s", args, code, out, stderr)
	}
	return out, nil
}

// request calls the gateway; the answer must have the status.
func (c *outside) request(status int, method, path string, body, into any) error {
	var sent []byte
	kind := "application/json"
	switch b := body.(type) {
	case nil:
	case []byte:
		sent, kind = b, "image/jpeg"
	default:
		var err error
		if sent, err = json.Marshal(b); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(c.t.Context(), method, "http://"+c.gateway+path, bytes.NewReader(sent))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", kind)
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != status {
		return fmt.Errorf("%s %s: %d %s, want %d", method, path, resp.StatusCode, text, status)
	}
	if into == nil || len(text) == 0 {
		return nil
	}
	return json.Unmarshal(text, into)
}

func ask[T any](c *outside, status int, method, path string, body any) (out T) {
	c.t.Helper()
	if err := c.request(status, method, path, body, &out); err != nil {
		c.t.Fatal(err)
	}
	return out
}

// bought is an order whose buyer was told that it is paid.
type bought struct {
	id      string
	tickets int
}

// purchase buys seats, pays and waits until the order is paid.
func (c *outside) purchase(event api.Event, n int) (bought, error) {
	var o api.Order
	var p api.Payment
	order := api.NewOrder{EventID: event.ID, Items: []api.NewOrderItem{{TicketTypeID: event.TicketTypes[0].ID, Quantity: n}}}
	err := c.request(201, "POST", "/v1/orders", order, &o)
	if err == nil {
		err = c.request(201, "POST", "/v1/orders/"+o.ID.String()+"/payments", api.NewPayment{Provider: "sandbox"}, &p)
	}
	if err == nil {
		err = c.request(202, "POST", "/v1/sandbox/payments/"+p.ID.String(), api.SandboxOutcome{Outcome: "succeeded"}, nil)
	}
	for i := 0; err == nil && o.Status != api.OrderPaid; i++ {
		if i == 10 {
			return bought{}, errors.New("it is " + o.Status)
		}
		err = c.request(200, "GET", "/v1/orders/"+o.ID.String()+"?wait=5s", nil, &o)
	}
	return bought{o.ID.String(), n}, err
}

// concert publishes an event with a picture.
func (c *outside) concert() api.Event {
	c.t.Helper()
	start := time.Now().AddDate(0, 2, 0).UTC().Truncate(time.Second)
	e := ask[api.Event](c, 201, "POST", "/v1/events", api.NewEvent{Name: "Nocturne in Blue", Category: "concert",
		StartsAt: start, EndsAt: start.Add(2 * time.Hour), Timezone: "Europe/Berlin", Capacity: 5010,
		Location:    api.Location{Name: "Hall", City: "Berlin", Country: "DE"},
		TicketTypes: []api.NewTicketType{{Name: "Seat", Price: api.Money{Amount: 1500, Currency: "EUR"}, Quantity: 5000}}})
	var file bytes.Buffer
	if err := jpeg.Encode(&file, image.NewGray(image.Rect(0, 0, 1200, 800)), nil); err != nil {
		c.t.Fatal(err)
	}
	ask[api.Event](c, 200, "PUT", "/v1/events/"+e.ID.String()+"/image?alt=Grey", file.Bytes())
	return ask[api.Event](c, 200, "POST", "/v1/events/"+e.ID.String()+"/publish", nil)
}

// recreate makes the database anew, as empty as at first.
func (c *outside) recreate() {
	c.t.Helper()
	u, err := url.Parse(c.database)
	if err != nil {
		c.t.Fatal(err)
	}
	name := strings.TrimPrefix(u.Path, "/")
	u.Path = "/postgres"
	for _, query := range []string{"DROP DATABASE " + name + " WITH (FORCE)", "CREATE DATABASE " + name + " TEMPLATE template0"} {
		c.must("psql", "-qX", "-v", "ON_ERROR_STOP=1", "-c", query, u.String())
	}
}

// A backup of PostgreSQL and of outside NATS servers is made by deploy/backup while people buy. Then everything is
// destroyed and restored as docs/operations.md says. What was acknowledged before the backup was asked for is there, and
// the records agree.
func TestRestoreOfAClusterUnderLoad(t *testing.T) {
	c := startOutside(t)
	c.start()
	for _, setting := range []string{"payment.sandbox=true", "gateway.rate_per_address=0", "gateway.rate_per_person=0",
		"ticketing.max_open_orders=0", "ticketing.max_unpaid_seats=0", "user.access_ttl=30m"} {
		key, value, _ := strings.Cut(setting, "=")
		if _, err := c.starlight("config", "set", key, value); err != nil {
			t.Fatal(err)
		}
	}
	c.open()
	event := c.concert()

	var mu sync.Mutex
	var known []bought
	var failure error // the last one
	var over atomic.Bool
	var buyers sync.WaitGroup
	for n := range 4 {
		buyers.Go(func() {
			for !over.Load() {
				o, err := c.purchase(event, n%2+1)
				mu.Lock()
				if err == nil {
					known = append(known, o)
				} else {
					failure = err
				}
				mu.Unlock()
			}
		})
	}
	defer buyers.Wait()
	defer over.Store(true)
	more := func(n int) (all int) {
		t.Helper()
		from := -1
		testkit.Eventually(t, time.Minute, func() error {
			mu.Lock()
			defer mu.Unlock()
			if from < 0 {
				from = len(known)
			}
			if all = len(known); all < from+n {
				return fmt.Errorf("%d of %d have bought; lately: %v", all-from, n, failure)
			}
			return nil
		})
		return all
	}
	more(15)
	before := more(0)
	folder := filepath.Join(t.TempDir(), "backup")
	asked := time.Now()
	c.must(c.script, folder)
	took, during := time.Since(asked), more(0)
	more(5)
	over.Store(true)
	buyers.Wait()
	t.Logf("%d orders before the backup, %d when it was there after %s, %d when all was destroyed", before, during, took, len(known))

	kill(c.front)
	kill(c.services)
	c.stopNATS()
	if err := errors.Join(os.RemoveAll(c.store), os.RemoveAll(c.data)); err != nil {
		t.Fatal(err)
	}
	c.recreate()
	c.startNATS()

	c.must("pg_restore", "--exit-on-error", "--dbname", c.database, filepath.Join(folder, "sql"))
	streams, err := filepath.Glob(filepath.Join(folder, "streams", "*"))
	if err != nil || len(streams) == 0 {
		t.Fatalf("streams in the backup: %v, %v", streams, err)
	}
	for _, stream := range streams {
		c.must("nats", "--timeout", "60s", "stream", "restore", stream)
	}
	c.start()
	if out, err := c.starlight("rebuild", "inventory"); err != nil {
		t.Fatal(err)
	} else if strings.Contains(out, "\n0 orders mended") {
		t.Errorf("the inventory was there: %s", out)
	}
	testkit.Eventually(t, time.Minute, func() error {
		_, err := c.starlight("audit")
		return err
	})
	c.token = ""
	c.open()
	c.compare(event, known, before)
}

// compare looks at a cluster that was restored from a backup, which was asked for when so many orders were known.
func (c *outside) compare(event api.Event, known []bought, before int) {
	c.t.Helper()
	there := 0
	for i, b := range known {
		var o api.Order
		var tickets api.List[api.Ticket]
		err := c.request(200, "GET", "/v1/orders/"+b.id, nil, &o)
		if i >= before {
			if err == nil { // or it was made after the moment of the backup
				there++
			}
			continue
		}
		there++
		if err == nil {
			err = c.request(200, "GET", "/v1/orders/"+b.id+"/tickets", nil, &tickets)
		}
		if err != nil || o.Status != api.OrderPaid || len(tickets.Items) != b.tickets {
			c.t.Errorf("order %d, paid before the backup: %s, %d of %d tickets, %v", i, o.Status, len(tickets.Items), b.tickets, err)
		}
	}
	if there == len(known) {
		c.t.Errorf("all %d orders are there: nothing was destroyed", there)
	}
	got := ask[api.Event](c, 200, "GET", "/v1/events/"+event.ID.String(), nil)
	if err := c.request(200, "GET", got.Image.Large.URL, nil, nil); got.Image.ID == "" || err != nil {
		c.t.Errorf("the picture: %+v, %v", got.Image, err)
	}
	if out, err := c.starlight("config", "get", "user.access_ttl"); err != nil || out != "30m\n" {
		c.t.Errorf("a setting is %q, %v", out, err)
	}
	if _, err := c.purchase(event, 2); err != nil {
		c.t.Errorf("a purchase after the restore: %v", err)
	}
	sold := ask[api.Availability](c, 200, "GET", "/v1/events/"+event.ID.String()+"/availability", nil).TicketTypes[0].Sold
	testkit.Eventually(c.t, 30*time.Second, func() error { // analytics folds the streams from their beginning
		var numbers struct {
			Sold int `json:"tickets_sold"`
		}
		err := c.request(200, "GET", "/v1/events/"+event.ID.String()+"/analytics", nil, &numbers)
		if err == nil && numbers.Sold != sold {
			err = fmt.Errorf("analytics has %d tickets, the inventory %d", numbers.Sold, sold)
		}
		return err
	})
	if _, err := c.starlight("audit"); err != nil {
		c.t.Error(err)
	}
}

// A backup of which a part is missing says so, and says it is not whole: a dump that was cut off can be listed like one
// that was not, and a stream that could not be copied leaves the others.
func TestBackupThatIsNotWhole(t *testing.T) {
	c := startOutside(t)
	c.start()
	for tool, script := range map[string]string{
		"pg_dump": `for a; do case $a in --file=*) file=${a#--file=};; esac; done; REAL "$@"; truncate -s -100 "$file"; exit 1`,
		"nats":    `case "$*" in *"stream backup"*KV_config*) exit 1;; esac; exec REAL "$@"`,
	} {
		found, err := exec.LookPath(tool)
		if err != nil {
			t.Fatal(err)
		}
		bin, folder := t.TempDir(), filepath.Join(t.TempDir(), "backup")
		text := "#!/bin/sh\n" + strings.ReplaceAll(script, "REAL", found) + "\n"
		if err := os.WriteFile(filepath.Join(bin, tool), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
		out, err := c.tool([]string{"PATH=" + bin + ":" + os.Getenv("PATH")}, c.script, folder)
		if err == nil || !strings.Contains(out, "this backup is not whole: "+folder) {
			t.Errorf("%s failed: %v, %s", tool, err, out)
		}
	}
	folder := filepath.Join(t.TempDir(), "backup")
	c.must(c.script, folder) // what failed holds no outbox
	if info, err := os.Stat(folder); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder: %v, %v", info, err)
	}
	if out, err := c.tool(nil, c.script, folder); err == nil || !strings.Contains(out, "exists") {
		t.Errorf("into a folder that is there: %v, %s", err, out)
	}
}
