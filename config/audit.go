package config

import (
	"net/url"
	"path/filepath"
	"slices"
)

// Audit is the trail of who came in, who was refused and what was changed, one line of
// JSON for each.
type Audit struct {
	// Where the trail goes: nowhere, to standard output, into a file, or to syslog.
	Output string `json:"output" jsonschema:"enum=none,enum=stdout,enum=file,enum=syslog,default=none"`
	// The file that lines are appended to. Who rotates it renames it.
	File string `json:"file,omitempty"`
	// The syslog server: unixgram:///dev/log, udp://host:514 or tcp://host:601. The facility is authpriv.
	Syslog string `json:"syslog" jsonschema:"default=unixgram:///dev/log"`
	// Chains each line to the one before by a key made of session.keys, so that
	// "gatehouse audit verify" finds what was changed, left out or put in afterwards.
	Chain bool `json:"chain,omitempty"`
	// What becomes of what can't be written down: "refuse", nobody signs in and no token
	// is given until it can be; "continue", it happens all the same, and the log says so.
	OnFailure string `json:"onFailure" jsonschema:"enum=refuse,enum=continue,default=refuse"`
}

// audit checks where the trail goes.
func (k *checks) audit() {
	a := k.c.Audit
	if (a.Output == "file") != (a.File != "") {
		k.fault("audit.file", "goes with output: file, and the other way round", "set both, or neither")
	}
	if a.File != "" && !filepath.IsAbs(a.File) {
		k.fault("audit.file", quoted(a.File)+" is not absolute", "write the whole path, for instance /var/log/gatehouse/audit.log")
	}
	u, err := url.Parse(a.Syslog)
	switch {
	case err != nil, !slices.Contains([]string{"unixgram", "unix", "udp", "tcp"}, u.Scheme), u.Host == "" && u.Path == "":
		k.fault("audit.syslog", quoted(a.Syslog)+" is no address of a syslog server", "write unixgram:///dev/log, udp://host:514 or tcp://host:601")
	}
	if a.Chain && len(k.c.Session.Keys) == 0 {
		k.fault("audit.chain", "needs session.keys: those that the gateway makes up are gone with it", "set session.keysFile, or leave chain out")
	}
	if a.Chain && a.Output == "none" {
		k.fault("audit.chain", "there is no trail", "set output, or leave chain out")
	}
}
