// Package observing is where the system is watched by what operators watch it with: a Prometheus and a collector of
// OpenTelemetry. It has tests alone.
package observing
