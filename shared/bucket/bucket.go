// Package bucket has what those share who follow a key-value bucket and must know whether something is missing.
package bucket

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// ErrWatchEnded means that a watch brings nothing more, though nobody has stopped it.
var ErrWatchEnded = errors.New("the watch ended")

// newestWithin is how long the server may take to say where a bucket is.
const newestWithin = 2 * time.Second

// Position is a point in the life of a bucket.
type Position struct {
	Created time.Time // when the bucket was made
	Seq     uint64    // its last revision
}

// Newest returns where a bucket is now.
func Newest(ctx context.Context, kv jetstream.KeyValue) (Position, error) {
	ctx, cancel := context.WithTimeout(ctx, newestWithin)
	defer cancel()
	status, err := kv.Status(ctx)
	if err != nil {
		return Position{}, err
	}
	bucket, ok := status.(*jetstream.KeyValueBucketStatus)
	if !ok {
		return Position{}, errors.New("the bucket does not tell its revision")
	}
	info := bucket.StreamInfo()
	return Position{Created: info.Created, Seq: info.State.LastSeq}, nil
}
