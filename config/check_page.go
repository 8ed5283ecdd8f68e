package config

import (
	"errors"
	"net/http"
	"net/mail"
	"slices"
	"strings"
)

func (k *checks) pages() {
	p := k.c.Pages
	if p.LogoFile != "" {
		if err := checkLogo(p.LogoFile); err != nil {
			k.fault("pages.logoFile", "the image can't be used: "+reason(err), "name an SVG, PNG, JPEG or WebP file of at most 256KiB")
		}
	}
	if p.Contact != "" {
		address, err := mail.ParseAddress(p.Contact)
		if (err != nil || address.Address != p.Contact) && !link(p.Contact) {
			k.fault("pages.contact", quoted(p.Contact)+" is neither an e-mail address nor an https link", "write it like help@example.com or https://example.com/help")
		}
	}
	if u := p.SignedOutURL; u != "" && !link(u) && (strings.HasPrefix(u, "//") || wrongPath(u) != "" || k.c.Paths.Owns(u)) {
		k.fault("pages.signedOutURL", quoted(u)+" is neither a path of the application nor an https link", "write it like /welcome or https://example.com/bye")
	}
}

// link says whether text is an https URL; a query and a fragment may be in it.
func link(text string) bool {
	base := text
	if i := strings.IndexAny(text, "?#"); i >= 0 {
		base = text[:i]
	}
	_, problem := webURL(base, "https")
	_, whole := webURL(text, "https")
	return problem == "" && (whole == "" || whole == "has a query or a fragment")
}

func checkLogo(file string) error {
	b, err := readFile(file, 256<<10)
	if err != nil {
		return err
	}
	known := []string{"image/png", "image/jpeg", "image/webp"}
	if slices.Contains(known, http.DetectContentType(b)) || strings.Contains(string(b[:min(len(b), 4096)]), "<svg") {
		return nil
	}
	return errors.New("it is none of SVG, PNG, JPEG and WebP")
}
