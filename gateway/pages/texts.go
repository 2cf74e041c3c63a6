package pages

import (
	"bufio"
	"bytes"
	"embed"
	"fmt"
	"strings"

	"golang.org/x/text/feature/plural"
	"golang.org/x/text/language"
)

//go:embed texts
var textFiles embed.FS

// texts are the words of the pages in one language, by key. {0}, {1}, … stand for what is put in.
type texts struct {
	tag   language.Tag
	words map[string]string
}

// readTexts reads texts/LANG.txt: a line "key = words" each, with # before remarks.
func readTexts(lang string) (texts, error) {
	t := texts{tag: language.Make(lang), words: map[string]string{}}
	file, err := textFiles.ReadFile("texts/" + lang + ".txt")
	if err != nil {
		return t, err
	}
	lines := bufio.NewScanner(bytes.NewReader(file))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, words, ok := strings.Cut(line, " = ")
		if _, twice := t.words[key]; !ok || twice {
			return t, fmt.Errorf("texts/%s.txt:%d is no line of its own: %s", lang, n, line)
		}
		t.words[key] = words
	}
	return t, lines.Err()
}

// text returns the words of a key. A key without words is an error: the page is not shown half.
func (t texts) text(key string, args ...any) (string, error) {
	words, ok := t.words[key]
	if !ok {
		return "", fmt.Errorf("no words for %q", key)
	}
	for i, arg := range args {
		words = strings.ReplaceAll(words, fmt.Sprintf("{%d}", i), fmt.Sprint(arg))
	}
	return words, nil
}

// counted returns the words of a key for a number, by the rules of CLDR: key.one or key.other.
func (t texts) counted(key string, n int) (string, error) {
	form := ".other"
	if plural.Cardinal.MatchPlural(t.tag, n, 0, 0, 0, 0) == plural.One {
		form = ".one"
	}
	return t.text(key+form, n)
}
