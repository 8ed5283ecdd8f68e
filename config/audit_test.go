package config_test

import (
	"strings"
	"testing"
)

func TestAuditFaults(t *testing.T) {
	for section, fault := range map[string]string{
		"{output: file}":                        "audit.file",
		"{output: stdout, file: /var/log/a}":    "audit.file",
		"{output: file, file: audit.log}":       "not absolute",
		"{output: syslog, syslog: /dev/log}":    "audit.syslog",
		"{output: syslog, syslog: 'ftp://a'}":   "audit.syslog",
		"{output: elsewhere}":                   "audit.output",
		"{chain: true}":                         "there is no trail",
		"{output: stdout, onFailure: whatever}": "audit.onFailure",
	} {
		t.Run(section, func(t *testing.T) {
			err := decodeMore(t, "audit: "+section)
			if err == nil || !strings.Contains(err.Error(), fault) {
				t.Errorf("got %v, want %s", err, fault)
			}
		})
	}
	if err := decodeMore(t, "audit: {output: file, file: /var/log/gatehouse/audit.log, chain: true}"); err != nil {
		t.Error(err)
	}
}
