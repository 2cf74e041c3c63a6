package system_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Every test that the table of requirements names is there.
func TestNamedTestsExist(t *testing.T) {
	table, err := os.ReadFile("../../docs/asvs.md")
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	err = filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range declared.FindAllSubmatch(text, -1) {
			there[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`(Test\\w+)`").FindAllSubmatch(table, -1)
	for _, m := range named {
		if !there[string(m[1])] {
			t.Errorf("%s is named, and is not there", m[1])
		}
	}
	if len(named) < 50 || bytes.Count(table, []byte("\n| ")) < 80 {
		t.Errorf("the table has become small: %d tests are named", len(named))
	}
}
