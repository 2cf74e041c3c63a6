// Package disk keeps what the computer of a venue must not forget, in one bbolt file: who it is, the events whose doors
// it has, their manifests, the journal of what was decided, what was sold of its leases, and who may scan.
//
// A change is on the disk when Update returns without an error: every commit is synced. After one with an error nobody
// knows what is there, so the file is opened anew before the next (see Reopen).
package disk

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	boltErrors "go.etcd.io/bbolt/errors"

	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/keyring"
)

// layout is the version of the file's layout. A program opens the files of its own and of earlier versions.
const layout = 1

const (
	fileName = "edge.bolt"
	lockWait = time.Second // for another process to let the file go
)

// The buckets. Those of manifests are within tickets and asked, named by event and generation, and those of answers at
// the door are within given, named by event.
var (
	metaBucket     = []byte("meta")
	eventsBucket   = []byte("events")
	overBucket     = []byte("over")
	ticketsBucket  = []byte("tickets")
	journalBucket  = []byte("journal")
	sessionsBucket = []byte("sessions")
	leasesBucket   = []byte("leases")
	answersBucket  = []byte("answers")
	askedBucket    = []byte("asked")
	givenBucket    = []byte("given")
)

// The keys of meta.
var (
	layoutKey   = []byte("layout")
	venueKey    = []byte("venue")
	folderKey   = []byte("folder")
	seedKey     = []byte("seed")
	sessionKey  = []byte("session")
	acceptedKey = []byte("accepted")
	clockKey    = []byte("clock")
	fencedKey   = []byte("fenced")
	keysKey     = []byte("keys")
	probeKey    = []byte("probe")
)

// DB is the file. It is safe for concurrent use.
type DB struct {
	dir      string
	identity Identity

	mu   sync.RWMutex // held for writing while the file is opened anew
	bolt *bolt.DB

	aroundCommit func(done bool)
}

// Identity is who a data folder is. It is made with the folder and never changes.
type Identity struct {
	Venue  ids.Venue
	Folder string // random name
	KeyID  string
	Key    ed25519.PrivateKey // signs the tickets that are sold at the venue
}

// Open opens the file in a folder, and makes both if need be. It fails if another process has it, if it belongs to
// another venue, or if a newer program wrote it.
func Open(dir string, venue ids.Venue) (*DB, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("edge: %w", err)
	}
	db := &DB{dir: dir}
	if err := db.open(); err != nil {
		return nil, err
	}
	err := db.bolt.Update(func(tx *bolt.Tx) error { return db.begin(tx, venue) })
	if err != nil {
		return nil, errors.Join(fmt.Errorf("edge: the data folder %s: %w", dir, err), db.bolt.Close())
	}
	return db, nil
}

func (db *DB) open() error {
	path := filepath.Join(db.dir, fileName)
	err := check(path)
	var opened *bolt.DB
	if err == nil {
		opened, err = bolt.Open(path, 0o600,
			&bolt.Options{Timeout: lockWait, NoFreelistSync: true, FreelistType: bolt.FreelistMapType})
	}
	if errors.Is(err, boltErrors.ErrTimeout) {
		return fmt.Errorf("edge: the data folder %s is used by another process", db.dir)
	}
	if err != nil {
		return fmt.Errorf("edge: the data folder %s: %w", db.dir, err)
	}
	db.bolt = opened
	return nil
}

