package browsing_test

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/svc/system/systemtest"
)

// held is what a camera sees when somebody holds the code of a ticket before it.
func held(t *testing.T, code []byte) *image.Gray {
	t.Helper()
	qr, err := png.Decode(bytes.NewReader(code))
	if err != nil {
		t.Fatal(err)
	}
	const w, h, side = 640, 480, 400
	frame := image.NewGray(image.Rect(0, 0, w, h))
	draw.Draw(frame, frame.Rect, image.NewUniform(color.Gray{120}), image.Point{}, draw.Src)
	size := qr.Bounds().Dx()
	for y := range side {
		for x := range side {
			frame.Set((w-side)/2+x, (h-side)/2+y, qr.At(x*size/side, y*size/side))
		}
	}
	return frame
}

// film writes what a camera sees to a file that Chromium takes for a camera: YUV4MPEG2.
func film(t *testing.T, path string, frame *image.Gray) string {
	t.Helper()
	w, h := frame.Rect.Dx(), frame.Rect.Dy()
	var b bytes.Buffer
	fmt.Fprintf(&b, "YUV4MPEG2 W%d H%d F10:1 Ip A1:1 C420jpeg\n", w, h)
	for range 10 {
		b.WriteString("FRAME\n")
		b.Write(frame.Pix)
		b.Write(bytes.Repeat([]byte{128}, w*h/2))
	}
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// A ticket is held before the camera of a browser that does not read codes itself: the process reads it, and the holder
// comes in.
func TestCameraInABrowser(t *testing.T) {
	t.Parallel()
	s, _, _ := systemtest.Start(t, systemtest.Config(t.TempDir()))
	admin := s.Login(systemtest.AdminEmail)
	event := s.Concert(admin, 20, 0)
	order := systemtest.Call[api.Order](s, 201, "POST", "/v1/orders", admin, systemtest.Seats(event, 1))
	tickets := "/v1/orders/" + order.ID.String() + "/tickets"
	ticket := systemtest.Call[api.List[api.Ticket]](s, 200, "GET", tickets, admin, nil).Items[0]
	code, err := s.Send("GET", "/v1/tickets/"+ticket.ID.String()+"/qr.png", admin, nil)
	if err != nil || code.Status != 200 {
		t.Fatal(code.Status, err)
	}
	frame := held(t, code.Body)
	door := "/door/" + event.ID.String()

	c := s.Chromium(chromedp.Flag("use-fake-device-for-media-stream", true),
		chromedp.Flag("use-fake-ui-for-media-stream", true),
		chromedp.Flag("use-file-for-fake-video-capture", film(t, filepath.Join(t.TempDir(), "camera.y4m"), frame)),
		chromedp.Flag("disable-blink-features", "BarcodeDetector"))
	c.Run(chromedp.Navigate(c.Site+"/sign-in?next="+door), chromedp.SendKeys(`input[name=email]`, systemtest.AdminEmail),
		chromedp.SendKeys(`input[name=password]`, systemtest.Password), chromedp.Click(`.fields .go`))
	c.Says(event.Name)
	c.Run(chromedp.Click(`[data-camera]`))
	c.Says("Welcome")
	c.Look("door-camera")
	scans := systemtest.Call[api.List[api.Scan]](s, 200, "GET", "/v1/events/"+event.ID.String()+"/admissions", admin, nil)
	if len(scans.Items) != 1 || scans.Items[0].Result != api.Admitted || scans.Items[0].TicketID != ticket.ID {
		t.Errorf("the scans are %+v", scans.Items)
	}
}
