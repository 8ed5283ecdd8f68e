package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/user"
	"path/filepath"

	"github.com/spf13/cobra"

	"gatehouse/authn"
	"gatehouse/authn/audit"
	"gatehouse/config"
	"gatehouse/session"
)

func auditCommand(sh shell) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Look after the audit trail",
		Args:  noSuchCommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(auditVerifyCommand(sh))
	return cmd
}

func auditVerifyCommand(sh shell) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify [FILE…]",
		Short: "Find what was changed in an audit trail, left out or put in",
		Long: `Holds each line of a chained trail (audit.chain) against its code and against the
line before. Reads the files that are named, in their order, as one trail; "-" is
standard input; without any, audit.file.

The keys come from the settings: those that were in use when the trail was written
must still be in session.keys. That lines are missing at the very end can't be told;
that the first one follows another is said. A gateway that is started without its
former file begins a trail anew, which is told too.

Exit codes: 0 the trail is as it was written, 1 it is not, or can't be read, 2 the
settings or the arguments are wrong.`,
		Example: `  gatehouse audit verify --config gatehouse.yaml
  gatehouse audit verify --config gatehouse.yaml audit.log.2 audit.log.1 audit.log
  journalctl -t gatehouse -o cat | gatehouse audit verify --config gatehouse.yaml -`,
	}
	file := settingsFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, files []string) error {
		c, err := config.Load(*file, sh.env)
		if err != nil {
			return err
		}
		if len(c.Session.Keys) == 0 {
			return errors.New("the settings have no session.keys, by which the trail could be judged")
		}
		keys, err := openKeys(c)
		if err != nil {
			return err
		}
		if len(files) == 0 && c.Audit.File != "" {
			files = []string{c.Audit.File}
		}
		if len(files) == 0 {
			return usageError{errors.New("name the trail's file: the settings have no audit.file")}
		}
		trail, end, err := openTrails(cmd.InOrStdin(), files)
		if err != nil {
			return err
		}
		defer end()
		found, err := audit.Verify(trail, keys.Secrets(auditPurpose))
		if err != nil {
			return err
		}
		return reportTrail(cmd.OutOrStdout(), found)
	}
	return cmd
}

// reportTrail says what was found in a trail; the error makes it no success.
func reportTrail(out io.Writer, found audit.Verdict) error {
	for _, f := range found.Flaws {
		fmt.Fprintf(out, "%s, line %d: %s\n", f.Part, f.Line, f.What)
	}
	switch {
	case len(found.Flaws) > 0:
		fmt.Fprintf(out, "%d of %d lines are at fault.\n", len(found.Flaws), found.Lines)
		return errReported
	case found.Lines == 0:
		return errors.New("there is no line to verify: the file is empty, or the trail was taken away")
	case found.GoesOn:
		fmt.Fprintln(out, "The first line follows one that is not here: name older files before it. If there are none any more, that is all that can be told of the beginning.")
	}
	fmt.Fprintf(out, "All %d lines are as they were written.\n", found.Lines)
	return nil
}

// openTrails opens the files of a trail.
func openTrails(in io.Reader, names []string) (trail []audit.Part, end func(), err error) {
	var open []io.Closer
	end = func() {
		for _, f := range open {
			_ = f.Close() // it was only read
		}
	}
	for _, name := range names {
		if name == "-" {
			trail = append(trail, audit.Part{Name: "standard input", Reader: in})
			continue
		}
		f, err := os.Open(name) //nolint:gosec // the user names it
		if err != nil {
			end()
			return nil, nil, err
		}
		trail, open = append(trail, audit.Part{Name: name, Reader: f}), append(open, f)
	}
	return trail, end, nil
}

// auditPurpose is what the secrets of the trail are derived for.
const auditPurpose = "audit"

// openTrail opens the audit trail that the settings ask for. Out is for standard output;
// former is the trail before it in the same process, nil for none.
func openTrail(c config.Config, keys session.Keyring, out io.Writer, log *slog.Logger, former trail) (trail, error) {
	o := audit.Options{Lossy: c.Audit.OnFailure == "continue", Log: log}
	o.After, _ = former.(*audit.Writer)
	if c.Audit.Chain {
		o.Secrets = keys.Secrets(auditPurpose)
	}
	switch c.Audit.Output {
	case "file":
		o.File = c.Audit.File
	case "syslog":
		o.Syslog = c.Audit.Syslog
	case "stdout":
		o.To = out
	default:
		return noTrail{}, nil
	}
	w, err := audit.New(o)
	if err != nil {
		return nil, fmt.Errorf("audit.%s: %w", c.Audit.Output, err)
	}
	return w, nil
}

// checkTrail looks whether the trail's file could be written, without making it: whoever
// checks may be another user than the gateway, which must be able to write to it.
func checkTrail(file string) []authn.Finding {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_APPEND, 0) //nolint:gosec // the settings name it
	if err == nil {
		err = f.Close()
	} else if errors.Is(err, fs.ErrNotExist) {
		_, err = os.Stat(filepath.Dir(file))
	}
	if err != nil {
		return []authn.Finding{{What: "audit.file", Detail: err.Error(), Fix: "make the directory, for the gateway's user to write to: it does not start without"}}
	}
	return []authn.Finding{{OK: true, What: "audit.file", Detail: file + " is there, or its directory is"}}
}

// recordCommand tells the audit trail what somebody has done by a command, or has done
// in part if there is an error, which it returns. A trail to standard output goes to said:
// the command's own answer is there.
func recordCommand(c config.Config, said io.Writer, e audit.Event, failed error) error {
	e.Outcome, e.Claimed = audit.Allowed, "of the command line"
	if failed != nil {
		e.Outcome = audit.Failed
	}
	if u, err := user.Current(); err == nil {
		e.Claimed = "user " + u.Username
	}
	if err := writeTrail(c, said, e); err != nil {
		return errors.Join(failed, fmt.Errorf("what is done is not in the audit trail: %w", err))
	}
	return failed
}

// writeTrail opens the trail for one line.
func writeTrail(c config.Config, said io.Writer, e audit.Event) error {
	keys, err := openKeys(c)
	if err != nil {
		return err
	}
	t, err := openTrail(c, keys, said, nil, nil)
	if err != nil {
		return err
	}
	return errors.Join(t.Record(e), t.Close())
}

// trail is an audit trail that can be closed.
type trail interface {
	audit.Trail
	io.Closer
}

type noTrail struct{ audit.None }

func (noTrail) Close() error { return nil }
