//go:build !race

package bearer

// flood is how many bad tokens come.
const flood = 100_000
