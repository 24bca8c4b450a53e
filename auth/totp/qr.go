package totp

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"strings"

	"github.com/boombuler/barcode/qr"
)

// quiet is how many modules of white a QR code needs on each side (ISO/IEC 18004).
const quiet = 4

// modules returns the QR code of the URI: how many modules a side has, and which are dark. Level M mends 15 %.
func (k Key) modules() (side int, dark func(x, y int) bool, err error) {
	if k.k == nil {
		return 0, nil, errors.New("totp: a zero Key; make one with Factors.Begin or ParseKey")
	}
	code, err := qr.Encode(k.URI(), qr.M, qr.Unicode)
	if err != nil { // its words may hold the URI
		return 0, nil, errors.New("totp: the otpauth URI does not fit into a QR code")
	}
	return code.Bounds().Dx(), func(x, y int) bool {
		r, _, _, _ := code.At(x, y).RGBA()
		return r == 0
	}, nil
}

// PNG returns the URI, secret included, as a QR code of size by size pixels with its margin, at most 2048. Too few for
// the text are an error; 256 do for most, 512 for long names in scripts that are not Latin.
//
// Show it in the page itself, as SVG or as a data: URL, in an answer with Cache-Control: no-store. An image that has an
// address of its own stays in caches and histories.
func (k Key) PNG(size int) ([]byte, error) {
	side, dark, err := k.modules()
	if err != nil {
		return nil, err
	}
	scale, most := size/(side+2*quiet), 2048
	if scale < 2 || size > most { // two pixels a module are what cameras need
		return nil, fmt.Errorf("totp: got a QR code of %d pixels, expected %d to %d for this text", size, 2*(side+2*quiet), most)
	}
	margin := (size - scale*side) / 2
	img := image.NewPaletted(image.Rect(0, 0, size, size), color.Palette{color.White, color.Black})
	for y := range scale * side {
		for x := range scale * side {
			if dark(x/scale, y/scale) {
				img.SetColorIndex(margin+x, margin+y, 1)
			}
		}
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// SVG returns the URI, secret included, as a QR code to be put into a page as it is: one element, without a style, a
// script or any text of strangers, so that the strictest Content-Security-Policy lets it through. It fills
// the width that the page gives it.
func (k Key) SVG() (string, error) {
	side, dark, err := k.modules()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	all := side + 2*quiet
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" shape-rendering="crispEdges" role="img" aria-label="QR code">`+
		`<path fill="#fff" d="M0 0h%dv%dH0z"/><path fill="#000" d="`, all, all, all, all)
	for y := range side {
		for x := 0; x < side; x++ {
			run := 0
			for x+run < side && dark(x+run, y) {
				run++
			}
			if run > 0 {
				fmt.Fprintf(&b, "M%d %dh%dv1h-%dz", quiet+x, quiet+y, run, run)
				x += run
			}
		}
	}
	b.WriteString(`"/></svg>`)
	return b.String(), nil
}
