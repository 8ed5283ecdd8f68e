package config

import "strconv"

// skipAudience is the switch of a Weights & Biases server by which tokens may be
// made for anybody.
const skipAudience = "SKIP_AUDIENCE_VALIDATION"

// audience puts the switch over the issuers that stand for the federation of a
// Weights & Biases server, preset wandb; others keep their audiences. Alone it makes no route, and false, or nothing, leaves the document
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
				here := indexed(indexed("authn", i)+".bearer.issuers", n)
				if issuer["audiences"] != nil {
					d.variableFault(skipAudience, here+".audiences", "are set, so they must not be skipped", "remove one of the two")
					continue
				}
				issuer["skipAudienceValidation"] = true
				d.mark(here+".skipAudienceValidation", place{source: skipAudience})
			}
		}
	}
}
