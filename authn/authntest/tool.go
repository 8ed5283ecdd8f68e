package authntest

import (
	"fmt"
	"os"
	"path/filepath"
)

// Tool finds a program that the set-up of the tests has built (.ci/tool), by its name.
func Tool(name string) (string, error) {
	dir := os.Getenv("GATEHOUSE_TEST_CACHE")
	if dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return "", err
		}
		dir = filepath.Join(cache, "gatehouse-test")
	}
	found, err := filepath.Glob(filepath.Join(dir, name+"-*"))
	if err != nil {
		return "", err
	}
	if len(found) != 1 {
		return "", fmt.Errorf("there is no %s in %s: run \"make setup\"", name, dir)
	}
	return found[0], nil
}
