package observe

import (
	"bytes"

	"github.com/VictoriaMetrics/metrics"

	"github.com/starlightsymphony/starlight/shared/observe/exposition"
)

// writeRuntime writes what the metrics library knows about the Go runtime and the process. Only the families of
// runtimeFamilies are shown in the end: the others have names or types that Prometheus' own checks refuse.
func writeRuntime(w *bytes.Buffer) {
	metrics.WriteProcessMetrics(w)
	metrics.WriteFDMetrics(w)
}

// runtimeFamilies are the families that are taken over.
func runtimeFamilies() map[string]exposition.Family {
	of := func(k exposition.Kind) func(string) exposition.Family {
		return func(help string) exposition.Family { return exposition.Family{Kind: k, Help: help} }
	}
	gauge, counter := of(exposition.Gauge), of(exposition.Counter)
	histogram, summary := of(exposition.Histogram), of(exposition.Summary)
	return map[string]exposition.Family{
		"go_goroutines":           gauge("Goroutines that exist."),
		"go_threads":              gauge("Threads that the Go runtime has made."),
		"go_gomaxprocs":           gauge("Threads that may run Go code at the same time."),
		"go_info":                 gauge("The Go version; always 1."),
		"go_gc_duration_seconds":  summary("Pauses of the garbage collector."),
		"go_gc_cpu_seconds_total": counter("CPU time spent in the garbage collector."),
		"go_gc_mark_assist_cpu_seconds_total": counter(
			"CPU time that allocating goroutines spent helping the garbage collector."),
		"go_sched_latencies_seconds": histogram(
			"Time that goroutines waited, ready to run, until they ran."),
		"go_mutex_wait_seconds_total":            counter("Time that goroutines waited for a mutex."),
		"go_memlimit_bytes":                      gauge("The soft memory limit of the Go runtime."),
		"go_memstats_alloc_bytes":                gauge("Bytes allocated and still in use."),
		"go_memstats_alloc_bytes_total":          counter("Bytes allocated, even if freed."),
		"go_memstats_heap_inuse_bytes":           gauge("Bytes in spans of the heap that are in use."),
		"go_memstats_heap_idle_bytes":            gauge("Bytes in spans of the heap that are not in use."),
		"go_memstats_heap_released_bytes":        gauge("Bytes of the heap given back to the system."),
		"go_memstats_heap_objects":               gauge("Objects on the heap."),
		"go_memstats_next_gc_bytes":              gauge("Size of the heap at which the next collection starts."),
		"go_memstats_stack_inuse_bytes":          gauge("Bytes used by stacks."),
		"go_memstats_sys_bytes":                  gauge("Bytes obtained from the system."),
		"go_memstats_mallocs_total":              counter("Objects allocated."),
		"go_memstats_frees_total":                counter("Objects freed."),
		"process_cpu_seconds_total":              counter("CPU time used, user and system."),
		"process_major_pagefaults_total":         counter("Page faults that read from a disk."),
		"process_num_threads":                    gauge("Threads of the process."),
		"process_resident_memory_bytes":          gauge("Resident memory."),
		"process_virtual_memory_bytes":           gauge("Virtual memory."),
		"process_start_time_seconds":             gauge("When the process started, in Unix time."),
		"process_open_fds":                       gauge("Open file descriptors."),
		"process_max_fds":                        gauge("File descriptors that may be open."),
		"process_io_storage_read_bytes_total":    counter("Bytes read from storage."),
		"process_io_storage_written_bytes_total": counter("Bytes written to storage."),
	}
}
