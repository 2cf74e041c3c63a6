//go:build !linux

package main

import (
	"os/exec"
	"time"
)

// On other systems the harness runs, but does not know processor times: they are reported as 0.

func preciseSleep(d time.Duration) { time.Sleep(d) }

func ownCPU() time.Duration { return 0 }

func treeCPU(int) time.Duration { return 0 }

func demote(*exec.Cmd, string) error { return nil }

func endWithHarness(*exec.Cmd) {}

func cpuModel() string { return "unknown" }

func memoryBytes() int64 { return 0 }

func kernel() string { return "unknown" }

func loadAverage() float64 { return 0 }

func fileSystem(string) string { return "unknown" }

func residentBytes(int) int64 { return 0 }
