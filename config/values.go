package config

import (
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Secret is a value that never prints itself: not in a log, an error, JSON or YAML.
type Secret string

const masked = "[secret]"

// Reveal returns the value.
func (s Secret) Reveal() string { return string(s) }

// String masks the value; an empty secret stays empty.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return masked
}

// Format masks the value under every verb; without it %d would show the value
// in its complaint about the verb.
func (s Secret) Format(w fmt.State, _ rune) { _, _ = io.WriteString(w, s.String()) }

// LogValue masks the value.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText masks the value.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText takes the value as it is.
func (s *Secret) UnmarshalText(b []byte) error {
	*s = Secret(b)
	return nil
}

// Format writes the settings in the manner of %+v under every verb. Without it
// package fmt, asked for a verb that pointers don't have, would show the secret.
func (o OIDC) Format(w fmt.State, _ rune) {
	type plain OIDC
	_, _ = fmt.Fprintf(w, "%+v", plain(o))
}

// Format is like [OIDC.Format].
func (i Introspection) Format(w fmt.State, _ rune) {
	type plain Introspection
	_, _ = fmt.Fprintf(w, "%+v", plain(i))
}

// Format is like [OIDC.Format].
func (r Redis) Format(w fmt.State, _ rune) {
	type plain Redis
	_, _ = fmt.Fprintf(w, "%+v", plain(r))
}

// Duration is a length of time, written with its unit: "90s", "15m", "12h".
type Duration time.Duration

// Std returns d as the standard library's type.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// String is the shortest spelling, without zero parts.
func (d Duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// MarshalText is [Duration.String].
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what time.ParseDuration reads, but nothing negative.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err != nil || v < 0 {
		return fmt.Errorf("%q is not a length of time; write a number and a unit, for instance 90s, 15m or 12h", b)
	}
	*d = Duration(v)
	return nil
}

// Size is a number of bytes, written with its unit: "64KiB", "10GiB", or a plain number of bytes.
type Size int64

// The units of a size; each is 1024 times the one before.
const sizeUnits = "KMGT"

// String is the size in the largest unit that divides it: 65536 is "64KiB", 1500 is "1500".
func (s Size) String() string {
	unit := -1
	for s != 0 && s%1024 == 0 && unit < len(sizeUnits)-1 {
		s, unit = s/1024, unit+1
	}
	if unit < 0 {
		return strconv.FormatInt(int64(s), 10)
	}
	return strconv.FormatInt(int64(s), 10) + sizeUnits[unit:unit+1] + "iB"
}

// MarshalText is [Size.String].
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a whole number with a binary unit (KiB, MiB, GiB, TiB), or with B or none for bytes.
func (s *Size) UnmarshalText(b []byte) error {
	number, shift := string(b), 0
	for i := range sizeUnits {
		if rest, ok := strings.CutSuffix(number, sizeUnits[i:i+1]+"iB"); ok {
			number, shift = rest, 10*(i+1)
			break
		}
	}
	if shift == 0 {
		number = strings.TrimSuffix(number, "B")
	}
	v, err := strconv.ParseInt(number, 10, 64)
	if err != nil || v < 0 || v > math.MaxInt64>>shift {
		return fmt.Errorf("%q is not a size; write a number and a unit, for instance 64KiB or 10GiB", b)
	}
	*s = Size(v << shift)
	return nil
}

// UnmarshalJSON reads a string like [Size.UnmarshalText], and a plain number of bytes.
func (s *Size) UnmarshalJSON(b []byte) error {
	return s.UnmarshalText([]byte(strings.Trim(string(b), `"`)))
}

func parseNetwork(s string) (netip.Prefix, error) {
	if strings.Contains(s, "/") {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return netip.Prefix{}, err
		}
		return p.Masked(), nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, err
	}
	return netip.PrefixFrom(a, a.BitLen()), nil
}
