package main

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"
)

// Machine is the shape of the machine that a report was made on. Numbers without it say nothing.
type Machine struct {
	Cores       int     `json:"cores"`
	CPU         string  `json:"cpu"`
	MemoryBytes int64   `json:"memory_bytes"`
	Go          string  `json:"go"`
	Kernel      string  `json:"kernel"`
	FileSystem  string  `json:"file_system"`
	FsyncMs     float64 `json:"fsync_p50_ms"` // of 4 KiB appended, in the folder that the databases are in
	LoadBefore  float64 `json:"load_before"`  // one-minute load average
	LoadAfter   float64 `json:"load_after"`
}

// describeMachine looks at the machine and at the disk under dir.
func describeMachine(dir string) (Machine, error) {
	fsync, err := measureFsync(dir)
	if err != nil {
		return Machine{}, err
	}
	return Machine{Cores: runtime.NumCPU(), CPU: cpuModel(), MemoryBytes: memoryBytes(),
		Go: runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH, Kernel: kernel(),
		FileSystem: fileSystem(dir), FsyncMs: fsync.Seconds() * 1e3, LoadBefore: loadAverage()}, nil
}

// measureFsync returns the median time that an append of 4 KiB and its fsync take: the floor of every durable answer.
func measureFsync(dir string) (time.Duration, error) {
	f, err := os.OpenFile(filepath.Join(dir, "fsync"), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	block := make([]byte, 4096)
	took := make([]time.Duration, 100)
	for i := range took {
		start := time.Now()
		if _, err := f.Write(block); err != nil {
			return 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, err
		}
		took[i] = time.Since(start)
	}
	slices.Sort(took)
	return took[len(took)/2], nil
}
