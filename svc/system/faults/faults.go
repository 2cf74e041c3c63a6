// Package faults has tests alone: of whole systems whose processes are killed, hang and are cut off while people use
// them.
package faults
