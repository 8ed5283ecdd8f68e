//go:build race

package bearer

// flood is how many bad tokens come: several times what is remembered, and few
// enough for the race detector.
const flood = 5_000
