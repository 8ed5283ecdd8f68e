package page

import (
	"encoding/hex"
	"fmt"
	"math"
	"strings"
)

// What WCAG 2.2, level AA, asks for: 1.4.3 for text, 1.4.11 for the edges of controls.
const (
	textContrast = 4.5
	edgeContrast = 3.0
)

// rgb is a colour in sRGB.
type rgb [3]uint8

// theme is the colours that don't depend on the brand.
type theme struct {
	ground, card, ink, muted, line, wrong rgb
	// glow, ring and soft are how much of the brand's colour there is at the top
	// of the page, in the arches on it and behind notes.
	glow, ring, soft float64
	// away is where colours go to stand out from the ground.
	away rgb
}

func lightTheme() theme {
	return theme{
		ground: rgb{0xf6, 0xf7, 0xf9}, card: rgb{0xff, 0xff, 0xff},
		ink: rgb{0x17, 0x1a, 0x21}, muted: rgb{0x54, 0x5b, 0x69}, line: rgb{0xd5, 0xda, 0xe2}, wrong: rgb{0xb3, 0x26, 0x1e},
		glow: 0.11, ring: 0.20, soft: 0.08, away: rgb{},
	}
}

func darkTheme() theme {
	return theme{
		ground: rgb{0x0d, 0x0f, 0x13}, card: rgb{0x17, 0x1a, 0x20},
		ink: rgb{0xee, 0xf0, 0xf4}, muted: rgb{0xa6, 0xad, 0xba}, line: rgb{0x36, 0x3c, 0x47}, wrong: rgb{0xff, 0xb4, 0xab},
		glow: 0.18, ring: 0.30, soft: 0.16, away: rgb{0xff, 0xff, 0xff},
	}
}

// shades is the brand's colour as one theme shows it.
type shades struct {
	fill, onFill rgb // a button and its text
	edge         rgb // a button's border
	link         rgb // links and the focus ring
	glow, ring   rgb // the top of the page and the arches on it
	soft         rgb // behind notes
}

// shade fits the brand's colour into t, so that all text is readable and all
// controls can be told from what they lie on, whatever the colour.
func (t theme) shade(brand rgb) shades {
	s := shades{fill: brand, onFill: brand.text(), edge: brand.moved(t.away, edgeContrast, t.card)}
	// Tints are made of the edge's colour: a white or black brand would leave none.
	s.glow, s.ring, s.soft = t.ground.mix(s.edge, t.glow), t.ground.mix(s.edge, t.ring), t.card.mix(s.edge, t.soft)
	s.link = brand.moved(t.away, textContrast, t.ground, t.card, s.glow, s.soft)
	return s
}

// parseColour reads #rrggbb; empty is the default.
func parseColour(s string) (rgb, error) {
	if s == "" {
		s = defaultColour
	}
	var c rgb
	digits, found := strings.CutPrefix(s, "#")
	if b, err := hex.DecodeString(digits); found && err == nil && len(b) == len(c) {
		return rgb(b), nil
	}
	return c, fmt.Errorf("page: colour %q: want #rrggbb", s)
}

func (c rgb) String() string { return "#" + hex.EncodeToString(c[:]) }

// luminance is the relative luminance of WCAG 2.2.
func (c rgb) luminance() float64 {
	var lin [3]float64
	for i, v := range c {
		f := float64(v) / 255
		if lin[i] = f / 12.92; f > 0.04045 {
			lin[i] = math.Pow((f+0.055)/1.055, 2.4)
		}
	}
	return 0.2126*lin[0] + 0.7152*lin[1] + 0.0722*lin[2]
}

// contrast is the contrast ratio of WCAG 2.2, from 1 to 21.
func contrast(a, b rgb) float64 {
	x, y := a.luminance(), b.luminance()
	return (max(x, y) + 0.05) / (min(x, y) + 0.05)
}

// text is black or white, whichever reads better on c; the better one always
// has a contrast of at least 4.58.
func (c rgb) text() rgb {
	black, white := rgb{}, rgb{0xff, 0xff, 0xff}
	if contrast(c, white) >= textContrast || contrast(c, white) >= contrast(c, black) {
		return white
	}
	return black
}

// mix is c with the share t (0 to 1) of other in it.
func (c rgb) mix(other rgb, t float64) rgb {
	for i := range c {
		c[i] = uint8(math.Round(float64(c[i])*(1-t) + float64(other[i])*t))
	}
	return c
}

// moved goes from c towards a colour, no further than it takes to have the
// contrast against every one of grounds.
func (c rgb) moved(towards rgb, enough float64, grounds ...rgb) rgb {
	const steps = 50
	m := c
	for i := 1; i <= steps && !stands(m, enough, grounds); i++ {
		m = c.mix(towards, float64(i)/steps)
	}
	return m
}

func stands(c rgb, enough float64, grounds []rgb) bool {
	for _, g := range grounds {
		if contrast(c, g) < enough {
			return false
		}
	}
	return true
}

// palette is the head of the stylesheet: the colours of both themes.
func palette(brand rgb) string {
	return ":root {\n" + lightTheme().properties(brand) +
		"}\n@media (prefers-color-scheme: dark) { :root {\n" + darkTheme().properties(brand) + "} }\n"
}

func (t theme) properties(brand rgb) string {
	s := t.shade(brand)
	var b strings.Builder
	for _, p := range []struct {
		name   string
		colour rgb
	}{
		{"ground", t.ground}, {"card", t.card}, {"ink", t.ink}, {"muted", t.muted}, {"line", t.line}, {"wrong", t.wrong},
		{"fill", s.fill}, {"on-fill", s.onFill}, {"edge", s.edge}, {"link", s.link}, {"glow", s.glow}, {"ring", s.ring}, {"soft", s.soft},
	} {
		fmt.Fprintf(&b, "--%s: %s;\n", p.name, p.colour)
	}
	return b.String()
}
