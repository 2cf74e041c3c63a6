package manual

import (
	"strings"
	"testing"

	"github.com/starlightsymphony/starlight/shared/fault"
)

// TestReferenceFindsErrors spoils references in every way that the check character promises to find.
func TestReferenceFindsErrors(t *testing.T) {
	for range 50 {
		ref := newReference()
		if got, err := parseReference(ref); err != nil || got != ref {
			t.Fatalf("%s is read as %q, %v", ref, got, err)
		}
		plain := strings.Replace(ref, "-", "", 1)
		for i := range plain {
			for _, c := range referenceAlphabet {
				if byte(c) == plain[i] {
					continue
				}
				if wrong := plain[:i] + string(c) + plain[i+1:]; accepted(wrong) {
					t.Errorf("%s is taken for right, with %s meant", wrong, plain)
				}
			}
			for k := i + 1; k < len(plain); k++ {
				swapped := []byte(plain)
				swapped[i], swapped[k] = swapped[k], swapped[i]
				if string(swapped) != plain && accepted(string(swapped)) {
					t.Errorf("%s is taken for right, with %s meant", swapped, plain)
				}
			}
		}
	}
}

func accepted(s string) bool {
	_, err := parseReference(s)
	return err == nil
}

func TestReferenceAsTyped(t *testing.T) {
	// 1·0 + 2·1 + 3·2 + … + 7·6 = 112, and 112 + 8·17 = 8·31. The character with the value 17 is J.
	const right = "1234-567J"
	for _, typed := range []string{right, "1234-567j", "i234 567J", " L2-34-5 67J "} {
		if got, err := parseReference(typed); err != nil || got != right {
			t.Errorf("%q is read as %q, %v; want %s", typed, got, err, right)
		}
	}
	for _, typed := range []string{"", "1234-567K", "1234567", right + "1", right + right, "0" + right[1:], "É" + right, strings.Repeat(" ", 100) + right} {
		_, err := parseReference(typed)
		wantFault(t, err, fault.Invalid)
	}
}

// TestReferenceIsRandom draws references and counts their characters: none may be rare.
func TestReferenceIsRandom(t *testing.T) {
	const n = 3100
	count := map[rune]int{}
	seen := map[string]bool{}
	for range n {
		ref := newReference()
		if seen[ref] {
			t.Errorf("%s was drawn twice", ref)
		}
		seen[ref] = true
		for _, c := range strings.ReplaceAll(ref[:8], "-", "") {
			count[c]++
		}
	}
	for _, c := range referenceAlphabet { // 700 each on average, with a deviation of 26
		if count[c] < 500 || count[c] > 900 {
			t.Errorf("%c stands %d times", c, count[c])
		}
	}
}

func FuzzParseReference(f *testing.F) {
	f.Add("1234-567J")
	f.Add(newReference())
	f.Add("l l l l")
	f.Fuzz(func(t *testing.T, s string) {
		ref, err := parseReference(s)
		if err != nil {
			return
		}
		if again, err := parseReference(ref); err != nil || again != ref {
			t.Fatalf("%q is %q, and that is %q, %v", s, ref, again, err)
		}
	})
}
