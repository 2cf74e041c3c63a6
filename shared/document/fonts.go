package document

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"github.com/go-text/typesetting/font"
	"github.com/go-text/typesetting/fontscan"
	"github.com/go-text/typesetting/language"
	"github.com/go-text/typesetting/shaping"
	"golang.org/x/image/font/gofont/gobold"
	"golang.org/x/image/font/gofont/goregular"
)

// FontConfig says where fonts are looked for.
type FontConfig struct {
	BuiltInOnly bool         // do not look for fonts on the machine
	Cache       string       // folder for an index of the machine's fonts; empty: that of the user
	Log         *slog.Logger // nil: none
}

// Fonts shapes text. The built-in fonts are parsed once, here. It is safe for concurrent use.
type Fonts struct {
	cfg FontConfig

	mu            sync.Mutex
	regular, bold *typeface
	system        *fontscan.FontMap // nil until it is needed, or when there is none
	searched      bool
	shaper        shaping.HarfbuzzShaper
	segmenter     shaping.Segmenter
	wrapper       shaping.LineWrapper
	glyphs        map[glyphKey]*glyph
	laidOut       map[layoutKey][]Text // by what was asked for: documents of one kind repeat each other
}

type glyphKey struct {
	face *font.Face
	id   font.GID
}

// layoutKey is a call of Wrap.
type layoutKey struct {
	text  string
	style Style
	width float64
	most  int
}

// Bounds of what is remembered: how glyphs look, and how texts are laid out that are no longer than so many bytes.
const (
	mostGlyphs  = 20_000
	mostLaidOut = 1_000
	longestKept = 500
)

// NewFonts returns the built-in fonts, and those of the machine unless they are not wanted.
func NewFonts(cfg FontConfig) (*Fonts, error) {
	f := &Fonts{cfg: cfg, glyphs: map[glyphKey]*glyph{}, laidOut: map[layoutKey][]Text{}}
	if f.cfg.Log == nil {
		f.cfg.Log = slog.New(slog.DiscardHandler)
	}
	var err error
	if f.regular, err = parseTypeface("GoRegular", goregular.TTF); err != nil {
		return nil, err
	}
	f.regular.have("0123456789abcdefghijklmnopqrstuvwxyz")
	if f.bold, err = parseTypeface("GoBold", gobold.TTF); err != nil {
		return nil, err
	}
	return f, nil
}

// builtIn returns the built-in font of a style.
func (f *Fonts) builtIn(bold bool) *typeface {
	if bold {
		return f.bold
	}
	return f.regular
}

// resolver finds the face for each sign of a text.
type resolver struct {
	*Fonts
	bold bool
}

// ResolveFace implements shaping.Fontmap. Where no font has a sign, it is the built-in one that draws its box.
func (r resolver) ResolveFace(sign rune) *font.Face {
	face := r.builtIn(r.bold).Face
	if has(face, sign) {
		return face
	}
	if other := r.onMachine(sign, r.bold); other != nil {
		return other
	}
	return face
}

func has(face *font.Face, sign rune) bool {
	_, found := face.NominalGlyph(sign)
	return found
}

// onMachine returns a face of the machine that has a sign, or nil.
func (f *Fonts) onMachine(sign rune, bold bool) *font.Face {
	if !f.searched && !f.cfg.BuiltInOnly {
		f.searched = true
		f.search()
	}
	if f.system == nil {
		return nil
	}
	query := fontscan.Query{Families: []string{"Noto Sans", "sans-serif"}}
	if bold {
		query.Aspect.Weight = font.WeightBold
	}
	f.system.SetQuery(query)
	f.system.SetScript(language.LookupScript(sign))
	if face := f.system.ResolveFace(sign); face != nil && has(face, sign) {
		return face
	}
	return nil
}

// search makes an index of the fonts of the machine.
func (f *Fonts) search() {
	log := scanLog{f.cfg.Log}
	m := fontscan.NewFontMap(log)
	if err := m.UseSystemFonts(f.cfg.Cache); err != nil {
		f.cfg.Log.Warn("the fonts of the machine cannot be used: text of many scripts is shown as boxes", "error", err)
		return
	}
	f.system = m
}

// scanLog takes what the search for fonts says of each file.
type scanLog struct{ log *slog.Logger }

func (l scanLog) Printf(format string, args ...any) {
	if l.log.Enabled(context.Background(), slog.LevelDebug) {
		l.log.Debug("fonts: " + fmt.Sprintf(format, args...))
	}
}
