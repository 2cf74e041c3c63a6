// Starlight is an event management system in one program: `starlight up` runs all of it, `starlight run ROLE...` one
// part of a cluster.
package main

import (
	"os"
	_ "time/tzdata" // events have time zones, and a small machine may not

	"github.com/starlightsymphony/starlight/svc/system/command"
)

func main() { os.Exit(command.Main(os.Args[1:], os.Stdout, os.Stderr)) }
