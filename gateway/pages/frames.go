package pages

import (
	"bytes"
	"encoding/json"
	"image"
	"image/jpeg"
	"runtime"
	"sync"

	"github.com/valyala/fasthttp"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/fault"
	"github.com/starlightsymphony/starlight/shared/qrread"
)

// mostFrame is how large a frame of a camera may be, in bytes.
const mostFrame = 96 << 10

const framePath = "/door/{id}/frame"

// IsFrame reports whether a route reads frames: those give way to all else.
func IsFrame(r Route) bool { return r.Path == framePath }

// frames read codes in the frames of cameras, for browsers that do not read them themselves. Scans go first: at most
// half of the processors read frames, one of each session, and a frame for which there is no place is left out. The
// next one comes anyway.
type frames struct {
	known    chan struct{} // places for people, and for devices that are known here
	devices  chan struct{} // and for devices whose passes only the system can tell: they cannot take those of others
	mu       sync.Mutex
	sessions map[string]bool // whose frame is being read
}

func newFrames() *frames {
	return &frames{known: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)), devices: make(chan struct{}, 1),
		sessions: map[string]bool{}}
}

// take takes a place for a session, which is given back by done. Without one ok is false.
func (f *frames) take(places chan struct{}, session string) (done func(), ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.sessions[session] {
		return nil, false
	}
	select {
	case places <- struct{}{}:
	default:
		return nil, false
	}
	f.sessions[session] = true
	return func() {
		<-places
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.sessions, session)
	}, true
}

// frame answers with the code in a frame of a camera, or with nothing. What the code is worth is asked as ever.
func (s *Site) frame(v *visit) error {
	ref, err := v.eventRef()
	if err != nil {
		return err
	}
	places, session := s.frames.known, v.token()
	switch {
	case s.cfg.Here != nil:
		if _, err := ask(v, api.GetEvent, &ref); err != nil { // which it shows those at its doors
			return err
		}
	case v.isPaired(ref.ID):
		places, session = s.frames.devices, v.pass(ref.ID)
	default:
		if _, err := v.As(api.AdmitTicket.Spec, session); err != nil {
			return err
		}
	}
	body := v.RC.PostBody()
	if len(body) > mostFrame {
		return fault.New(fault.TooLarge, "a frame has at most %d bytes", mostFrame)
	}
	v.RC.Response.SetStatusCode(fasthttp.StatusNoContent)
	done, ok := s.frames.take(places, session)
	if !ok {
		return nil
	}
	defer done()
	img, err := grey(body)
	if err != nil {
		return err
	}
	code, err := qrread.Read(img)
	if err != nil {
		return nil
	}
	answer, err := json.Marshal(map[string]string{"code": code})
	if err != nil {
		return err
	}
	v.RC.Response.SetStatusCode(fasthttp.StatusOK)
	v.RC.Response.Header.SetContentType("application/json")
	v.RC.Response.SetBodyRaw(answer)
	return nil
}

// grey decodes a frame, a JPEG file, without its colours.
func grey(file []byte) (*image.Gray, error) {
	unreadable := func(err error) error { return fault.Wrap(err, fault.Invalid, "the frame is no JPEG picture") }
	size, err := jpeg.DecodeConfig(bytes.NewReader(file))
	if err != nil {
		return nil, unreadable(err)
	}
	if size.Width*size.Height > qrread.MostPixels {
		return nil, fault.New(fault.TooLarge, "a frame has at most %d pixels", qrread.MostPixels)
	}
	img, err := jpeg.Decode(bytes.NewReader(file))
	if err != nil {
		return nil, unreadable(err)
	}
	switch m := img.(type) {
	case *image.Gray:
		return m, nil
	case *image.YCbCr:
		return &image.Gray{Pix: m.Y, Stride: m.YStride, Rect: m.Rect}, nil
	}
	return nil, fault.New(fault.Invalid, "the frame has colours that no camera has")
}
