package observe

import (
	"bytes"

	"github.com/VictoriaMetrics/metrics"
)

// writeRuntime writes what the metrics library knows about the Go runtime and the process. Only the families of
// runtimeFamilies are shown in the end: the others have names or types that Prometheus' own checks refuse.
func writeRuntime(w *bytes.Buffer) {
	metrics.WriteProcessMetrics(w)
	metrics.WriteFDMetrics(w)
}

// runtimeFamilies are the families that are taken over.
func runtimeFamilies() map[string]family {
	return map[string]family{
		"go_goroutines":           {kindGauge, "Goroutines that exist."},
		"go_threads":              {kindGauge, "Threads that the Go runtime has made."},
		"go_gomaxprocs":           {kindGauge, "Threads that may run Go code at the same time."},
		"go_info":                 {kindGauge, "The Go version; always 1."},
		"go_gc_duration_seconds":  {kindSummary, "Pauses of the garbage collector."},
		"go_gc_cpu_seconds_total": {kindCounter, "CPU time spent in the garbage collector."},
		"go_gc_mark_assist_cpu_seconds_total": {kindCounter,
			"CPU time that allocating goroutines spent helping the garbage collector."},
		"go_sched_latencies_seconds": {kindHistogram,
			"Time that goroutines waited, ready to run, until they ran."},
		"go_mutex_wait_seconds_total":            {kindCounter, "Time that goroutines waited for a mutex."},
		"go_memlimit_bytes":                      {kindGauge, "The soft memory limit of the Go runtime."},
		"go_memstats_alloc_bytes":                {kindGauge, "Bytes allocated and still in use."},
		"go_memstats_alloc_bytes_total":          {kindCounter, "Bytes allocated, even if freed."},
		"go_memstats_heap_inuse_bytes":           {kindGauge, "Bytes in spans of the heap that are in use."},
		"go_memstats_heap_idle_bytes":            {kindGauge, "Bytes in spans of the heap that are not in use."},
		"go_memstats_heap_released_bytes":        {kindGauge, "Bytes of the heap given back to the system."},
		"go_memstats_heap_objects":               {kindGauge, "Objects on the heap."},
		"go_memstats_next_gc_bytes":              {kindGauge, "Size of the heap at which the next collection starts."},
		"go_memstats_stack_inuse_bytes":          {kindGauge, "Bytes used by stacks."},
		"go_memstats_sys_bytes":                  {kindGauge, "Bytes obtained from the system."},
		"go_memstats_mallocs_total":              {kindCounter, "Objects allocated."},
		"go_memstats_frees_total":                {kindCounter, "Objects freed."},
		"process_cpu_seconds_total":              {kindCounter, "CPU time used, user and system."},
		"process_major_pagefaults_total":         {kindCounter, "Page faults that read from a disk."},
		"process_num_threads":                    {kindGauge, "Threads of the process."},
		"process_resident_memory_bytes":          {kindGauge, "Resident memory."},
		"process_virtual_memory_bytes":           {kindGauge, "Virtual memory."},
		"process_start_time_seconds":             {kindGauge, "When the process started, in Unix time."},
		"process_open_fds":                       {kindGauge, "Open file descriptors."},
		"process_max_fds":                        {kindGauge, "File descriptors that may be open."},
		"process_io_storage_read_bytes_total":    {kindCounter, "Bytes read from storage."},
		"process_io_storage_written_bytes_total": {kindCounter, "Bytes written to storage."},
	}
}
