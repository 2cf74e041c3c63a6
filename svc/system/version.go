package system

import (
	"runtime/debug"
	"strings"
)

// development is the version of a program that was built from a checkout between releases.
const development = "0.1.0-dev"

// BuildVersion returns the version of the program, a semantic one without the v.
func BuildVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return development
	}
	return versionOf(info)
}

// versionOf returns the version that the Go toolchain wrote into a program. A checkout has none, or one that the
// toolchain made up for a repository without a tag; it is told by its commit, as far as that is known.
func versionOf(info *debug.BuildInfo) string {
	v, released := strings.CutPrefix(info.Main.Version, "v")
	if released && !strings.HasPrefix(v, "0.0.0-") {
		return v
	}
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	commit := settings["vcs.revision"]
	if commit == "" && released { // v0.0.0-<time>-<commit>
		commit, _, _ = strings.Cut(v[strings.LastIndexByte(v, '-')+1:], "+")
	}
	if commit == "" {
		return development
	}
	const enough = 12 // characters, as in the versions that the toolchain makes up
	out := development + "+" + commit[:min(len(commit), enough)]
	if settings["vcs.modified"] == "true" {
		out += ".modified"
	}
	return out
}
