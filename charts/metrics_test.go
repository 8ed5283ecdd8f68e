package charts

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

const watched = smallest + "metrics: {serviceMonitor: {enabled: true, labels: {release: prometheus}}, prometheusRule: {enabled: true}, dashboard: {enabled: true}}\n"

// TestMonitor looks whether the monitor finds the service of the operations listener, and is let in.
func TestMonitor(t *testing.T) {
	m := rendered(t, tool(t, "helm4"), watched)
	monitor, service := m.get(t, "ServiceMonitor", ""), m.get(t, "Service", "gw-gatehouse-operations")
	selector, _ := monitor.at("spec.selector.matchLabels").(map[string]any)
	for label, want := range selector {
		if service.Metadata.Labels[label] != want {
			t.Errorf("the service lacks %s=%s", label, want)
		}
	}
	if len(selector) != 3 || m.get(t, "Service", "gw-gatehouse").Metadata.Labels["app.kubernetes.io/component"] == selector["app.kubernetes.io/component"] {
		t.Errorf("the selector %v finds the service for people too", selector)
	}
	for path, want := range map[string]string{"spec.endpoints.0.port": "operations", "spec.endpoints.0.path": "/metrics", "spec.endpoints.0.interval": "30s"} {
		if got := fmt.Sprint(monitor.at(path)); got != want {
			t.Errorf("%s is %s, want %s", path, got, want)
		}
	}
	if got := fmt.Sprint(m.get(t, "NetworkPolicy", "").at("spec.ingress.1.from.1")); got != "map[namespaceSelector:map[]]" {
		t.Errorf("metrics are let out to %s", got)
	}
}

// alertTests is what makes each alert fire within 70 minutes: series with one value a minute.
var alertTests = map[string][]string{
	"GatehouseDown":               {`up{$J} 0x120`},
	"GatehouseCantDecide":         {`gatehouse_authz_total{$J, result="unavailable"} 0+60x120`},
	"GatehouseRedisAway":          {`gatehouse_redis_breaker_open{$J, pod="a"} 0x120`, `gatehouse_redis_breaker_open{$J, pod="b"} 1x120`},
	"GatehouseHearsNoNews":        {`gatehouse_session_news_listening{$J, pod="a"} 1x120`, `gatehouse_session_news_listening{$J, pod="b"} 0x120`},
	"GatehouseProviderAway":       {`gatehouse_calls_total{$J, peer="provider", name="okta", call="token", result="timeout"} 0+60x120`},
	"GatehouseSignInsFail":        {`gatehouse_sign_ins_total{$J, route="okta", outcome="misconfigured"} 0+60x120`},
	"GatehousePasswordsGuessed":   {`gatehouse_sign_ins_total{$J, route="ldap", outcome="throttled"} 0+60x120`, `gatehouse_authn_total{$J, route="ldap", result="throttled", reason=""} 0+60x120`},
	"GatehouseSessionsLost":       {`gatehouse_authn_total{$J, route="session", result="rejected", reason="unknown"} 0+120x120`},
	"GatehouseUpstreamAway":       {`gatehouse_upstream_failures_total{$J, upstream="app", reason="timeout"} 0+60x120`},
	"GatehouseSlow":               {`gatehouse_gateway_duration_seconds_bucket{$J, le="0.5"} 0+0x120`, `gatehouse_gateway_duration_seconds_bucket{$J, le="1"} 0+60x120`, `gatehouse_gateway_duration_seconds_bucket{$J, le="+Inf"} 0+60x120`},
	"GatehouseCertificateExpires": {`gatehouse_certificate_expiry_timestamp_seconds{$J, certificate="listen"} 86400x120`},
	"GatehouseSettingsRefused":    {`gatehouse_config_last_reload_success{$J, pod="a"} 1x120`, `gatehouse_config_last_reload_success{$J, pod="b"} 0x120`},
}

// TestAlerts has promtool read the rules, and fire each of them, and none while all is well.
func TestAlerts(t *testing.T) {
	spec := rendered(t, tool(t, "helm4"), watched).get(t, "PrometheusRule", "").at("spec")
	dir := t.TempDir()
	rules, tests := filepath.Join(dir, "rules.yaml"), filepath.Join(dir, "tests.yaml")
	text, err := yaml.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	write(t, rules, string(text))
	if out, errs, err := run(t, "", "promtool", "check", "rules", "--lint-fatal", rules); err != nil {
		t.Errorf("%s%s", out, errs)
	}

	names := alertNames(t, text)
	if !slices.Equal(names, slices.Sorted(maps.Keys(alertTests))) {
		t.Errorf("the alerts are %v", names)
	}
	job := `namespace="auth", service="gw-gatehouse-operations"`
	var b strings.Builder
	fmt.Fprintf(&b, "rule_files: [%s]\ntests:\n", rules)
	for _, name := range names {
		fires(&b, name, job, alertTests[name], true)
		// Another release's trouble is not this one's.
		other := strings.ReplaceAll(job, "auth", "other")
		fires(&b, name, other, alertTests[name], name == "GatehouseDown")
	}
	write(t, tests, b.String())
	if out, errs, err := run(t, "", "promtool", "test", "rules", tests); err != nil {
		t.Errorf("%s%s", out, errs)
	}
}