// begin makes the buckets of a new file, or checks those of an old one.
func (db *DB) begin(tx *bolt.Tx, venue ids.Venue) error {
	for _, name := range [][]byte{metaBucket, eventsBucket, overBucket, ticketsBucket, journalBucket, sessionsBucket,
		leasesBucket, answersBucket, askedBucket, givenBucket} {
		if _, err := tx.CreateBucketIfNotExists(name); err != nil {
			return err
		}
	}
	meta := tx.Bucket(metaBucket)
	if v := meta.Get(layoutKey); v == nil {
		seed := make([]byte, ed25519.SeedSize)
		name := make([]byte, 12)
		rand.Read(seed) // never fails, by its documentation
		rand.Read(name)
		for key, value := range map[string][]byte{string(layoutKey): number(layout), string(venueKey): []byte(venue),
			string(folderKey): []byte(base64.RawURLEncoding.EncodeToString(name)), string(seedKey): seed} {
			if err := meta.Put([]byte(key), value); err != nil {
				return err
			}
		}
	} else if got := numberOf(v); got > layout {
		return fmt.Errorf("it was written by a newer version of starlight (layout %d, this one knows %d)", got, layout)
	}
	if got := string(meta.Get(venueKey)); got != string(venue) {
		return fmt.Errorf("it belongs to the venue %s", got)
	}
	key := ed25519.NewKeyFromSeed(meta.Get(seedKey))
	db.identity = Identity{Venue: venue, Folder: string(meta.Get(folderKey)), Key: key,
		KeyID: keyring.ID(key.Public().(ed25519.PublicKey))}
	return nil
}

// Identity returns who the folder is.
func (db *DB) Identity() Identity { return db.identity }

// Close closes the file.
func (db *DB) Close() error {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.bolt.Close()
}

// Reopen closes the file and opens it anew, and proves that it takes writes. It is for after a failed commit.
func (db *DB) Reopen() error {
	db.mu.Lock()
	defer db.mu.Unlock()
	if err := db.bolt.Close(); err != nil {
		return fmt.Errorf("edge: %w", err)
	}
	if err := db.open(); err != nil {
		return err
	}
	return db.bolt.Update(func(tx *bolt.Tx) error {
		return tx.Bucket(metaBucket).Put(probeKey, number(time.Now().UnixNano()))
	})
}

// Update runs fn in a transaction and commits it. An error of fn, or of the commit, undoes all of it.
func (db *DB) Update(fn func(*Tx) error) error {
	db.mu.RLock()
	defer db.mu.RUnlock()
	err := db.bolt.Update(func(tx *bolt.Tx) error {
		err := fn(&Tx{tx})
		if err == nil && db.aroundCommit != nil {
			db.aroundCommit(false)
		}
		return err
	})
	if err == nil && db.aroundCommit != nil {
		db.aroundCommit(true)
	}
	return err
}

// AroundCommit has fn called before each commit and, with done, after it: a test can end the process there. Call it
// before the file is used.
func (db *DB) AroundCommit(fn func(done bool)) { db.aroundCommit = fn }

// View runs fn on what was last committed.
func (db *DB) View(fn func(*Tx) error) error {
	db.mu.RLock()
	defer db.mu.RUnlock()
	return db.bolt.View(func(tx *bolt.Tx) error { return fn(&Tx{tx}) })
}

// Size returns the size of the file in bytes.
func (db *DB) Size() int64 {
	info, err := os.Stat(filepath.Join(db.dir, fileName))
	if err != nil {
		return 0
	}
	return info.Size()
}

// Full reports whether an error says that there is no room on the disk.
func Full(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG)
}

// Tx is a transaction.
type Tx struct{ bolt *bolt.Tx }

// number is a number as a key, in the order of numbers.
func number(n int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(n)) }

func numberOf(b []byte) int64 {
	if len(b) != 8 {
		return 0
	}
	return int64(binary.BigEndian.Uint64(b))
}

// put writes a value as JSON.
func put(b *bolt.Bucket, key []byte, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return b.Put(key, text)
}

// each reads all values of a bucket.
func each[T any](b *bolt.Bucket, fn func(key []byte, value T) error) error {
	return b.ForEach(func(k, v []byte) error {
		var value T
		if err := json.Unmarshal(v, &value); err != nil {
			return fmt.Errorf("edge: the entry %q of the file is damaged: %w", k, err)
		}
		return fn(k, value)
	})
}
