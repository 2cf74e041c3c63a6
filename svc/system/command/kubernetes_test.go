package command_test

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// composeFile is what a test reads of compose.yaml.
type composeFile struct {
	Services map[string]struct {
		Image       string
		Command     []string
		Environment map[string]string
		Deploy      struct {
			Replicas  int
			Resources struct{ Limits struct{ Memory string } }
		}
	}
}

// manifest is what a test reads of an object of Kubernetes, of whatever kind.
type manifest struct {
	Kind     string
	Metadata struct{ Name string }
	Items    []manifest // of a list
	Spec     struct {
		Replicas       int
		MaxUnavailable *int           `yaml:"maxUnavailable"`
		Selector       map[string]any // of a service the labels, of others matchLabels
		Ports          []struct{ Port int }
		Template       struct {
			Metadata struct{ Labels map[string]any }
			Spec     pod
		}
	}
}

type pod struct {
	Security struct {
		NonRoot bool           `yaml:"runAsNonRoot"`
		Seccomp map[string]any `yaml:"seccompProfile"`
	} `yaml:"securityContext"`
	Affinity struct {
		Anti map[string]any `yaml:"podAntiAffinity"`
	}
	Containers []container
	Volumes    []struct {
		Name   string
		Secret struct {
			Name string `yaml:"secretName"`
		}
	}
}

type container struct {
	Name, Image   string
	Command, Args []string
	Env           []struct{ Name string }
	Ports         []containerPort
	Startup       map[string]any `yaml:"startupProbe"`
	Readiness     map[string]any `yaml:"readinessProbe"`
	Liveness      map[string]any `yaml:"livenessProbe"`
	Resources     struct{ Limits, Requests struct{ Memory string } }
	Security      struct {
		ReadOnly     bool           `yaml:"readOnlyRootFilesystem"`
		Escalate     *bool          `yaml:"allowPrivilegeEscalation"`
		Capabilities map[string]any `yaml:"capabilities"`
	} `yaml:"securityContext"`
	Mounts []struct {
		Name string
		Path string `yaml:"mountPath"`
	} `yaml:"volumeMounts"`
}

type containerPort struct {
	Port int `yaml:"containerPort"`
}

func (c container) listensOn(port int) bool {
	return slices.ContainsFunc(c.Ports, func(p containerPort) bool { return p.Port == port })
}

// manifests returns the objects of deploy/kubernetes by kind and name, and the variables that all members have.
func manifests(t *testing.T) (objects map[string]manifest, shared map[string]string) {
	t.Helper()
	var list struct {
		Resources []string
		Generator []struct{ Literals []string } `yaml:"configMapGenerator"`
	}
	if err := yaml.Unmarshal([]byte(read(t, "deploy/kubernetes/kustomization.yaml")), &list); err != nil {
		t.Fatal(err)
	}
	shared = map[string]string{}
	for _, l := range list.Generator[0].Literals {
		name, value, _ := strings.Cut(l, "=")
		shared[name] = value
	}
	objects = map[string]manifest{}
	for _, file := range list.Resources {
		for dec := yaml.NewDecoder(bytes.NewReader([]byte(read(t, "deploy/kubernetes/"+file)))); ; {
			var m manifest
			if err := dec.Decode(&m); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			for _, o := range append(m.Items, m) {
				objects[o.Kind+" "+o.Metadata.Name] = o
			}
		}
	}
	return objects, shared
}

// What runs on Kubernetes is what compose.yaml runs: the same roles by the same commands and variables, with the same
// bounds and ports, and the same servers below them. What compose.yaml has beside them a cluster has of its own.
func TestKubernetesIsCompose(t *testing.T) {
	var compose composeFile
	if err := yaml.Unmarshal([]byte(read(t, "compose.yaml")), &compose); err != nil {
		t.Fatal(err)
	}
	objects, shared := manifests(t)
	known := variables(t)
	beside := []string{"auth", "cli", "prometheus", "grafana", "victorialogs", "shipper", "mail"}
	var roles []string
	servers := 0
	for name, want := range compose.Services {
		kind := "StatefulSet "
		switch {
		case slices.Contains(beside, name):
			continue
		case want.Image == "starlight":
			kind, roles = "Deployment ", append(roles, name)
		case strings.HasPrefix(want.Image, "nats:"):
			name = "nats"
			servers++
		}
		got := objects[kind+name]
		if len(got.Spec.Template.Spec.Containers) != 1 {
			t.Errorf("%s has %d containers", kind+name, len(got.Spec.Template.Spec.Containers))
			continue
		}
		c := got.Spec.Template.Spec.Containers[0]
		if memory := strings.ToUpper(want.Deploy.Resources.Limits.Memory) + "i"; c.Image != want.Image ||
			c.Resources.Limits.Memory != memory || c.Resources.Requests.Memory == "" {
			t.Errorf("%s: image %s with %+v, want %s with %s", name, c.Image, c.Resources, want.Image, memory)
		}
		if name != "nats" && !slices.Equal(c.Args, want.Command) {
			t.Errorf("%s runs %v, want %v", name, c.Args, want.Command)
		}
		if kind == "Deployment " {
			if got.Spec.Replicas != want.Deploy.Replicas {
				t.Errorf("%s: %d replicas, want %d", name, got.Spec.Replicas, want.Deploy.Replicas)
			}
			checkMember(t, name, got.Spec.Template.Spec, shared, want.Environment, known)
		}
	}
	sameRoles(t, "deploy/kubernetes", roles)
	if got := objects["StatefulSet nats"].Spec.Replicas; got != servers {
		t.Errorf("%d NATS servers, want %d", got, servers)
	}
	for name, o := range objects {
		if kind, app, _ := strings.Cut(name, " "); kind == "Deployment" || kind == "StatefulSet" {
			checkPods(t, o, objects["PodDisruptionBudget "+app])
		}
	}
	for service, port := range map[string]int{"gateway": 8080, "ops": 9090, "leaf": 7422, "nats": 4222, "postgres": 5432} {
		o := objects["Service "+service]
		offered := slices.ContainsFunc(o.Spec.Ports, func(p struct{ Port int }) bool { return p.Port == port })
		reaches := slices.ContainsFunc(slices.Collect(maps.Values(objects)), func(to manifest) bool {
			spec := to.Spec.Template
			return len(spec.Spec.Containers) == 1 && spec.Spec.Containers[0].listensOn(port) &&
				o.Spec.Selector["app.kubernetes.io/component"] == spec.Metadata.Labels["app.kubernetes.io/component"]
		})
		if !offered || !reaches {
			t.Errorf("service %s offers port %d: %v, which its pods have: %v", service, port, offered, reaches)
		}
	}
}

