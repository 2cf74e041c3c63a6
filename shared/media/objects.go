package media

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// The bucket of the object store, the stream that it is, and the stream's subjects.
const (
	Bucket   = "media"
	Stream   = "OBJ_" + Bucket
	Chunks   = "$O." + Bucket + ".C.>"
	Metadata = "$O." + Bucket + ".M.>"
)

// Objects keeps files in an object store of JetStream, which all machines of the system see alike.
type Objects struct {
	js jetstream.JetStream

	mu     sync.Mutex
	bucket jetstream.ObjectStore // nil before it was opened
}

// NewObjects returns the store in the bucket, which is there already.
func NewObjects(js jetstream.JetStream) *Objects { return &Objects{js: js} }

// open looks the bucket up once.
func (o *Objects) open(ctx context.Context) (jetstream.ObjectStore, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.bucket != nil {
		return o.bucket, nil
	}
	bucket, err := o.js.ObjectStore(ctx, Bucket)
	if err != nil {
		return nil, fmt.Errorf("media: %w", err)
	}
	o.bucket = bucket
	return bucket, nil
}

// Put implements Store.
func (o *Objects) Put(ctx context.Context, name string, data []byte) error {
	if err := checkName(name); err != nil {
		return err
	}
	bucket, err := o.open(ctx)
	if err == nil {
		_, err = bucket.PutBytes(ctx, name, data)
	}
	return err
}

// Get implements Store. What was put is seen at once: the stream is asked at its leader.
func (o *Objects) Get(ctx context.Context, name string) ([]byte, error) {
	if checkName(name) != nil {
		return nil, ErrNotFound
	}
	bucket, err := o.open(ctx)
	if err != nil {
		return nil, err
	}
	data, err := bucket.GetBytes(ctx, name)
	if errors.Is(err, jetstream.ErrObjectNotFound) {
		return nil, ErrNotFound
	}
	return data, err
}

// Delete implements Store.
func (o *Objects) Delete(ctx context.Context, name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	bucket, err := o.open(ctx)
	if err == nil {
		err = bucket.Delete(ctx, name)
	}
	if errors.Is(err, jetstream.ErrObjectNotFound) {
		return nil
	}
	return err
}

// Sweep implements Store. A Put that was cut off leaves chunks without metadata, and a Delete chunks whose metadata
// says that they are deleted. Chunks are listed before metadata, so those of a file that is finished meanwhile are
// known.
func (o *Objects) Sweep(ctx context.Context, before time.Time) error {
	bucket, err := o.open(ctx)
	if err != nil {
		return err
	}
	stream, err := o.js.Stream(ctx, Stream)
	if err != nil {
		return fmt.Errorf("media: %w", err)
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(Chunks))
	if err != nil || len(info.State.Subjects) == 0 {
		return err
	}
	files, err := bucket.List(ctx)
	if err != nil && !errors.Is(err, jetstream.ErrNoObjectsFound) {
		return fmt.Errorf("media: list: %w", err)
	}
	for _, f := range files {
		delete(info.State.Subjects, chunksOf(f.NUID))
	}
	for subject := range info.State.Subjects {
		last, err := stream.GetLastMsgForSubject(ctx, subject)
		switch {
		case errors.Is(err, jetstream.ErrMsgNotFound): // deleted meanwhile
			continue
		case err == nil && last.Time.Before(before):
			err = stream.Purge(ctx, jetstream.WithPurgeSubject(subject))
		}
		if err != nil {
			return fmt.Errorf("media: sweep %s: %w", subject, err)
		}
	}
	return nil
}

// chunksOf returns the subject of the chunks of a file.
func chunksOf(nuid string) string { return strings.TrimSuffix(Chunks, ">") + nuid }
