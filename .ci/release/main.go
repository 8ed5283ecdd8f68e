// Command release makes what a release consists of: the programs for each system, in
// archives with the licences of all that is in them, a bill of materials for each, and
// checksums. The same commit gives the same bytes, on whatever machine.
//
// It is a module of its own, so that nothing of it is part of the product.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"
)

const usage = `usage:
  release program  -version v1.2.3 [-os linux] [-arch amd64] -o FILE
  release licenses [-update]                       the licences of all dependencies, and the file that lists them
  release archives -version v1.2.3 -time SECONDS [-only linux/amd64] -out DIRECTORY
`

// root is the product's module, seen from here.
const root = "../.."

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New(usage)
	}
	flags := flag.NewFlagSet("release "+args[0], flag.ContinueOnError)
	version := flags.String("version", "", "what the program says that it is")
	switch args[0] {
	case "program":
		system := flags.String("os", "linux", "GOOS")
		processor := flags.String("arch", "amd64", "GOARCH")
		file := flags.String("o", "", "where to put the program")
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		return buildProgram(ctx, target{*system, *processor}, *version, *file)
	case "licenses":
		update := flags.Bool("update", false, "write the file anew")
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		return checkLicences(ctx, *update, os.Stdout)
	case "archives":
		seconds := flags.Int64("time", 0, "the time of everything in the archives, in seconds since 1970: the commit's")
		only := flags.String("only", "", "one system, as linux/amd64")
		out := flags.String("out", "", "an empty directory")
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		return makeRelease(ctx, *version, time.Unix(*seconds, 0).UTC(), *only, *out)
	}
	return fmt.Errorf("there is no command %q\n%s", args[0], usage)
}
