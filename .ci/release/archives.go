package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/CycloneDX/cyclonedx-go"
)

// sumsFile lists the checksums of all the others, as sha256sum does.
const sumsFile = "SHA256SUMS"

// beside is what an archive has beside the program, by its name in the repository.
func beside() []string {
	return []string{"LICENSE", "THIRD-PARTY-LICENSES", "README.md", "CHANGELOG.md", "docs/deploy/gatehouse-https.conf", "docs/deploy/gatehouse.service", "docs/deploy/gatehouse.yaml"}
}

// makeRelease makes archives, bills of materials and checksums in a directory that is
// empty or not there yet.
func makeRelease(ctx context.Context, version string, at time.Time, only, out string) error {
	if at.Unix() <= 0 {
		return errors.New("-time is missing: which time is everything in the archives to have?")
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	if there, err := os.ReadDir(out); err != nil || len(there) > 0 {
		return errors.Join(err, fmt.Errorf("-out %s is not an empty directory", out))
	}
	all, err := dependencies(ctx)
	if err != nil {
		return err
	}
	made := 0
	for _, t := range targets() {
		if only != "" && only != t.String() {
			continue
		}
		if err := makeArchive(ctx, t, version, at, all, out); err != nil {
			return err
		}
		made++
	}
	if made == 0 {
		return fmt.Errorf("-only %s is none of %v", only, targets())
	}
	return writeSums(out)
}

// makeArchive makes the archive and the bill of materials for one target.
func makeArchive(ctx context.Context, t target, version string, at time.Time, all []*dependency, out string) (err error) {
	scratch, err := os.MkdirTemp("", "gatehouse-release-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	program := filepath.Join(scratch, "gatehouse")
	if err := buildProgram(ctx, t, version, program); err != nil {
		return err
	}
	name := fmt.Sprintf("gatehouse-%s-%s-%s", version, t.os, t.arch)
	if err := writeBill(ctx, program, version, all, filepath.Join(out, name+".cdx.json")); err != nil {
		return err
	}
	files := []entry{{name: "gatehouse", from: program, mode: 0o755}}
	for _, f := range beside() {
		files = append(files, entry{name: filepath.Base(f), from: filepath.Join(root, f), mode: 0o644})
	}
	return writeArchive(filepath.Join(out, name+".tar.gz"), name, files, at)
}

// entry is a file of an archive.
type entry struct {
	name, from string
	mode       int64
}

// writeArchive writes files below the folder dir. Nothing of this machine is in it: no
// users, no times, no order but the names'.
func writeArchive(file, dir string, files []entry, at time.Time) (err error) {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	slices.SortFunc(files, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	zipped, err := gzip.NewWriterLevel(f, gzip.BestCompression)
	if err != nil {
		return err
	}
	w := tar.NewWriter(zipped)
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755, ModTime: at, Format: tar.FormatUSTAR}); err != nil {
		return err
	}
	for _, e := range files {
		content, err := os.ReadFile(e.from)
		if err != nil {
			return err
		}
		header := &tar.Header{Typeflag: tar.TypeReg, Name: dir + "/" + e.name, Mode: e.mode, Size: int64(len(content)), ModTime: at, Format: tar.FormatUSTAR}
		if err := w.WriteHeader(header); err != nil {
			return err
		}
		if _, err := w.Write(content); err != nil {
			return err
		}
	}
	return errors.Join(w.Close(), zipped.Close())
}

// writeBill writes a program's bill of materials: what cyclonedx-gomod finds in it, with
// the licences that were found here, which is surer of them.
func writeBill(ctx context.Context, program, version string, all []*dependency, file string) error {
	var errs bytes.Buffer
	cmd := exec.CommandContext(ctx, "go", "tool", "cyclonedx-gomod", "bin", "-json", "-std", "-noserial", "-notimestamp", "-version", version, program)
	cmd.Stderr = &errs
	found, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("bill of materials: %w\n%s", err, &errs)
	}
	var bom cyclonedx.BOM
	if err := cyclonedx.NewBOMDecoder(bytes.NewReader(found), cyclonedx.BOMFileFormatJSON).Decode(&bom); err != nil {
		return err
	}
	if bom.Metadata == nil || bom.Metadata.Component == nil || bom.Components == nil {
		return errors.New("bill of materials: it is empty")
	}
	bom.Metadata.Component.Licenses = licencesOf("Apache-2.0")
	for i, c := range *bom.Components {
		if c.Name == "std" {
			(*bom.Components)[i].Licenses = licencesOf("BSD-3-Clause")
			continue
		}
		at := slices.IndexFunc(all, func(d *dependency) bool { return d.path == c.Name })
		if at < 0 {
			return fmt.Errorf("bill of materials: %s is in the program, but its licence was not looked at", c.Name)
		}
		if err := all[at].judge(); err != nil {
			return err
		}
		(*bom.Components)[i].Licenses = licencesOf(all[at].licences...)
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	return errors.Join(cyclonedx.NewBOMEncoder(f, cyclonedx.BOMFileFormatJSON).SetPretty(true).Encode(&bom), f.Close())
}

func licencesOf(ids ...string) *cyclonedx.Licenses {
	var out cyclonedx.Licenses
	for _, id := range ids {
		out = append(out, cyclonedx.LicenseChoice{License: &cyclonedx.License{ID: id}})
	}
	return &out
}

// writeSums writes the checksums of all files in dir.
func writeSums(dir string) error {
	files, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	for _, f := range files {
		sum, err := sumOf(filepath.Join(dir, f.Name()))
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "%x  %s\n", sum, f.Name())
	}
	return os.WriteFile(filepath.Join(dir, sumsFile), b.Bytes(), 0o644)
}

func sumOf(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return nil, err
	}
	return h.Sum(nil), nil
}
