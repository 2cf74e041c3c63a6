// Package rotation is how a secret is followed by another one: the one before is good for a time of grace, and no
// earlier one is.
package rotation

import "time"

// usual is the time of grace where none is asked for.
const usual = 24 * time.Hour

// Until returns until when a secret is good that is followed by another one now. Grace is in seconds.
func Until(now time.Time, grace *int) time.Time {
	if grace == nil {
		return now.Add(usual)
	}
	return now.Add(time.Duration(*grace) * time.Second)
}

// Good reports whether the secret before is good still.
func Good(until, now time.Time) bool { return now.Before(until) }

// Shown returns until when the secret before is good, and nil if it is not.
func Shown(until, now time.Time) *time.Time {
	if !Good(until, now) {
		return nil
	}
	until = until.UTC()
	return &until
}
