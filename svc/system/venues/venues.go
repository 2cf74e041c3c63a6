// Package venues tests venues with a computer of their own: the doors and tills of whole systems whose line is cut.
// It has tests alone.
package venues
