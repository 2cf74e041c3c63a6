package system

import (
	"runtime/debug"
	"testing"
)

// Whatever is known of a build, its version tells builds apart, and is never that of none.
func TestVersionOf(t *testing.T) {
	const commit = "83e3c191d97742dc93eab221a083f7d833bd5e0d"
	vcs := []debug.BuildSetting{{Key: "vcs", Value: "git"}, {Key: "vcs.revision", Value: commit}, {Key: "vcs.modified", Value: "false"}}
	modified := append(vcs[:2:2], debug.BuildSetting{Key: "vcs.modified", Value: "true"})
	for _, c := range []struct {
		name, module string
		settings     []debug.BuildSetting
		want         string
	}{
		{"a release", "v1.4.2", nil, "1.4.2"},
		{"after a release", "v1.4.3-0.20261125140654-83e3c191d977", vcs, "1.4.3-0.20261125140654-83e3c191d977"},
		{"a checkout", "(devel)", vcs, "0.1.0-dev+83e3c191d977"},
		{"a changed checkout", "(devel)", modified, "0.1.0-dev+83e3c191d977.modified"},
		{"without a tag", "v0.0.0-20261125140654-83e3c191d977", vcs, "0.1.0-dev+83e3c191d977"},
		{"without a tag, changed", "v0.0.0-20261125140654-83e3c191d977+dirty", modified, "0.1.0-dev+83e3c191d977.modified"},
		{"installed by commit", "v0.0.0-20261125140654-83e3c191d977", nil, "0.1.0-dev+83e3c191d977"},
		{"without stamping", "(devel)", nil, "0.1.0-dev"},
		{"nothing at all", "", nil, "0.1.0-dev"},
	} {
		info := &debug.BuildInfo{Main: debug.Module{Version: c.module}, Settings: c.settings}
		if got := versionOf(info); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
