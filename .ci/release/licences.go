package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/google/licensecheck"
)

// listFile is where the licences of all that a program contains are written out.
const listFile = root + "/THIRD-PARTY-LICENSES"

// allowed are the licences that a dependency may have.
func allowed() []string {
	return []string{"MIT", "BSD-2-Clause", "BSD-3-Clause", "Apache-2.0"}
}

// enough is how much of a licence file must be known text, in per cent; the rest is
// copyright lines and the like.
const enough = 80

// licenceName is what files with a licence, or what one wants to be passed on, are called.
var licenceName = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice|patents)([-._].*)?$`)

// notLicence are files of such a name that say nothing of what is allowed.
var notLicence = regexp.MustCompile(`(?i)^(notice|patents)|\.go$`)

// dependency is a module that packages are taken from.
type dependency struct {
	path, version string
	// shipped tells whether it is in the program, not only in tests.
	shipped bool
	// texts are its licence files by their path in the module, those of folders that
	// packages are taken from included.
	texts map[string][]byte
	// licences are what the texts are, by their SPDX names.
	licences []string
}

// listed is what of "go list" is needed here.
type listed struct {
	Dir      string
	Standard bool
	Module   *struct {
		Path, Version, Dir string
		Main               bool
	}
}

// dependencies are the modules of the program on all targets, and with those of the tests
// too, sorted.
func dependencies(ctx context.Context) ([]*dependency, error) {
	all := map[string]*dependency{}
	for _, t := range targets() {
		if err := collect(ctx, t, all, true, "./cmd/gatehouse"); err != nil {
			return nil, err
		}
		if err := collect(ctx, t, all, false, "-test", "./..."); err != nil {
			return nil, err
		}
	}
	var out []*dependency
	for _, d := range all {
		out = append(out, d)
	}
	slices.SortFunc(out, func(a, b *dependency) int { return cmp.Compare(a.path, b.path) })
	return out, nil
}

// collect adds the modules that packages for t are taken from.
func collect(ctx context.Context, t target, all map[string]*dependency, shipped bool, packages ...string) error {
	cmd := exec.CommandContext(ctx, "go", append([]string{"list", "-deps", "-json=Dir,Standard,Module"}, packages...)...)
	cmd.Dir, cmd.Env = root, t.environment()
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("list packages for %s: %w\n%s", t, err, &errs)
	}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if p.Standard || p.Module == nil || p.Module.Main {
			continue
		}
		d := all[p.Module.Path]
		if d == nil {
			d = &dependency{path: p.Module.Path, version: p.Module.Version, texts: map[string][]byte{}}
			all[p.Module.Path] = d
		}
		d.shipped = d.shipped || shipped
		if err := d.read(p.Module.Dir, p.Dir); err != nil {
			return err
		}
	}
}

// read takes the licence files from a package's folder up to its module's.
func (d *dependency) read(module, dir string) error {
	for {
		files, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, f := range files {
			if f.IsDir() || !licenceName.MatchString(f.Name()) || strings.HasSuffix(f.Name(), ".go") {
				continue
			}
			file := filepath.Join(dir, f.Name())
			text, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			d.texts[filepath.ToSlash(strings.TrimPrefix(file, module+string(filepath.Separator)))] = text
		}
		if dir == module {
			return nil
		}
		dir = filepath.Dir(dir)
	}
}

// judge finds out what d's licences are, and refuses those that are not allowed.
func (d *dependency) judge() error {
	var faults []error
	d.licences = nil
	for _, file := range sortedKeys(d.texts) {
		if notLicence.MatchString(filepath.Base(file)) {
			continue
		}
		coverage := licensecheck.Scan(d.texts[file])
		if coverage.Percent < enough || len(coverage.Match) == 0 {
			faults = append(faults, fmt.Errorf("%s %s: %s is no licence that is known (%.0f %% of it is)", d.path, d.version, file, coverage.Percent))
		}
		for _, m := range coverage.Match {
			if !slices.Contains(allowed(), m.ID) {
				faults = append(faults, fmt.Errorf("%s %s: %s is %s; allowed are %s", d.path, d.version, file, m.ID, strings.Join(allowed(), ", ")))
			}
			d.licences = append(d.licences, m.ID)
		}
	}
	slices.Sort(d.licences)
	d.licences = slices.Compact(d.licences)
	if len(d.licences) == 0 && len(faults) == 0 {
		faults = append(faults, fmt.Errorf("%s %s has no licence", d.path, d.version))
	}
	return errors.Join(faults...)
}

func sortedKeys[V any](m map[string]V) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// checkLicences refuses dependencies that may not be had, and holds the file that lists
// the licences to what the program contains; with update it writes that.
func checkLicences(ctx context.Context, update bool, out io.Writer) error {
	all, err := dependencies(ctx)
	if err != nil {
		return err
	}
	var faults []error
	for _, d := range all {
		faults = append(faults, d.judge())
		where := "tests only"
		if d.shipped {
			where = "program"
		}
		fmt.Fprintf(out, "%-10s  %-28s %s %s\n", where, strings.Join(d.licences, ", "), d.path, d.version)
	}
	if err := errors.Join(faults...); err != nil {
		return err
	}
	text, err := list(ctx, all)
	if err != nil {
		return err
	}
	if update {
		return os.WriteFile(listFile, text, 0o644)
	}
	have, err := os.ReadFile(listFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if !bytes.Equal(have, text) {
		return errors.New("THIRD-PARTY-LICENSES is not what the program contains; run: make generate")
	}
	return nil
}

// list writes out the licences of all that is in the program, each text once.
func list(ctx context.Context, all []*dependency) ([]byte, error) {
	std := exec.CommandContext(ctx, "go", "env", "GOROOT")
	std.Dir = root
	goroot, err := std.Output()
	if err != nil {
		return nil, err
	}
	goLicence, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(goroot)), "LICENSE"))
	if err != nil {
		return nil, err
	}
	users := map[string][]string{string(normal(goLicence)): {"the Go standard library"}}
	for _, d := range all {
		if !d.shipped {
			continue
		}
		for _, file := range sortedKeys(d.texts) {
			text := string(normal(d.texts[file]))
			users[text] = append(users[text], d.path+" ("+file+")")
		}
	}
	texts := sortedKeys(users)
	slices.SortFunc(texts, func(a, b string) int { return cmp.Compare(users[a][0], users[b][0]) })
	var b bytes.Buffer
	b.WriteString("Gatehouse contains software of others, under the licences below.\nMade by \"make generate\". Don't edit.\n")
	for _, text := range texts {
		b.WriteString("\n" + strings.Repeat("=", 78) + "\n\n")
		for _, u := range users[text] {
			b.WriteString(u + "\n")
		}
		b.WriteString("\n" + text)
	}
	return b.Bytes(), nil
}

// normal is a text with Unix line ends, without spaces at the ends of lines.
func normal(text []byte) []byte {
	var b bytes.Buffer
	for line := range strings.Lines(strings.Trim(string(text), "\r\n")) {
		b.WriteString(strings.TrimRight(line, " \t\r\n\f") + "\n")
	}
	return b.Bytes()
}
