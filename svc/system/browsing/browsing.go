// Package browsing tests the pages of a whole system: as texts and forms, and in a browser. It has tests
// alone.
package browsing
