package natsconf

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// ensureWithin is how long Ensure tries when its context has no deadline.
const ensureWithin = 30 * time.Second

// Ensure creates the declared streams and buckets that are missing, and repairs the settings of those that have drifted
// from their declaration. Replicas is the wanted number of copies, 1 or 3; 0 leaves what is there. It may run in
// several processes at the same time, and tries again until ctx ends while JetStream is not available yet.
func Ensure(ctx context.Context, js jetstream.JetStream, streams []jetstream.StreamConfig, replicas int) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, ensureWithin)
		defer cancel()
	}
	errs := make([]error, len(streams))
	var wg sync.WaitGroup
	for i, want := range streams { // each creation waits for the disk several times
		wg.Go(func() { _, errs[i] = ensure(ctx, js, want, replicas) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// ensure brings one stream to its declaration and returns the names of the settings that it had to repair.
func ensure(ctx context.Context, js jetstream.JetStream, want jetstream.StreamConfig,
	replicas int) (repaired []string, err error) {
	err = Retry(ctx, func(ctx context.Context) error {
		repaired, err = ensureOnce(ctx, js, want, replicas)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("natsconf: stream %s: %w", want.Name, err)
	}
	return repaired, nil
}

// Retry calls do until it succeeds, or fails for another reason than that NATS servers are starting, come together or
// elect a leader. When ctx ends first, the error wraps both the last one and that of ctx.
func Retry(ctx context.Context, do func(context.Context) error) error {
	wait := 50 * time.Millisecond
	for {
		err := do(ctx)
		if err == nil || !passing(err) || ctx.Err() != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w (%w)", err, ctx.Err())
		case <-time.After(wait):
		}
		wait = min(2*wait, time.Second)
	}
}

func ensureOnce(ctx context.Context, js jetstream.JetStream, want jetstream.StreamConfig,
	replicas int) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	stream, err := js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		if want.Replicas = max(replicas, 1); want.Replicas > 1 {
			want.PersistMode = jetstream.DefaultPersistMode // the log of the replicas already spares the disk
		}
		_, err = js.CreateStream(ctx, want)
		return nil, err
	}
	if err != nil {
		return nil, err
	}
	have := stream.CachedInfo().Config
	if have.Storage != want.Storage {
		return nil, errors.New("it is kept in memory; delete it, nothing can repair that")
	}
	fixed, drifted := repair(have, want, replicas)
	if len(drifted) == 0 {
		return nil, nil
	}
	_, err = js.UpdateStream(ctx, fixed)
	return drifted, err
}

// passing reports whether trying again may help: JetStream is starting, electing, or somebody else was faster. What
// another process has made is not there for a moment if it could not be stored and is made again, or if a leader that
// was just elected has not read of it yet.
func passing(err error) bool {
	if errors.Is(err, nats.ErrNoResponders) || errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) ||
		errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, jetstream.ErrBucketNotFound) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrTimeout) ||
		errors.Is(err, nats.ErrReconnectBufExceeded) {
		return true
	}
	var api *jetstream.APIError
	if errors.As(err, &api) {
		return api.Code == 503 || api.ErrorCode == storeFailed || api.ErrorCode == noPeers
	}
	var older *nats.APIError // watching a bucket still goes by the client's first edition
	return errors.As(err, &older) && (older.Code == 503 || older.ErrorCode == nats.ErrorCode(noPeers))
}

// noPeers is what a cluster answers that has not yet heard of enough of its servers.
const noPeers jetstream.ErrorCode = 10005

// storeFailed is what a server answers when it cannot make the folder of a stream. That happens, rarely, when several
// processes create the first streams of a new account together. A full disk says the same, and stays so until ctx ends.
const storeFailed jetstream.ErrorCode = 10049

// repair returns have with the declared settings put right, and the names of those that were not. What the declaration
// does not speak of, such as placement and the server's own metadata, stays.
func repair(have, want jetstream.StreamConfig, replicas int) (jetstream.StreamConfig, []string) {
	var drifted []string
	note := func(name string, differs bool) bool {
		if differs {
			drifted = append(drifted, name)
		}
		return differs
	}
	if note("subjects", !slices.Equal(have.Subjects, want.Subjects)) {
		have.Subjects = want.Subjects
	}
	if note("sources", have.Mirror != nil || len(have.Sources) > 0 || have.RePublish != nil ||
		have.SubjectTransform != nil) {
		have.Mirror, have.Sources, have.RePublish, have.SubjectTransform = nil, nil, nil, nil
	}
	set(note, "retention", &have.Retention, want.Retention)
	set(note, "max_msgs", &have.MaxMsgs, want.MaxMsgs)
	set(note, "max_bytes", &have.MaxBytes, want.MaxBytes)
	set(note, "max_age", &have.MaxAge, want.MaxAge)
	set(note, "max_msg_size", &have.MaxMsgSize, want.MaxMsgSize)
	set(note, "max_msgs_per_subject", &have.MaxMsgsPerSubject, want.MaxMsgsPerSubject)
	set(note, "max_consumers", &have.MaxConsumers, want.MaxConsumers)
	set(note, "discard", &have.Discard, want.Discard)
	set(note, "discard_new_per_subject", &have.DiscardNewPerSubject, want.DiscardNewPerSubject)
	set(note, "no_ack", &have.NoAck, false)
	set(note, "duplicate_window", &have.Duplicates, want.Duplicates)
	set(note, "allow_atomic", &have.AllowAtomicPublish, want.AllowAtomicPublish)
	set(note, "allow_direct", &have.AllowDirect, want.AllowDirect)
	set(note, "allow_rollup", &have.AllowRollup, want.AllowRollup)
	set(note, "deny_delete", &have.DenyDelete, want.DenyDelete)
	set(note, "deny_purge", &have.DenyPurge, want.DenyPurge)
	// A stream that was made for one server with asynchronous writes cannot be copied; it holds nothing that matters.
	if replicas > 0 && have.PersistMode != jetstream.AsyncPersistMode {
		set(note, "replicas", &have.Replicas, replicas)
	}
	return have, drifted
}

func set[T comparable](note func(string, bool) bool, name string, have *T, want T) {
	if note(name, *have != want) {
		*have = want
	}
}
