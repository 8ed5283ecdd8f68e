package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
)

// target is what a program runs on.
type target struct{ os, arch string }

func (t target) String() string { return t.os + "/" + t.arch }

// targets are what releases are made for.
func targets() []target {
	return []target{{"linux", "amd64"}, {"linux", "arm64"}, {"darwin", "amd64"}, {"darwin", "arm64"}}
}

// environment is this process's with what decides on a build for t.
func (t target) environment() []string {
	return append(os.Environ(), "CGO_ENABLED=0", "GOOS="+t.os, "GOARCH="+t.arch, "GOFLAGS=", "GOEXPERIMENT=", "GOAMD64=v1", "GOARM64=v8.0")
}

// versions are safe as a file's name and as a flag of the linker.
var versions = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z.+_-]*$`)

// buildProgram builds the program with the flags that the Dockerfile has too.
func buildProgram(ctx context.Context, t target, version, file string) error {
	if !versions.MatchString(version) {
		return fmt.Errorf("-version %q is not like v1.2.3", version)
	}
	if file == "" {
		return errors.New("-o is missing: where is the program to go?")
	}
	file, err := filepath.Abs(file)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -X main.release="+version, "-o", file, "./cmd/gatehouse")
	cmd.Dir, cmd.Env = root, t.environment()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build for %s: %w\n%s", t, err, out)
	}
	return nil
}
