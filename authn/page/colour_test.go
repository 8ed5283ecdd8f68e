package page

import (
	"bytes"
	"math"
	"testing"
)

func TestContrastIsWCAGs(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want float64
	}{
		{"#000000", "#ffffff", 21}, {"#ffffff", "#ffffff", 1}, {"#777777", "#ffffff", 4.48},
		{"#767676", "#ffffff", 4.54}, {"#0000ff", "#ffffff", 8.59}, {"#ff0000", "#000000", 5.25},
	} {
		a, errA := parseColour(c.a)
		b, errB := parseColour(c.b)
		if got := contrast(a, b); errA != nil || errB != nil || math.Abs(got-c.want) > 0.005 {
			t.Errorf("%s on %s: %.3f, want %.2f", c.a, c.b, got, c.want)
		}
	}
}

// Every brand colour is readable in both themes: a grid over all of sRGB, its
// corners and the greys where black and white text are equally hard to read.
func TestEveryBrandIsReadable(t *testing.T) {
	for r := 0; r <= 255; r += 17 {
		for g := 0; g <= 255; g += 17 {
			for b := 0; b <= 255; b += 17 {
				readable(t, rgb{uint8(r), uint8(g), uint8(b)})
			}
		}
	}
	for v := range 256 {
		readable(t, rgb{uint8(v), uint8(v), uint8(v)})
	}
}

func readable(t *testing.T, brand rgb) {
	t.Helper()
	for name, th := range map[string]theme{"light": lightTheme(), "dark": darkTheme()} {
		s := th.shade(brand)
		for _, c := range []struct {
			what     string
			over, on rgb
			enough   float64
		}{
			{"button text", s.onFill, s.fill, textContrast},
			{"button edge", s.edge, th.card, edgeContrast},
			{"link on card", s.link, th.card, textContrast},
			{"link on ground", s.link, th.ground, textContrast},
			{"link on glow", s.link, s.glow, textContrast},
			{"icon on soft", s.link, s.soft, textContrast},
			{"ink on soft", th.ink, s.soft, textContrast},
			{"ink on card", th.ink, th.card, textContrast},
			{"ink on glow", th.ink, s.glow, textContrast},
			{"ink on ring", th.ink, s.ring, textContrast},
			{"muted on card", th.muted, th.card, textContrast},
			{"muted on ground", th.muted, th.ground, textContrast},
			{"muted on glow", th.muted, s.glow, textContrast},
		} {
			if got := contrast(c.over, c.on); got < c.enough {
				t.Errorf("%s, brand %s: %s is %s on %s, contrast %.2f", name, brand, c.what, c.over, c.on, got)
			}
		}
		if s.fill != brand {
			t.Errorf("%s: a button of brand %s is %s", name, brand, s.fill)
		}
	}
}

func TestBrandReachesTheFiles(t *testing.T) {
	p, err := New(Brand{Colour: "#FFD400"}, "/x/")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"--fill: #ffd400;", "--on-fill: #000000;", "prefers-color-scheme: dark"} {
		if !bytes.Contains(p.style.body, []byte(want)) {
			t.Errorf("stylesheet lacks %q", want)
		}
	}
	if !bytes.Contains(p.logo.body, []byte(`fill="#ffd400"`)) || !bytes.Contains(p.logo.body, []byte(`fill="#000000"`)) {
		t.Errorf("mark: %s", p.logo.body)
	}
	if want := "/x/logo?v=" + p.logo.version; p.site.Logo != want {
		t.Errorf("logo at %s, want %s", p.site.Logo, want)
	}
}
