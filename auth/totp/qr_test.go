package totp_test

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"image/png"
	"strings"
	"testing"

	"github.com/doorward/doorward/auth/totp"
)

// A symbol is a QR code: true is dark, rows from the top.
type symbol [][]bool

// readPNG finds the symbol in the image and demands the margin of four modules, black and white, and nothing else.
func readPNG(t *testing.T, data []byte, size int) symbol {
	t.Helper()
	img, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if b := img.Bounds(); b.Dx() != size || b.Dy() != size {
		t.Fatalf("got %v, expected %d pixels", b, size)
	}
	dark := func(x, y int) bool {
		r, g, b, a := img.At(x, y).RGBA()
		if a != 0xffff || r != g || g != b || r != 0 && r != 0xffff {
			t.Fatalf("the pixel %d,%d is neither black nor white", x, y)
		}
		return r == 0
	}
	margin := 0
	for ; !dark(margin, margin); margin++ {
	}
	scale := 0
	for ; dark(margin+scale, margin); scale++ { // the finder pattern is seven modules wide
	}
	scale /= 7
	side := (size - 2*margin) / scale
	if margin < 4*scale || side%4 != 1 {
		t.Fatalf("a margin of %d pixels at %d a module, %d modules", margin, scale, side)
	}
	s := make(symbol, side)
	for y := range s {
		s[y] = make([]bool, side)
		for x := range s[y] {
			s[y][x] = dark(margin+x*scale, margin+y*scale)
		}
	}
	for y := range size {
		for x := range size {
			mx, my := (x-margin)/scale, (y-margin)/scale
			inside := x >= margin && y >= margin && mx < side && my < side
			if dark(x, y) != (inside && s[my][mx]) {
				t.Fatalf("the pixel %d,%d is not its module's", x, y)
			}
		}
	}
	return s
}

// readSVG draws what the paths say.
func readSVG(t *testing.T, text string) symbol {
	t.Helper()
	var svg struct {
		XMLName xml.Name `xml:"http://www.w3.org/2000/svg svg"`
		ViewBox string   `xml:"viewBox,attr"`
		Path    []struct {
			Fill string `xml:"fill,attr"`
			D    string `xml:"d,attr"`
		} `xml:"path"`
	}
	if err := xml.Unmarshal([]byte(text), &svg); err != nil {
		t.Fatal(err)
	}
	var all, other int
	if _, err := fmt.Sscanf(svg.ViewBox, "0 0 %d %d", &all, &other); err != nil || all != other || len(svg.Path) != 2 {
		t.Fatalf("got the viewBox %q and %d paths", svg.ViewBox, len(svg.Path))
	}
	if svg.Path[0].D != fmt.Sprintf("M0 0h%dv%dH0z", all, all) || svg.Path[0].Fill != "#fff" || svg.Path[1].Fill != "#000" {
		t.Fatal("the ground is not white, or the modules are not black")
	}
	s := make(symbol, all-8)
	for y := range s {
		s[y] = make([]bool, all-8)
	}
	for _, part := range strings.SplitAfter(svg.Path[1].D, "z") {
		if part == "" {
			continue
		}
		var x, y, run, back int
		if _, err := fmt.Sscanf(part, "M%d %dh%dv1h-%dz", &x, &y, &run, &back); err != nil || run != back {
			t.Fatalf("the path has %q", part)
		}
		for i := range run {
			s[y-4][x-4+i] = true
		}
	}
	return s
}

// alignment are the centres of the alignment patterns of a version, from 2 on, and blocks the data of its blocks at level
// M: so many of so many bytes, and so many of one more (ISO/IEC 18004 annex E and table 9).
var (
	alignment = [][]int{{6, 18}, {6, 22}, {6, 26}, {6, 30}, {6, 34}, {6, 22, 38}, {6, 24, 42}, {6, 26, 46}, {6, 28, 50}, {6, 30, 54}, {6, 32, 58}, {6, 34, 62}, {6, 26, 46, 66}, {6, 26, 48, 70}, {6, 26, 50, 74}, {6, 30, 54, 78}}
	blocks    = [][3]int{{1, 28, 0}, {1, 44, 0}, {2, 32, 0}, {2, 43, 0}, {4, 27, 0}, {4, 31, 0}, {2, 38, 2}, {3, 36, 2}, {4, 43, 1}, {1, 50, 4}, {6, 36, 2}, {8, 37, 1}, {4, 40, 5}, {5, 41, 5}, {7, 45, 3}, {10, 46, 1}}
)

