package passwords

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Filter is a set of passwords that may have one too many: about one of ten thousand that are not in it. It is a Bloom
// filter over the SHA-1 of passwords, which is how lists of stolen ones are published; the parts of that are the hashes
// of the filter, so there is no other one.
type Filter struct{ words []uint64 }

const (
	bitsEach = 20 // for each password
	probes   = 14 // bits that a password sets
	magic    = "starlight passwords 1\n"
)

func newFilter(passwords int) *Filter {
	return &Filter{words: make([]uint64, max(1, (passwords*bitsEach+63)/64))}
}

// bit returns the place of a probe: by two halves of the SHA-1, of which the second is odd.
func (f *Filter) bit(sum [sha1.Size]byte, probe int) (word uint64, mask uint64) {
	at := binary.BigEndian.Uint64(sum[:]) + uint64(probe)*(binary.BigEndian.Uint64(sum[8:])|1)
	place, _ := bits.Mul64(at, uint64(len(f.words))*64) // evenly within all bits
	return place / 64, 1 << (place % 64)
}

func (f *Filter) add(sum [sha1.Size]byte) {
	for p := range probes {
		word, mask := f.bit(sum, p)
		f.words[word] |= mask
	}
}

// Has reports whether a password with this SHA-1 is in the set.
func (f *Filter) Has(sum [sha1.Size]byte) bool {
	for p := range probes {
		if word, mask := f.bit(sum, p); f.words[word]&mask == 0 {
			return false
		}
	}
	return true
}

// Write writes the filter, for Open.
func (f *Filter) Write(w io.Writer) error {
	if _, err := io.WriteString(w, magic); err != nil {
		return err
	}
	return binary.Write(w, binary.LittleEndian, f.words)
}

// Open reads a filter that Write wrote.
func Open(path string) (*Filter, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	body, ok := bytes.CutPrefix(raw, []byte(magic))
	if !ok || len(body) == 0 || len(body)%8 != 0 {
		return nil, fmt.Errorf("%s is no file that `starlight passwords` has made", path)
	}
	f := &Filter{words: make([]uint64, len(body)/8)}
	for i := range f.words {
		f.words[i] = binary.LittleEndian.Uint64(body[8*i:])
	}
	return f, nil
}

// Make makes a filter of the passwords in a file, or in the files of a folder, one a line: as they are, or as SHA-1 in
// hex, with or without :COUNT behind it, of which those below least are left out. In a folder of range files, whose
// names are the first five digits, lines are the other 35. It returns how many passwords there are.
func Make(path string, least int) (*Filter, int, error) {
	var f *Filter
	n := 0
	for range 2 { // to count them, then to add them
		n = 0
		err := walk(path, func(prefix, line string) {
			if sum, ok := sumOf(prefix, line, least); ok {
				if n++; f != nil {
					f.add(sum)
				}
			}
		})
		if err != nil {
			return nil, 0, err
		}
		if f == nil {
			f = newFilter(n)
		}
	}
	if n == 0 {
		return nil, 0, errors.New("there are no passwords in it")
	}
	return f, n, nil
}

// walk calls fn for each line of a file, or of the files in a folder, with the first digits that its name stands for.
func walk(path string, fn func(prefix, line string)) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	files := []string{path}
	if info.IsDir() {
		if files, err = filepath.Glob(filepath.Join(path, "*")); err != nil {
			return err
		}
	}
	for _, name := range files {
		prefix := ""
		if base := strings.TrimSuffix(filepath.Base(name), ".txt"); info.IsDir() && len(base) == 5 && isHex(base) {
			prefix = base
		}
		if err := lines(name, func(line string) { fn(prefix, line) }); err != nil {
			return err
		}
	}
	return nil
}

func lines(name string, fn func(string)) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	in := bufio.NewScanner(file)
	for in.Scan() {
		if line := strings.TrimRight(in.Text(), "\r"); line != "" {
			fn(line)
		}
	}
	if err := in.Err(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// sumOf returns the SHA-1 that a line stands for, unless it was seen too seldom.
func sumOf(prefix, line string, least int) (out [sha1.Size]byte, ok bool) {
	digits, count, counted := strings.Cut(prefix+line, ":")
	if len(digits) != 2*sha1.Size || !isHex(digits) {
		return sum(line), true
	}
	if n, err := strconv.Atoi(count); counted && (err != nil || n < least) {
		return out, false
	}
	_, err := hex.Decode(out[:], []byte(digits))
	return out, err == nil
}

func isHex(s string) bool { return strings.Trim(s, "0123456789abcdefABCDEF") == "" }
