// Package pictures keeps the pictures of events and the logos of organizers: their files in a media.Store, and which
// there are in the database of the event service. A picture that no event and no organizer has any more goes after a
// day, whatever became of it: replaced, deleted with what had it, or never used because a process died.
package pictures

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/media"
	"github.com/starlightsymphony/starlight/shared/picture"
	"github.com/starlightsymphony/starlight/shared/quota"
	"github.com/starlightsymphony/starlight/shared/store"
)

// unusedFor is how long a picture stays that is not used: pages and lists that browsers and others keep still show it.
const unusedFor = 24 * time.Hour

// Pictures makes and keeps pictures.
type Pictures struct {
	quota.Counter
	Media media.Store
}

// Keep makes a picture of a file that was sent, and keeps it for an organizer. It is taken away after a day unless an
// event or an organizer has it by then.
func (p *Pictures) Keep(ctx context.Context, of ids.Organizer, file []byte, kind picture.Kind) (api.Picture, error) {
	made, err := picture.Make(file, kind)
	if err != nil {
		return api.Picture{}, err
	}
	pic := name(made)
	files := []struct {
		url  string
		data []byte
	}{{pic.Small.URL, made.Files[0].Data}, {pic.Medium.URL, made.Files[1].Data}, {pic.Large.URL, made.Files[2].Data}}
	var names []string
	for _, f := range files {
		names = append(names, strings.TrimPrefix(f.url, api.MediaPath))
	}
	if err := p.note(ctx, of, pic.ID, names); err != nil {
		return api.Picture{}, err
	}
	for i, f := range files {
		if i > 0 && f.url == files[i-1].url {
			continue
		}
		if err := p.Media.Put(ctx, names[i], f.data); err != nil {
			return api.Picture{}, fault.Wrap(fmt.Errorf("pictures: keep %s: %w", names[i], err), fault.Unavailable,
				"the picture cannot be kept at the moment").After(time.Second)
		}
	}
	return pic, nil
}

// name names a picture by what is in its files, and by chance: a name is given out once, and tells nobody who has the
// same picture whether it is here.
func name(made *picture.Made) api.Picture {
	sum := sha256.New()
	sum.Write([]byte(rand.Text()))
	for _, f := range made.Files {
		sum.Write(f.Data)
	}
	pic := api.Picture{ID: hex.EncodeToString(sum.Sum(nil)[:16]),
		Color: fmt.Sprintf("#%02x%02x%02x", made.Color.R, made.Color.G, made.Color.B)}
	for i, to := range []*api.PictureFile{&pic.Small, &pic.Medium, &pic.Large} {
		f := made.Files[i]
		*to = api.PictureFile{Width: f.Width, Height: f.Height,
			URL: fmt.Sprintf("%s%s-%d.%s", api.MediaPath, pic.ID, f.Width, made.Ext)}
	}
	return pic
}

// note writes down that a picture is there, if the organizer may have one more.
func (p *Pictures) note(ctx context.Context, of ids.Organizer, id string, names []string) error {
	return p.DB.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		have := tx.NewRaw("SELECT count(*) FROM pictures WHERE organizer_id = ?", of)
		if err := p.Room(ctx, tx, api.PicturesInAll, of.String(), "pictures of an organizer", have); err != nil {
			return err
		}
		if err := p.Take(ctx, tx, api.PicturesPerOrganizer, of.String(), "pictures of an organizer", 1); err != nil {
			return err
		}
		now := store.Time(p.Now())
		_, err := tx.ExecContext(ctx, `INSERT INTO pictures (id, organizer_id, files, created_at, unused_since)
			VALUES (?, ?, ?, ?, ?)`, id, of, strings.Join(names, " "), now, now)
		return err
	})
}

// isUsed is SQL for whether an event or an organizer has a picture.
const isUsed = `(EXISTS (SELECT 1 FROM events AS e WHERE e.image_id = p.id AND e.image_id <> '')
	OR EXISTS (SELECT 1 FROM organizers AS o WHERE o.logo_id = p.id AND o.logo_id <> ''))`

const sweptAtATime = 100

// Sweep notes which pictures are used, and takes away those that have not been for a day, and what is left of files
// that were never finished. A picture cannot come back into use after so long: whoever gives it to another event has
// read it a moment before.
func (p *Pictures) Sweep(ctx context.Context) error {
	now := store.Time(p.Now())
	err := p.DB.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		if _, err := tx.ExecContext(ctx, `UPDATE pictures AS p SET unused_since = NULL
			WHERE p.unused_since IS NOT NULL AND `+isUsed); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `UPDATE pictures AS p SET unused_since = ?
			WHERE p.unused_since IS NULL AND NOT `+isUsed, now)
		return err
	})
	for err == nil && ctx.Err() == nil {
		var gone int
		if gone, err = p.remove(ctx, now.Add(-unusedFor)); gone < sweptAtATime {
			break
		}
	}
	if err == nil {
		err = p.Media.Sweep(ctx, now.Add(-unusedFor))
	}
	return err
}

// remove takes some pictures away that were not used since a moment, and returns how many. Files go first: what a crash
// leaves is found again.
func (p *Pictures) remove(ctx context.Context, since time.Time) (int, error) {
	var rows []struct{ ID, Files string }
	err := p.DB.Read().NewRaw(`SELECT p.id, p.files FROM pictures AS p WHERE p.unused_since <= ? AND NOT `+isUsed+`
		LIMIT ?`, since, sweptAtATime).Scan(ctx, &rows)
	if err != nil {
		return 0, err
	}
	for _, row := range rows {
		for _, name := range strings.Fields(row.Files) {
			if err := p.Media.Delete(ctx, name); err != nil {
				return 0, fmt.Errorf("pictures: delete %s: %w", name, err)
			}
		}
		err := p.DB.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
			_, err := tx.ExecContext(ctx, "DELETE FROM pictures WHERE id = ?", row.ID)
			return err
		})
		if err != nil {
			return 0, err
		}
	}
	return len(rows), nil
}