// checkMember compares the variables of a member with those in compose.yaml. Secrets may come from files.
func checkMember(t *testing.T, role string, p pod, shared, want map[string]string, known string) {
	t.Helper()
	c := p.Containers[0]
	names := slices.Collect(maps.Keys(shared))
	for _, e := range c.Env {
		names = append(names, e.Name)
	}
	for i, name := range names {
		names[i] = strings.TrimSuffix(name, "_FILE")
		if !strings.Contains(known, names[i]) {
			t.Errorf("%s has %s, which nothing reads", role, name)
		}
	}
	for name := range want {
		if !slices.Contains(names, name) {
			t.Errorf("%s lacks %s", role, name)
		}
	}
	if !c.listensOn(9090) || !strings.HasSuffix(shared["STARLIGHT_OPS"], ":9090") {
		t.Errorf("%s: the operations listener is %s, ports are %v", role, shared["STARLIGHT_OPS"], c.Ports)
	}
	for path, probe := range map[string]map[string]any{"/readyz": c.Readiness, "/healthz": c.Liveness} {
		if get := map[string]any{"path": path, "port": "ops"}; !reflect.DeepEqual(probe["httpGet"], get) {
			t.Errorf("%s is asked %v, want %v", role, probe, get)
		}
	}
	if p.Volumes[0].Secret.Name != "auth-"+role || c.Mounts[0].Name != p.Volumes[0].Name ||
		c.Mounts[0].Path != shared["STARLIGHT_NATS_CREDS"] {
		t.Errorf("%s has the secret %+v at %+v", role, p.Volumes[0], c.Mounts[0])
	}
}

// checkPods looks for what every pod has: probes, bounds, few rights, and a budget for those who drain nodes.
func checkPods(t *testing.T, o, budget manifest) {
	t.Helper()
	p := o.Spec.Template.Spec
	c := p.Containers[0]
	if c.Startup == nil || c.Readiness == nil || c.Liveness == nil {
		t.Errorf("%s lacks a probe", o.Metadata.Name)
	}
	if !p.Security.NonRoot || p.Security.Seccomp == nil || !c.Security.ReadOnly || c.Security.Escalate == nil ||
		*c.Security.Escalate || !reflect.DeepEqual(c.Security.Capabilities["drop"], []any{"ALL"}) {
		t.Errorf("%s may too much: %+v %+v", o.Metadata.Name, p.Security, c.Security)
	}
	if o.Spec.Replicas > 1 && len(p.Affinity.Anti) == 0 {
		t.Errorf("all of %s may be on one node", o.Metadata.Name)
	}
	labels, _ := o.Spec.Selector["matchLabels"].(map[string]any)
	for name, value := range labels {
		if p := o.Spec.Template.Metadata.Labels[name]; p != value {
			t.Errorf("%s selects %s=%v, its pods have %v", o.Metadata.Name, name, value, p)
		}
	}
	if budget.Spec.MaxUnavailable == nil || !reflect.DeepEqual(budget.Spec.Selector, o.Spec.Selector) || len(labels) == 0 {
		t.Errorf("%s: a budget of %+v", o.Metadata.Name, budget.Spec)
	}
}

// The manifests and the secrets are what kubectl takes.
func TestKubectl(t *testing.T) {
	kubectl, err := exec.LookPath("kubectl")
	if err != nil {
		t.Skip("kubectl is not installed")
	}
	dir := t.TempDir()
	authInit(t, dir)
	out, err := exec.CommandContext(t.Context(), kubectl, "kustomize", filepath.Join(root, "deploy/kubernetes")).CombinedOutput()
	if n := strings.Count(string(out), "\nkind: Deployment\n"); err != nil || n == 0 {
		t.Errorf("%v, %d deployments: %.1000s", err, n, out)
	}
	given := string(out)
	cmd := exec.CommandContext(t.Context(), filepath.Join(root, "deploy/kubernetes/secrets"), dir)
	cmd.Env = append(cmd.Environ(), "POSTGRES_PASSWORD=x", "STARLIGHT_ADMIN_PASSWORD=y")
	if out, err = cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for line := range strings.Lines(given) { // each secret that something must have is made
		if name, found := strings.CutPrefix(strings.TrimSpace(line), "secretName: "); found && name != "venues" &&
			!strings.Contains(string(out), "\n  name: "+name+"\n") {
			t.Errorf("nothing makes the secret %s", name)
		}
	}
}
