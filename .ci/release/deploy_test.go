package main

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
)

const composeDir = root + "/docs/deploy/compose"

// compose reads the compose file as docker compose does, by its schema.
func compose(t *testing.T, environment map[string]string) *types.Project {
	t.Helper()
	dir, err := filepath.Abs(composeDir)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "compose.yaml")
	p, err := loader.LoadWithContext(t.Context(), types.ConfigDetails{
		WorkingDir: dir, ConfigFiles: []types.ConfigFile{{Filename: file, Content: contentOf(t, file)}}, Environment: environment,
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestCompose: the compose file is one, and only the gateway can be reached.
func TestCompose(t *testing.T) {
	p := compose(t, map[string]string{"WANDB_HOST": "ml.example.org"})
	if names := slices.Sorted(maps.Keys(p.Services)); !slices.Equal(names, []string{"gatehouse", "redis", "wandb"}) {
		t.Fatalf("its services are %v", names)
	}
	gate := p.Services["gatehouse"]
	for name, s := range p.Services {
		if open := len(s.Ports) > 0 || s.NetworkMode != "" || s.Networks["outside"] != nil; open && name != "gatehouse" {
			t.Errorf("%s can be reached from outside", name)
		}
		for network := range s.Networks {
			if _, known := p.Networks[network]; !known {
				t.Errorf("%s is in the network %s, which is not there", name, network)
			}
		}
	}
	if !p.Networks["store"].Internal || p.Services["wandb"].Networks["store"] != nil || len(gate.Networks) != 3 {
		t.Error("the W&B server can reach the store")
	}
	if inside := gate.Networks["inside"]; inside == nil || !slices.Equal(inside.Aliases, []string{"ml.example.org"}) {
		t.Error("the W&B server does not find the gateway by its public name")
	}
	if host := p.Services["wandb"].Environment["HOST"]; host == nil || *host != "https://ml.example.org" {
		t.Error("the W&B server's HOST is not the gateway's")
	}
	if !gate.ReadOnly || !slices.Equal(gate.CapDrop, []string{"ALL"}) || gate.Privileged {
		t.Error("the gateway may do more than it needs")
	}
}

// TestComposeSettings: what the gateway's settings name, the compose file has.
func TestComposeSettings(t *testing.T) {
	p := compose(t, nil)
	gate := p.Services["gatehouse"]
	if len(gate.Volumes) != 1 || gate.Volumes[0].Target != gate.Command[2] {
		t.Fatalf("%v is not %v", gate.Command, gate.Volumes)
	}
	settings, err := os.ReadFile(gate.Volumes[0].Source)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range gate.Secrets {
		if !strings.Contains(string(settings), "/run/secrets/"+secret.Source+"\n") {
			t.Errorf("the settings do not use the secret %s", secret.Source)
		}
		if p.Secrets[secret.Source].File == "" {
			t.Errorf("the secret %s has no file", secret.Source)
		}
	}
	if n := strings.Count(string(settings), "/run/secrets/"); n != len(gate.Secrets) {
		t.Errorf("the settings use %d secrets, there are %d", n, len(gate.Secrets))
	}
	for _, part := range []string{"url: http://wandb:8080\n", "url: redis://redis:6379\n", `address: ":443"`, "publicURL: https://wandb.example.com\n"} {
		if !strings.Contains(string(settings), part) {
			t.Errorf("the settings lack %q", part)
		}
	}
	if port := gate.Ports; len(port) != 1 || port[0].Published != "443" || port[0].Target != 443 {
		t.Errorf("it is reached at %v", port)
	}
}
