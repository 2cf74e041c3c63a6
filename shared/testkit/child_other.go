//go:build !linux

package testkit

import "syscall"

// unprivileged has nothing to do here: the child runs as the caller, and is stopped when the tests end.
func unprivileged(string) (*syscall.SysProcAttr, error) { return nil, nil }
