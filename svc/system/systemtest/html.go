package systemtest

import (
	"fmt"
	"hash/fnv"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"

	"github.com/starlightsymphony/starlight/shared/testkit"
)

// vnuVersion is that of the Nu Html Checker, the one of the W3C.
const vnuVersion = "26.9.27"

// seenPages are the pages that the browsers of a test have seen, as the server sent them. It is safe for concurrent
// use.
type seenPages struct {
	mu    sync.Mutex
	pages map[string]string // by a name for a file
}

var pageClass = regexp.MustCompile(`<body class="page-([a-z]+)">`)

func (s *seenPages) add(text string) {
	m := pageClass.FindStringSubmatch(text)
	if s == nil || m == nil {
		return
	}
	sum := fnv.New32a()
	sum.Write([]byte(text))
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pages == nil {
		s.pages = map[string]string{}
	}
	s.pages[fmt.Sprintf("%s-%x.html", m[1], sum.Sum32())] = text
}

// Validate proves that every page that a browser of the test has seen is HTML without an error.
func (s *Site) Validate() {
	s.T.Helper()
	java, err := exec.LookPath("java")
	if err != nil {
		testkit.Missing(s.T, "there is no java: "+err.Error())
	}
	jar := filepath.Join(testkit.NPM(s.T, "vnu-jar", vnuVersion), "build", "dist", "vnu.jar")
	dir := s.T.TempDir()
	s.seen.mu.Lock()
	defer s.seen.mu.Unlock()
	if len(s.seen.pages) == 0 {
		s.T.Fatal("no page was seen")
	}
	for name, text := range s.seen.pages {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			s.T.Fatal(err)
		}
	}
	out, err := exec.CommandContext(s.T.Context(), java, "-jar", jar, "--errors-only", "--skip-non-html", dir).
		CombinedOutput()
	if err == nil {
		return
	}
	told := map[string]bool{} // an error stands in many pages
	for line := range strings.Lines(strings.ReplaceAll(string(out), "file:"+dir+"/", "")) {
		_, what, found := strings.Cut(line, ": ")
		if !found {
			what = line
		}
		if !told[what] {
			s.T.Errorf("HTML: %s", line)
		}
		told[what] = true
	}
}
