package gateway_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/shared/store"
	"github.com/starlightsymphony/starlight/shared/testkit"
)

// wire is a connection that sends the same request again and again, without work of its own.
type wire struct {
	t       testing.TB
	conn    net.Conn
	request []byte
	answer  []byte // room for one
	size    int
}

func (s *tallies) wire(t testing.TB, headers string) *wire {
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	w := &wire{t: t, conn: conn, answer: make([]byte, 4096),
		request: []byte("GET /v1/tallies/" + string(theEvent) + " HTTP/1.1\r\nHost: x\r\n" + headers + "\r\n")}
	if _, err := conn.Write(w.request); err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	first, err := http.ReadResponse(bufio.NewReader(io.TeeReader(conn, &all)), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, first.Body); err != nil {
		t.Fatal(err)
	}
	w.size = all.Len()
	return w
}

func (w *wire) exchange() {
	if _, err := w.conn.Write(w.request); err != nil {
		w.t.Fatal(err)
	}
	if _, err := io.ReadFull(w.conn, w.answer[:w.size]); err != nil {
		w.t.Fatal(err)
	}
}

// The request's id and what is known of the request are all that an answer from a copy allocates, also if the caller has
// it already.
func TestNearCopyAllocates(t *testing.T) {
	s := openTallies(t, tallyDB(t), withoutLog)
	s.kept(0)
	for name, headers := range map[string]string{"whole": "", "not modified": "If-None-Match: \"0\"\r\n"} {
		w := s.wire(t, headers)
		if n := testing.AllocsPerRun(2000, w.exchange); n > 2 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func tallyDB(t testing.TB) *store.DB {
	migrations := fstest.MapFS{"0001_tallies.sql": {Data: []byte(tallySchema)}}
	return testkit.Open(t, testkit.SQLite(t), "tallies", migrations)
}

// An answer from a copy is one like any other: limited, counted, for callers whom the access rule lets in.
func TestNearCopyIsAnAnswerLikeAnyOther(t *testing.T) {
	eachTallies(t, func(t *testing.T, s *tallies) {
		s.kept(0)
		before := s.reads.Load()
		if a := s.at(0, "GET", "X-Request-Id", "mine"); a.Header.Get("X-Request-Id") != "mine" ||
			a.Header.Get("X-Content-Type-Options") != "nosniff" || a.Header.Get("Cache-Control") != "no-cache" {
			t.Errorf("%v", a.Header)
		}
		if a := s.at(0, "HEAD"); a.StatusCode != 200 || a.ContentLength != int64(len(`{"n":0}`)) || a.body != "" {
			t.Errorf("HEAD: %d, %d bytes, %q", a.StatusCode, a.ContentLength, a.body)
		}
		if a := s.at(0, "GET", "Authorization", "Bearer wrong"); a.StatusCode != 401 {
			t.Errorf("with a wrong token: %d", a.StatusCode)
		}
		if a := s.send(s.url, "GET", "/v1/tallies/"+string(theEvent), "x", "Content-Type", "text/plain"); a.StatusCode != 415 {
			t.Errorf("with a body: %d", a.StatusCode)
		}
		if a := s.send(s.url, "GET", "/v1/tallies/"+string(theEvent)+"?id=2", ""); a.StatusCode != 400 {
			t.Errorf("with a value of the path in the query: %d", a.StatusCode)
		}
		if n := s.reads.Load() - before; n > 1 { // a lease may be renewed late on a busy machine
			t.Errorf("the service was asked %d times", n)
		}
		if err := s.live.Change(api.RatePerAddress.Is(1)); err != nil {
			t.Fatal(err)
		}
		refused := 0
		for range 5 {
			if a := s.at(0, "GET"); a.StatusCode == 429 {
				refused++
			}
		}
		if refused == 0 {
			t.Error("no request was refused beyond the limit")
		}
	})
}

func BenchmarkNearCopy(b *testing.B) {
	s := openTallies(b, tallyDB(b), withoutLog)
	s.kept(0)
	w := s.wire(b, "")
	b.ReportAllocs()
	for b.Loop() {
		w.exchange()
	}
}
