package audit

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"log/syslog"
	"net/url"
	"sync"
	"time"
)

// Options is where a trail goes.
type Options struct {
	// One of these: a file to append to, an address of a syslog server, or a writer.
	File   string
	Syslog string // unixgram:///dev/log, udp://host:514 or tcp://host:601
	To     io.Writer
	// Secrets chain the lines: the first makes their codes. Without any there are none.
	Secrets [][]byte
	// Lossy lets go on what can't be written down. The log tells of it.
	Lossy bool
	Log   *slog.Logger
}

// Writer is a [Trail] that writes lines.
type Writer struct {
	o  Options
	to output

	mu     sync.Mutex
	last   string // the code of the line before, where the output does not know it
	failed bool   // the log has been told
}

// output takes whole lines.
type output interface {
	// write writes what line makes of the code of the line before.
	write(line func(after string) ([]byte, error)) error
	io.Closer
}

// New opens a trail. That it can't be written now is an error, unless it may be lossy.
func New(o Options) (*Writer, error) {
	w := &Writer{o: o}
	switch {
	case o.File != "":
		w.to = &file{name: o.File}
	case o.Syslog != "":
		s, err := newDaemon(w, o.Syslog)
		if err != nil {
			return nil, err
		}
		w.to = s
	default:
		w.to = stream{w, o.To}
	}
	if f, ok := w.to.(*file); ok {
		if err := f.open(); err != nil && !o.Lossy {
			return nil, fmt.Errorf("%w: %w", ErrUnwritten, err)
		}
	}
	return w, nil
}

// Record implements [Trail].
func (w *Writer) Record(e Event) error {
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	e.Time = e.Time.UTC().Round(0)
	w.mu.Lock()
	defer w.mu.Unlock()
	err := w.write(e.lines())
	w.tell(err)
	if err == nil || w.o.Lossy {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrUnwritten, err)
}

// write writes lines one after the other, as far as it gets.
func (w *Writer) write(lines []Event) error {
	for _, e := range lines {
		code := ""
		err := w.to.write(func(after string) (text []byte, err error) {
			text, code, err = w.line(e, after)
			return text, err
		})
		if err != nil {
			return err
		}
		w.last = code
	}
	return nil
}

// line is the text of an event, with the code that chains it to the line before.
func (w *Writer) line(e Event, after string) (text []byte, code string, err error) {
	l := line{Event: e}
	if len(w.o.Secrets) > 0 {
		l.After = after
		if text, err = l.text(); err != nil {
			return nil, "", err
		}
		l.Code = codeOf(w.o.Secrets[0], text)
	}
	text, err = l.text()
	return append(text, '\n'), l.Code, err
}

// codeOf is the code of a line whose text without a code is that.
func codeOf(secret, text []byte) string {
	h := hmac.New(sha256.New, secret)
	h.Write(text)
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// tell logs when lines begin to be lost, and when that is over.
func (w *Writer) tell(err error) {
	switch {
	case w.o.Log == nil, (err != nil) == w.failed:
	case err != nil:
		w.o.Log.Error("the audit trail can't be written", "lossy", w.o.Lossy, "err", err)
	default:
		w.o.Log.Warn("the audit trail is written again")
	}
	w.failed = err != nil
}

// Close closes what it writes to, unless it was given open.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.to.Close()
}

// stream is a writer that was given open.
type stream struct {
	w  *Writer
	to io.Writer
}

func (s stream) write(line func(after string) ([]byte, error)) error {
	text, err := line(s.w.last)
	if err != nil {
		return err
	}
	n, err := s.to.Write(text)
	if err == nil && n < len(text) {
		err = io.ErrShortWrite
	}
	return err
}

func (stream) Close() error { return nil }

// daemon is a syslog server.
type daemon struct {
	network, address string
	w                *Writer
	to               *syslog.Writer
}

func newDaemon(w *Writer, address string) (*daemon, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, errors.New("audit: not an address of a syslog server")
	}
	d := &daemon{network: u.Scheme, address: u.Host, w: w}
	if u.Host == "" {
		d.address = u.Path
	}
	return d, nil
}

func (d *daemon) write(line func(after string) ([]byte, error)) error {
	if d.to == nil {
		to, err := syslog.Dial(d.network, d.address, syslog.LOG_INFO|syslog.LOG_AUTHPRIV, "gatehouse")
		if err != nil {
			return err
		}
		d.to = to
	}
	text, err := line(d.w.last)
	if err != nil {
		return err
	}
	_, err = d.to.Write(text)
	return err
}

// Close closes the connection, if there is one.
func (d *daemon) Close() error {
	if d.to == nil {
		return nil
	}
	return d.to.Close()
}
