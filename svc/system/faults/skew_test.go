package faults_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/starlightsymphony/starlight/svc/system/systemtest"
)

// firstCompared is the commit to compare with as long as there is no tag.
const firstCompared = "dc47c50d2b1775fcc9792c6b7da35b794380f51a"

// versionBefore builds the version to compare with: the last tagged one, or firstCompared. It skips the test where there
// is no history to take it from.
func versionBefore(t *testing.T) (program, name string) {
	t.Helper()
	lacks := func(why string, err error) {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s: %v", why, err)
		}
		t.Skipf("%s: %v", why, err)
	}
	git := func(args ...string) (string, error) {
		cmd := exec.Command("git", append([]string{"-C", "../../.."}, args...)...)
		out, err := cmd.Output()
		return strings.TrimSpace(string(out)), err
	}
	name, err := git("describe", "--tags", "--abbrev=0", "--match", "v*", "HEAD^")
	if err != nil {
		name = firstCompared
	}
	if _, err := git("cat-file", "-e", name+"^{commit}"); err != nil {
		lacks("the version before is not in the history of this checkout: git fetch --unshallow --tags", err)
	}
	dir := t.TempDir()
	tree := filepath.Join(dir, "tree.tar")
	if _, err := git("archive", "--output="+tree, name); err != nil {
		t.Fatal(err)
	}
	source := filepath.Join(dir, "source")
	if err := os.Mkdir(source, 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("tar", "-xf", tree, "-C", source).CombinedOutput(); err != nil {
		lacks("the version before cannot be unpacked: "+string(out), err)
	}
	program = filepath.Join(dir, "starlight")
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", program, ".")
	build.Dir = source
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("the version before: %v: %s", err, out)
	}
	return program, name
}

// The version before and this one work side by side, in all mixtures, on one database: each kind of process of either
// version is stopped and started again while people buy at the gateways of both.
func TestVersionSkew(t *testing.T) {
	t.Parallel()
	program, name := versionBefore(t)
	c := systemtest.StartClusterOf(t, program)
	p := persist(c)
	p.through(some)
	for version := range 2 { // first without the version before, then without this one, on its schema
		for kind := range systemtest.Kinds() {
			process := c.Members[kind][version]
			process.Terminate()
			p.through(some)
			process.Again()
			p.through(some)
		}
	}
	t.Logf("beside %s", name)
	p.judge()
}
