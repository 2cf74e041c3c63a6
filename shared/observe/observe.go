// Package observe shows what a process does: structured logs that also travel to the LOGS stream, metrics in the
// Prometheus text format, the identity of a request as it crosses processes, and the operations listener with health,
// metrics and profiles.
//
// Nothing here is global: a process makes one [Registry] and one logger and hands them to its parts.
package observe