// fires writes a test of promtool's: that an alert fires, or does not.
func fires(b *strings.Builder, name, job string, series []string, want bool) {
	fmt.Fprintf(b, "- interval: 1m\n  input_series:\n")
	all := slices.Clone(series)
	if name != "GatehouseDown" {
		all = append(all, `up{$J} 1x120`)
	}
	for _, s := range all {
		name, values, _ := strings.Cut(strings.ReplaceAll(s, "$J", job), "} ")
		fmt.Fprintf(b, "  - {series: '%s}', values: '%s'}\n", name, values)
	}
	fmt.Fprintf(b, "  promql_expr_test:\n  - expr: count(ALERTS{alertname=%q, alertstate=\"firing\"}) > bool 0\n    eval_time: %s\n", name, "70m")
	if want {
		fmt.Fprintf(b, "    exp_samples: [{labels: '{}', value: 1}]\n")
	} else {
		fmt.Fprintf(b, "    exp_samples: []\n")
	}
}

func alertNames(t *testing.T, rules []byte) (names []string) {
	t.Helper()
	var all struct {
		Groups []struct {
			Rules []struct{ Alert string }
		}
	}
	if err := yaml.Unmarshal(rules, &all); err != nil {
		t.Fatal(err)
	}
	for _, r := range all.Groups[0].Rules {
		names = append(names, r.Alert)
	}
	return slices.Sorted(slices.Values(names))
}

// TestDashboard has promtool read every query of the dashboard, and looks at its places.
func TestDashboard(t *testing.T) {
	o := rendered(t, tool(t, "helm4"), watched).get(t, "ConfigMap", "gw-gatehouse-dashboard")
	if o.Metadata.Labels["grafana_dashboard"] != "1" {
		t.Error("Grafana's sidecar does not find it")
	}
	var board struct {
		Panels []struct {
			ID      int
			Title   string
			GridPos struct{ X, Y, W, H int }
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal([]byte(o.Data["gatehouse.json"]), &board); err != nil {
		t.Fatal(err)
	}
	type query struct {
		Record string `yaml:"record"`
		Expr   string `yaml:"expr"`
	}
	var queries []query
	taken := map[string]string{}
	for _, p := range board.Panels {
		if place := fmt.Sprint(p.GridPos.X, " ", p.GridPos.Y); taken[place] != "" {
			t.Errorf("%s and %s are in the same place", p.Title, taken[place])
		} else {
			taken[place] = p.Title
		}
		for _, target := range p.Targets {
			if !strings.Contains(target.Expr, `{namespace="$namespace", service="$service"`) {
				t.Errorf("%s asks about every release: %s", p.Title, target.Expr)
			}
			queries = append(queries, query{fmt.Sprintf("q%d", len(queries)), strings.ReplaceAll(target.Expr, "$__rate_interval", "5m")})
		}
	}
	if len(queries) < 20 {
		t.Errorf("only %d queries were found", len(queries))
	}
	text, err := yaml.Marshal(map[string]any{"groups": []any{map[string]any{"name": "dashboard", "rules": queries}}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "queries.yaml")
	write(t, file, string(text))
	if out, errs, err := run(t, "", "promtool", "check", "rules", file); err != nil {
		t.Errorf("%s%s", out, errs)
	}
}

var metricName = regexp.MustCompile(`\bgatehouse_[a-z_]+`)

// TestMetricsExist holds the names in alerts and dashboard to those that the program has, which
// docs/observability.md lists.
func TestMetricsExist(t *testing.T) {
	doc, err := os.ReadFile("../docs/observability.md")
	if err != nil {
		t.Fatal(err)
	}
	known := metricName.FindAllString(string(doc), -1)
	found := 0
	for _, file := range []string{"alerts.yaml", "dashboard.json"} {
		text, err := os.ReadFile(filepath.Join(chart, "files", file))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range metricName.FindAllString(string(text), -1) {
			found++
			if !slices.Contains(known, name) && !slices.Contains(known, strings.TrimSuffix(name, "_bucket")) {
				t.Errorf("%s asks for %s, which the program does not count", file, name)
			}
		}
	}
	if found < 30 {
		t.Errorf("only %d names were found", found)
	}
}
