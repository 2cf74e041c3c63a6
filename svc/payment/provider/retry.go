package provider

import "time"

// The pauses before work with a provider is tried again.
const (
	FirstRetry = time.Second
	LastRetry  = 5 * time.Minute
)

// Backoff returns how long to wait after attempt n, counted from 0: FirstRetry, doubled each time, at most LastRetry.
func Backoff(n int) time.Duration {
	d := FirstRetry
	for ; n > 0 && d < LastRetry; n-- {
		d *= 2
	}
	return min(d, LastRetry)
}
