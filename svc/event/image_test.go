package event

import (
	"bytes"
	"errors"
	"image"
	"image/color"
	"image/draw"
	"image/jpeg"
	"image/png"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/ids"
	"github.com/starlightsymphony/starlight/shared/media"
	"github.com/starlightsymphony/starlight/shared/picture"
	"github.com/starlightsymphony/starlight/shared/rpc"
	"github.com/starlightsymphony/starlight/shared/rpc/codec"
)

// photo is a picture of one colour, as JPEG.
func photo(t *testing.T, w, h int, c color.Color) []byte {
	t.Helper()
	m := image.NewRGBA(image.Rect(0, 0, w, h))
	draw.Draw(m, m.Rect, image.NewUniform(c), image.Point{}, draw.Src)
	var b bytes.Buffer
	if err := jpeg.Encode(&b, m, nil); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// has reports whether the files of a picture are kept.
func (w *harness) has(p api.Picture) bool {
	w.t.Helper()
	found := 0
	for _, f := range p.Files() {
		switch _, err := w.media.Get(w.t.Context(), strings.TrimPrefix(f.URL, api.MediaPath)); {
		case err == nil:
			found++
		case !errors.Is(err, media.ErrNotFound):
			w.t.Fatal(err)
		}
	}
	if found > 0 && found < len(p.Files()) {
		w.t.Errorf("%d of %d files of %s are there", found, len(p.Files()), p.ID)
	}
	return found > 0
}

// sweep takes away what has not been used for a day.
func (w *harness) sweep() {
	w.t.Helper()
	for range 2 { // the first one finds out since when
		if err := w.service.pictures.Sweep(w.t.Context()); err != nil {
			w.t.Fatal(err)
		}
		w.clock.Set(w.clock.Now().Add(25 * time.Hour))
	}
	if err := w.service.pictures.Sweep(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

func (w *harness) rows() (n int) {
	w.t.Helper()
	if err := w.db.Read().NewRaw("SELECT count(*) FROM pictures").Scan(w.t.Context(), &n); err != nil {
		w.t.Fatal(err)
	}
	return n
}

// A picture is given to an event, said in words in each language, replaced, copied along, and goes with the last event
// that has it.
func TestEventImage(t *testing.T) {
	bothHarnesses(t, func(t *testing.T, w *harness) {
		e := w.draft("Tosca")
		put := func(c color.Color, alt string) *api.Event {
			return must(w, anna, api.PutEventImage, api.NewEventImage{ID: e.ID, Alt: alt, Data: photo(t, 1700, 900, c)})
		}
		first := put(color.RGBA{200, 30, 30, 255}, "  A  singer ")
		p := first.Image
		if p.Alt != "A  singer" || p.Small.Width != 480 || p.Medium.Width != 960 || p.Large.Width != 1600 || p.Large.Height != 847 ||
			p.Color[:2] != "#c" || first.Revision != e.Revision+1 || !w.has(p) {
			t.Errorf("the picture is %+v", p)
		}
		if got := must(w, anna, api.GetEvent, api.EventRef{ID: e.ID}); got.Image != p {
			t.Errorf("it is read as %+v", got.Image)
		}
		alt := "A singer on a stage"
		next := must(w, anna, api.UpdateEvent, api.PatchEvent{ID: e.ID, ImageAlt: &alt, Language: codec.To("en"),
			Translations: codec.To([]api.Translation{{Language: "de", Name: "Tosca", ImageAlt: "Eine Sängerin"}})})
		if next.Image.Alt != alt || next.In("de").Image.Alt != "Eine Sängerin" || next.In("fr").Image.Alt != alt {
			t.Errorf("it is said to be %q, in German %q", next.Image.Alt, next.In("de").Image.Alt)
		}
		copied := must(w, anna, api.CopyEvent, api.CopyOf{ID: e.ID, StartsAt: e.StartsAt.Add(48 * time.Hour)})
		if copied.Image != next.Image {
			t.Errorf("the copy has %+v", copied.Image)
		}
		second := put(color.RGBA{30, 30, 200, 255}, "Another one")
		if second.Image.ID == p.ID || second.Image.Small.URL == p.Small.URL {
			t.Error("another picture has the same address")
		}
		w.sweep()
		if !w.has(p) || !w.has(second.Image) {
			t.Error("a picture is gone that an event has")
		}
		must(w, anna, api.DeleteEvent, api.EventRef{ID: copied.ID})
		w.sweep()
		if w.has(p) || !w.has(second.Image) || w.rows() != 1 {
			t.Errorf("after the copy was deleted its picture is there: %v, that of the other event: %v, rows: %d", w.has(p),
				w.has(second.Image), w.rows())
		}
		must(w, anna, api.DeleteEventImage, api.EventImageRef{ID: e.ID})
		must(w, anna, api.DeleteEventImage, api.EventImageRef{ID: e.ID})
		if got := must(w, anna, api.GetEvent, api.EventRef{ID: e.ID}); got.Image != (api.Picture{}) {
			t.Errorf("the event still has %+v", got.Image)
		}
		if w.sweep(); w.has(second.Image) || w.rows() != 0 {
			t.Error("the picture is still there")
		}
		_, err := call(w, anna, api.UpdateEvent, api.PatchEvent{ID: e.ID, ImageAlt: &alt})
		wantCode(t, err, fault.Invalid)
	})
}

// Who may not edit the event is told so before the picture is looked at, and what is no picture changes nothing.
func TestImageRefused(t *testing.T) {
	w := start(t)
	e := w.published("Tosca")
	good := photo(t, 640, 480, color.White)
	for name, c := range map[string]struct {
		by   rpc.Principal
		req  api.NewEventImage
		want fault.Code
	}{
		"a stranger":    {ben, api.NewEventImage{ID: e.ID, Alt: "x", Data: []byte("<svg/>")}, fault.Forbidden},
		"no words":      {anna, api.NewEventImage{ID: e.ID, Alt: " ", Data: good}, fault.Invalid},
		"many words":    {anna, api.NewEventImage{ID: e.ID, Alt: strings.Repeat("x", 501), Data: good}, fault.Invalid},
		"no picture":    {anna, api.NewEventImage{ID: e.ID, Alt: "x", Data: []byte("<svg/>")}, fault.Invalid},
		"half of one":   {anna, api.NewEventImage{ID: e.ID, Alt: "x", Data: good[:len(good)/2]}, fault.Invalid},
		"a wrong scope": {anna, api.NewEventImage{ID: e.ID, Alt: "x", Data: good, Scope: "some"}, fault.Invalid},
		"no such event": {anna, api.NewEventImage{ID: ids.New[ids.EventKind](w.clock.Now()), Alt: "x", Data: good}, fault.NotFound},
	} {
		_, err := call(w, c.by, api.PutEventImage, c.req)
		if !fault.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if got := must(w, anna, api.GetEvent, api.EventRef{ID: e.ID}); got.Revision != e.Revision || w.rows() != 0 {
		t.Errorf("something was changed: revision %d, %d pictures", got.Revision, w.rows())
	}
	must(w, anna, api.CancelEvent, api.CancelEventRequest{ID: e.ID})
	_, err := call(w, anna, api.PutEventImage, api.NewEventImage{ID: e.ID, Alt: "x", Data: good})
	wantCode(t, err, fault.Conflict)
}

// Of pictures that come at once one stays, and the others go; all dates of a series can have one.
func TestImagesAtOnce(t *testing.T) {
	bothHarnesses(t, func(t *testing.T, w *harness) {
		w.instance()
		e := w.draft("Tosca")
		var made sync.Map
		var all sync.WaitGroup
		for i := range 4 {
			all.Go(func() {
				got, err := call(w, anna, api.PutEventImage, api.NewEventImage{ID: e.ID, Alt: "One of four",
					Data: photo(t, 400, 300, color.Gray{uint8(50 * i)})})
				if err != nil {
					t.Error(err)
					return
				}
				made.Store(got.Image, true)
			})
		}
		all.Wait()
		kept := must(w, anna, api.GetEvent, api.EventRef{ID: e.ID}).Image
		w.sweep()
		made.Range(func(p, _ any) bool {
			if has := w.has(p.(api.Picture)); has != (p == kept) {
				t.Errorf("%s is there: %v; the event has %s", p.(api.Picture).ID, has, kept.ID)
			}
			return true
		})
		_, dates := w.weekly()
		must(w, anna, api.PutEventImage, api.NewEventImage{ID: dates[0].ID, Scope: api.ScopeAll, Alt: "Of all",
			Data: photo(t, 400, 300, color.White)})
		first := must(w, anna, api.GetEvent, api.EventRef{ID: dates[0].ID}).Image
		for _, d := range dates {
			if got := must(w, anna, api.GetEvent, api.EventRef{ID: d.ID}).Image; got != first || got.ID == "" {
				t.Errorf("a date has %+v", got)
			}
		}
	})
}

// A process that dies between two steps of an upload leaves what the next sweep takes away; no more than its share of
// pictures is made for an organizer.
func TestImagesInterrupted(t *testing.T) {
	w := start(t)
	e := w.draft("Tosca")
	for range 2 { // it died before the event got the picture
		p, err := w.service.pictures.Keep(t.Context(), e.OrganizerID, photo(t, 400, 300, color.White), picture.Poster)
		if err != nil || !w.has(p) {
			t.Fatal(err)
		}
		if err := w.media.Delete(t.Context(), strings.TrimPrefix(p.Small.URL, api.MediaPath)); err != nil { // or before that
			t.Fatal(err)
		}
	}
	if w.rows() != 2 {
		t.Fatalf("%d pictures", w.rows())
	}
	if w.sweep(); w.rows() != 0 {
		t.Errorf("%d pictures are left", w.rows())
	}
}

// The logo of an organizer is seen by who sees the organizer, goes with what is told of its terms, and with the person
// whose organizer it is.
func TestLogo(t *testing.T) {
	bothHarnesses(t, func(t *testing.T, w *harness) {
		e := w.published("Tosca")
		m := image.NewNRGBA(image.Rect(0, 0, 500, 250))
		draw.Draw(m, image.Rect(100, 50, 300, 200), image.NewUniform(color.RGBA{200, 0, 0, 255}), image.Point{}, draw.Src)
		var file bytes.Buffer
		if err := png.Encode(&file, m); err != nil {
			t.Fatal(err)
		}
		_, err := call(w, ben, api.PutLogo, api.NewLogo{ID: e.OrganizerID, Data: file.Bytes()})
		wantCode(t, err, fault.NotFound)
		o := must(w, anna, api.PutLogo, api.NewLogo{ID: e.OrganizerID, Data: file.Bytes()})
		if o.Logo.Large.Width != 384 || !strings.HasSuffix(o.Logo.Large.URL, ".png") || !w.has(o.Logo) {
			t.Errorf("the logo is %+v", o.Logo)
		}
		if got := must(w, anna, api.GetOrganizer, api.OrganizerRef{ID: e.OrganizerID}); got.Logo != o.Logo {
			t.Errorf("a member sees %+v", got.Logo)
		}
		if got := must(w, ben, api.GetOrganizerProfile, api.OrganizerName{Name: o.Slug}); got.Logo != o.Logo {
			t.Errorf("anybody sees %+v", got.Logo)
		}
		offer, err := w.service.offer(t.Context(), &api.OfferRequest{EventID: e.ID})
		if err != nil || offer.Organizer.Selling.Logo != o.Logo {
			t.Errorf("offers have %+v, %v", offer.Organizer.Selling.Logo, err)
		}
		if w.sweep(); !w.has(o.Logo) {
			t.Error("the logo is gone")
		}
		if err := w.service.organizers.Forget(t.Context(), anna.User); err != nil {
			t.Fatal(err)
		}
		if w.sweep(); w.has(o.Logo) {
			t.Error("the logo of a person who is gone is still there")
		}
		must(w, admin, api.PutLogo, api.NewLogo{ID: e.OrganizerID, Data: file.Bytes()})
		must(w, admin, api.DeleteLogo, api.OrganizerRef{ID: e.OrganizerID})
		if w.sweep(); w.rows() != 0 {
			t.Errorf("%d pictures are left", w.rows())
		}
	})
}
