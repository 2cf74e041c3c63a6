package main

import (
	"cmp"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
)

// Size is how much of something there is: memory, or bytes on disk for each operation.
type Size struct {
	Scenario string  `json:"scenario"`
	Name     string  `json:"name"`
	Bytes    float64 `json:"bytes"`
}

// footprint is what a system takes at one moment.
type footprint struct {
	resident int64
	disk     map[string]int64 // by component
}

func (s *system) footprint() (footprint, error) {
	disk, err := diskUse(s.data)
	return footprint{resident: residentBytes(s.cmd.Process.Pid), disk: disk}, err
}

// diskUse returns the bytes of all files under a data folder by component: a database, a stream, or a folder. Files
// that vanish meanwhile do not count.
func diskUse(data string) (map[string]int64, error) {
	use := make(map[string]int64)
	err := filepath.WalkDir(data, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return nil
		}
		info, err := entry.Info()
		if err != nil {
			return nil
		}
		rel, err := filepath.Rel(data, path)
		if err != nil {
			return err
		}
		use[component(filepath.ToSlash(rel))] += info.Size()
		return nil
	})
	return use, err
}

// component returns what a file of the data folder belongs to: sql/payment.db-wal to payment.db.
func component(path string) string {
	parts := strings.Split(path, "/")
	if i := slices.Index(parts, "streams"); i >= 0 && i+1 < len(parts) {
		return "stream " + parts[i+1]
	}
	if parts[0] == "sql" {
		name, _, _ := strings.Cut(parts[len(parts)-1], ".db")
		return name + ".db"
	}
	return parts[0]
}

// grown adds to the report what operations have left behind, the most first, and the memory before and after them.
func (b *bench) grown(scenario string, before, after footprint, operations int64) {
	var sizes []Size
	for name, bytes := range after.disk {
		if more := bytes - before.disk[name]; more > 0 && operations > 0 {
			sizes = append(sizes, Size{scenario, name + ", bytes per operation", float64(more) / float64(operations)})
		}
	}
	slices.SortFunc(sizes, func(a, b Size) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes),
			cmp.Compare(a.Name, b.Name))
	})
	b.sizes = append(b.sizes, Size{scenario, "resident memory before", float64(before.resident)},
		Size{scenario, fmt.Sprintf("resident memory after %d operations", operations), float64(after.resident)})
	b.sizes = append(b.sizes, sizes...)
}
