package document

import (
	"bytes"
	"encoding/binary"
	"hash/adler32"
	"hash/crc32"

	"github.com/klauspost/compress/flate"
	"rsc.io/qr"
)

// QR is a QR code, of which a quarter may be damaged.
type QR struct{ code *qr.Code }

// NewQR encodes a text, which may be too long for a QR code.
func NewQR(text string) (*QR, error) {
	code, err := qr.Encode(text, qr.M)
	if err != nil {
		return nil, err
	}
	return &QR{code}, nil
}

const (
	quietZone = 4    // modules: the light edge that readers need
	overlap   = 1.02 // height of a drawn module: no printer leaves a gap between two rows
)

// side returns the number of modules of a side, with the quiet zone.
func (q *QR) side() int { return q.code.Size + 2*quietZone }

// PNG returns a picture with one bit for each pixel and eight pixels for the side of a module.
func (q *QR) PNG() []byte {
	const scale = 8 // pixels: a module of a row is one byte
	side := q.side()
	var b bytes.Buffer
	b.WriteString("\x89PNG\r\n\x1a\n")
	var header [13]byte // width, height, bits, gray, deflate, adaptive filters, not interlaced
	binary.BigEndian.PutUint32(header[0:], uint32(side*scale))
	binary.BigEndian.PutUint32(header[4:], uint32(side*scale))
	header[8] = 1
	pngChunk(&b, "IHDR", header[:])
	const unfiltered, up = 0, 2 // RFC 2083: bytes as they are, and differences to the row above
	pixels := make([]byte, 0, side*scale*(side+1))
	for row := range side {
		pixels = append(pixels, unfiltered)
		for column := range side {
			light := byte(0xff)
			if q.code.Black(column-quietZone, row-quietZone) {
				light = 0
			}
			pixels = append(pixels, light)
		}
		for range scale - 1 {
			pixels = append(append(pixels, up), make([]byte, side)...)
		}
	}
	pngChunk(&b, "IDAT", deflated(pixels))
	pngChunk(&b, "IEND", nil)
	return b.Bytes()
}

func pngChunk(b *bytes.Buffer, name string, data []byte) {
	chunk := append([]byte(name), data...)
	var number [4]byte
	binary.BigEndian.PutUint32(number[:], uint32(len(data)))
	b.Write(number[:])
	b.Write(chunk)
	binary.BigEndian.PutUint32(number[:], crc32.ChecksumIEEE(chunk))
	b.Write(number[:])
}

// deflated returns data in the format of zlib, RFC 1950.
func deflated(data []byte) []byte {
	var packed bytes.Buffer
	packed.WriteString("\x78\x01")
	_ = flate.StatelessDeflate(&packed, data, true, nil) // a buffer does not fail
	return binary.BigEndian.AppendUint32(packed.Bytes(), adler32.Checksum(data))
}

// placedCode is a code on a drawing.
type placedCode struct {
	*QR
	x, y, size float64
}

// QR draws a code with its quiet zone into a square.
func (d *Drawing) QR(x, y, size float64, q *QR, c Color) {
	d.items = append(d.items, item{color: c, code: &placedCode{q, x, y, size}})
}

func (p *placedCode) module() float64 { return p.size / float64(p.side()) }

// runs calls fn for the dark modules that stand beside each other: where they begin, and how many they are.
func (p *placedCode) runs(fn func(column, row, length int)) {
	for row := range p.code.Size {
		for from := 0; from < p.code.Size; from++ {
			to := from
			for to < p.code.Size && p.code.Black(to, row) {
				to++
			}
			if to > from {
				fn(from+quietZone, row+quietZone, to-from)
				from = to
			}
		}
	}
}

// squares returns the runs as rectangles.
func (p *placedCode) squares() (all []rect) {
	module := p.module()
	p.runs(func(column, row, length int) {
		x, y := p.x+module*float64(column), p.y+module*float64(row)
		all = append(all, rect{x, y, module * float64(length), module * overlap})
	})
	return all
}