// read is what a camera makes of the symbol, written from the standard and without mending errors: there must be none.
func (s symbol) read(t *testing.T) string {
	t.Helper()
	side := len(s)
	version := (side - 17) / 4
	if version < 2 || version > len(blocks)+1 {
		t.Fatalf("version %d is none that this reader knows", version)
	}
	format := 0
	for _, at := range [][2]int{{0, 8}, {1, 8}, {2, 8}, {3, 8}, {4, 8}, {5, 8}, {7, 8}, {8, 8}, {8, 7}, {8, 5}, {8, 4}, {8, 3}, {8, 2}, {8, 1}, {8, 0}} {
		format <<= 1
		if s[at[1]][at[0]] {
			format |= 1
		}
	}
	format ^= 0b101010000010010
	if level := format >> 13; level != 0 {
		t.Fatalf("the level is %d, expected that of M, 0", level)
	}
	mask := format >> 10 & 7

	reserved := func(x, y int) bool {
		if x == 6 || y == 6 || x <= 8 && y <= 8 || x >= side-8 && y <= 8 || x <= 8 && y >= side-8 {
			return true
		}
		if version >= 7 && (x >= side-11 && y <= 5 || y >= side-11 && x <= 5) {
			return true
		}
		centres := alignment[version-2]
		last := centres[len(centres)-1]
		for _, cx := range centres {
			for _, cy := range centres {
				finder := cx == 6 && (cy == 6 || cy == last) || cx == last && cy == 6
				if !finder && max(x-cx, cx-x) <= 2 && max(y-cy, cy-y) <= 2 {
					return true
				}
			}
		}
		return false
	}
	var bits []bool
	up := true
	for right := side - 1; right > 0; right -= 2 {
		if right == 6 {
			right--
		}
		for i := range side {
			y := i
			if up {
				y = side - 1 - i
			}
			for _, x := range []int{right, right - 1} {
				if reserved(x, y) {
					continue
				}
				flip := [...]bool{(x+y)%2 == 0, y%2 == 0, x%3 == 0, (x+y)%3 == 0, (y/2+x/3)%2 == 0, x*y%2+x*y%3 == 0, (x*y%2+x*y%3)%2 == 0, ((x+y)%2+x*y%3)%2 == 0}[mask]
				bits = append(bits, s[y][x] != flip)
			}
		}
		up = !up
	}
	next := func(n int) (v int) {
		for _, b := range bits[:n] {
			v <<= 1
			if b {
				v |= 1
			}
		}
		bits = bits[n:]
		return v
	}
	b := blocks[version-2]
	parts := make([][]byte, b[0]+b[2])
	for i := range b[1] + 1 {
		for j := range parts {
			if i < b[1] || j >= b[0] {
				parts[j] = append(parts[j], byte(next(8)))
			}
		}
	}
	bits = bits[:0]
	for _, c := range bytes.Join(parts, nil) {
		for i := 7; i >= 0; i-- {
			bits = append(bits, c>>i&1 == 1)
		}
	}
	if mode := next(4); mode != 4 {
		t.Fatalf("the mode is %d, expected that of bytes, 4", mode)
	}
	length := next(8)
	if version >= 10 {
		length = length<<8 | next(8)
	}
	var text strings.Builder
	for range length {
		text.WriteByte(byte(next(8)))
	}
	return text.String()
}

// Both pictures carry the URI, whatever its length.
func TestSTD_O07_QRCode(t *testing.T) {
	for _, issuer := range []string{"X", "Example", "Example Ltd", "Пример", "例え株式会社", strings.Repeat("long ", 9) + "name"} {
		k := newKit(t, func(c *totp.Config) { c.Issuer = issuer; c.Digits = 8; c.Algorithm = "SHA256" })
		for _, account := range []string{"a", "анна@пример.испытание"} {
			key, err := k.Begin(t.Context(), subject, account)
			if err != nil {
				t.Fatal(err)
			}
			image, err := key.PNG(300)
			if err != nil {
				t.Fatal(err)
			}
			drawn, err := key.SVG()
			if err != nil {
				t.Fatal(err)
			}
			fromPNG, fromSVG := readPNG(t, image, 300), readSVG(t, drawn)
			if got := fromPNG.read(t); got != key.URI() {
				t.Errorf("%s, %s: the PNG says\n%s\nwant %s", issuer, account, got, key.URI())
			}
			if fmt.Sprint(fromSVG) != fmt.Sprint(fromPNG) {
				t.Errorf("%s, %s: the SVG shows something else", issuer, account)
			}
			if strings.Contains(drawn, "style") || strings.Contains(drawn, "<text") || strings.Contains(drawn, "script") || strings.Contains(drawn, issuer+"\"") {
				t.Errorf("%s: the SVG has more than paths", issuer)
			}
		}
	}
}

// The longest names fit, and what cannot be drawn is an error that does not show the URI.
func TestQRCode_Sizes(t *testing.T) {
	k := newKit(t, func(c *totp.Config) { c.Issuer = strings.Repeat("語", 33) + "x"; c.Digits = 8; c.Algorithm = "SHA512" })
	key, err := k.Begin(t.Context(), subject, strings.Repeat("語", 84)+"xx")
	if err != nil {
		t.Fatal(err)
	}
	if image, err := key.PNG(512); err != nil {
		t.Error(err)
	} else {
		readPNG(t, image, 512)
	}
	for _, size := range []int{-1, 1, 100, 2049} {
		if image, err := key.PNG(size); err == nil || image != nil || strings.Contains(err.Error(), key.Secret()) {
			t.Errorf("%d pixels: got %d bytes, %v", size, len(image), err)
		}
	}
	if _, err := (totp.Key{}).PNG(300); err == nil {
		t.Error("a zero key has a PNG")
	}
	if _, err := (totp.Key{}).SVG(); err == nil {
		t.Error("a zero key has an SVG")
	}
}
