package config

import "strconv"

// skipAudience is the switch of a Weights & Biases server by which tokens may be
// made for anybody.
const skipAudience = "SKIP_AUDIENCE_VALIDATION"

// audience puts the switch over the issuers that stand for the federation of a
// Weights & Biases server, preset wandb. It goes before their audiences; others
// keep theirs. Alone it makes no route, and false, or nothing, leaves the document
// as it is.
func (d *document) audience(set map[string]string) {
	value := set[skipAudience]
	if value == "" {
		return
	}
	skip, err := strconv.ParseBool(value)
	if err != nil {
		d.variableFault(skipAudience, "", quoted(value)+" is neither true nor false", "write true or false")
		return
	}
	routes, _ := d.root["authn"].([]any)
	for i, r := range routes {
		route, _ := r.(map[string]any)
		bearer, _ := route["bearer"].(map[string]any)
		issuers, _ := bearer["issuers"].([]any)
		for n, v := range issuers {
			if issuer, ok := v.(map[string]any); ok && skip && issuer["preset"] == "wandb" {
				delete(issuer, "audiences")
				issuer["skipAudienceValidation"] = true
				d.mark(indexed(indexed("authn", i)+".bearer.issuers", n)+".skipAudienceValidation", place{source: skipAudience})
			}
		}
	}
}
