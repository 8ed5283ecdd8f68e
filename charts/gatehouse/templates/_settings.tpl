{{/* Gatehouse's settings file, and what the objects need to know of it. */}}

{{/* Where secrets are in the container. */}}
{{- define "gatehouse.secrets" -}}/run/secrets/gatehouse{{- end -}}

{{/*
The settings file: config of the values, with what a pod needs where config says
nothing.
*/}}
{{- define "gatehouse.settings" -}}
{{- include "gatehouse.refuse" . -}}
{{- $c := deepCopy .Values.config -}}
{{- $_ := set $c "listen" (merge ($c.listen | default dict) (dict "address" ":8080" "drainDelay" "10s")) -}}
{{- $_ := set $c "operations" (merge ($c.operations | default dict) (dict "address" ":8081")) -}}
{{- if .Values.redis.enabled -}}
{{- $secrets := include "gatehouse.secrets" . -}}
{{- $server := dict
  "url" (printf "rediss://%s-redis.%s.svc:6379/0" (include "gatehouse.fullname" .) .Release.Namespace)
  "username" "gatehouse"
  "passwordFile" (printf "%s/redis-password" $secrets)
  "tls" (dict "caFile" (printf "%s/redis-ca.crt" $secrets)) -}}
{{- $_ := set $c "store" (dict "redis" $server) -}}
{{- $_ := set $c "session" (merge ($c.session | default dict) (dict "keysFile" (printf "%s/session-keys" $secrets))) -}}
{{- end -}}
{{- toYaml $c -}}
{{- end -}}

{{/* "true" if sessions are in the memory of the one process. */}}
{{- define "gatehouse.inProcess" -}}
{{- $redis := or .Values.redis.enabled (.Values.config.store | default dict).redis -}}
{{- range .Values.extraEnv -}}
{{- if hasPrefix "GATEHOUSE_STORE_REDIS_" .name -}}{{- $redis = true -}}{{- end -}}
{{- end -}}
{{- if not $redis -}}true{{- end -}}
{{- end -}}

{{/* Refuses values that can't work, and says what to do. */}}
{{- define "gatehouse.refuse" -}}
{{- $c := .Values.config -}}
{{- $replicas := .Values.autoscaling.enabled | ternary .Values.autoscaling.maxReplicas .Values.replicaCount | int -}}
{{- if and (gt $replicas 1) (include "gatehouse.inProcess" .) -}}
{{- fail (printf "%d replicas need Redis: without it each has sessions of its own, and people are signed out at every other request. Set config.store.redis, or for trying redis.enabled; or keep to one replica (replicaCount, autoscaling.maxReplicas)." $replicas) -}}
{{- end -}}
{{- $store := ($c.store | default dict).redis -}}
{{- if and .Values.redis.enabled $store -}}
{{- fail "redis.enabled and config.store.redis are set together: remove config.store.redis to use the bundled Redis, or redis.enabled to use your own." -}}
{{- end -}}
{{- if and $store (not ($c.session | default dict).keysFile) (not .Values.extraEnv) (not .Values.envFrom) -}}
{{- fail (printf "config.session.keysFile is missing: sessions in Redis need keys that all replicas share. Put the output of \"openssl rand -base64 32\" under the key session-keys into a secret, name that in existingSecrets, and set config.session.keysFile to %s/session-keys." (include "gatehouse.secrets" .)) -}}
{{- end -}}
{{- if and (not $c.authn) (not .Values.extraEnv) (not .Values.envFrom) -}}
{{- fail "config.authn is missing: say how people and programs prove who they are, for instance by an OpenID provider (authn[].oidc), as docs/settings.md shows." -}}
{{- end -}}
{{- range $name, $group := dict "listen" $c.listen "operations" $c.operations -}}
{{- $address := ($group | default dict).address | default "" -}}
{{- if regexMatch "^(127\\.|localhost:|\\[::1\\])" $address -}}
{{- fail (printf "config.%s.address is %s, where nothing outside the pod can reach it: leave it out, or write it like :8080." $name $address) -}}
{{- end -}}
{{- end -}}
{{- $wiring := or .Values.forwardAuth.traefik.enabled .Values.forwardAuth.envoyGateway.enabled .Values.forwardAuth.externalAuth.enabled .Values.forwardAuth.nginx.enabled -}}
{{- if and $wiring (not $c.forwardAuth) -}}
{{- fail "forwardAuth asks for another proxy's wiring, but config.forwardAuth is missing: set config.forwardAuth.hosts, and config.trustedProxies to the addresses of that proxy's pods." -}}
{{- end -}}
{{- if and (or .Values.forwardAuth.envoyGateway.enabled (and .Values.forwardAuth.externalAuth.enabled (eq .Values.forwardAuth.externalAuth.protocol "GRPC"))) (not ($c.forwardAuth | default dict).grpcAddress) -}}
{{- fail "forwardAuth.envoyGateway, and forwardAuth.externalAuth with protocol GRPC, ask over gRPC: set config.forwardAuth.grpcAddress, for instance to :9001." -}}
{{- end -}}
{{- include "gatehouse.refuseWiring" . -}}
{{- end -}}

{{/* Refuses wiring that lacks what only the user knows. */}}
{{- define "gatehouse.refuseWiring" -}}
{{- $f := .Values.forwardAuth -}}
{{- if and .Values.gatewayApi.enabled (not .Values.gatewayApi.gatewayRef) -}}
{{- fail "gatewayApi.gatewayRef is missing: name the Gateway, as an item of parentRefs: name, and if it has one, namespace and sectionName." -}}
{{- end -}}
{{- if and $f.nginx.enabled (not (.Values.config.paths | default dict).oauth2Proxy) -}}
{{- fail "forwardAuth.nginx needs config.paths.oauth2Proxy: true." -}}
{{- end -}}
{{- if and $f.envoyGateway.enabled (not $f.envoyGateway.targetRefs) -}}
{{- fail "forwardAuth.envoyGateway.targetRefs is missing: name the application's HTTPRoute, by group, kind and name." -}}
{{- end -}}
{{- if and $f.envoyGateway.ownPages (not $f.envoyGateway.gatewayRef) -}}
{{- fail "forwardAuth.envoyGateway.gatewayRef is missing: name the Gateway that the gateway's own pages are at." -}}
{{- end -}}
{{- if and $f.externalAuth.enabled (not (and $f.externalAuth.gatewayRef $f.externalAuth.backendRefs)) -}}
{{- fail "forwardAuth.externalAuth needs gatewayRef, the Gateway, and backendRefs, the application's service by name and port." -}}
{{- end -}}
{{- end -}}

{{/* The port of an address such as :8080. */}}
{{- define "gatehouse.port" -}}
{{- regexFind "[0-9]+$" . -}}
{{- end -}}

{{/* What pods listen at, as YAML: http, operations, plain and grpc if there are such, and whether http is TLS. */}}
{{- define "gatehouse.ports" -}}
{{- $c := include "gatehouse.settings" . | fromYaml -}}
http: {{ include "gatehouse.port" $c.listen.address }}
scheme: {{ if or ($c.listen.tls).certificates ($c.listen.tls).acme }}https{{ else }}http{{ end }}
operations: {{ include "gatehouse.port" $c.operations.address }}
{{- with $c.listen.httpAddress }}
plain: {{ include "gatehouse.port" . }}
{{- end }}
{{- with ($c.forwardAuth | default dict).grpcAddress }}
grpc: {{ include "gatehouse.port" . }}
{{- end }}
{{- end -}}

{{/* The whole seconds of a duration such as 1m30s, rounded up. */}}
{{- define "gatehouse.seconds" -}}
{{- $units := dict "h" 3600.0 "m" 60.0 "s" 1.0 "ms" 0.001 "us" 0.000001 "µs" 0.000001 "ns" 0.000000001 -}}
{{- $sum := 0.0 -}}
{{- range regexFindAll "[0-9]+(\\.[0-9]+)?(ns|us|µs|ms|h|m|s)" . -1 -}}
{{- $sum = addf $sum (mulf (regexFind "^[0-9.]+" . | float64) (get $units (regexFind "[a-zµ]+$" .))) -}}
{{- end -}}
{{- ceil $sum | int64 -}}
{{- end -}}

{{/* How long a pod may take to stop: it goes on for drainDelay, then drains. */}}
{{- define "gatehouse.gracePeriod" -}}
{{- $listen := (include "gatehouse.settings" . | fromYaml).listen -}}
{{- add (include "gatehouse.seconds" $listen.drainDelay) (include "gatehouse.seconds" ($listen.drainTimeout | default "30s")) 5 -}}
{{- end -}}

{{/* The host names that people use, as a YAML list: of publicURL and of the upstreams. */}}
{{- define "gatehouse.hosts" -}}
{{- $hosts := list (urlParse .Values.config.publicURL).hostname -}}
{{- range .Values.config.upstreams -}}{{- $hosts = concat $hosts (.hosts | default list) -}}{{- end -}}
{{- $hosts | uniq | toYaml -}}
{{- end -}}

{{/* The gateway's own paths, as a YAML list of prefix and exact ones. */}}
{{- define "gatehouse.ownPaths" -}}
{{- $paths := .Values.config.paths | default dict -}}
{{- $bearer := false -}}
{{- range .Values.config.authn -}}{{- if .bearer -}}{{- $bearer = true -}}{{- end -}}{{- end -}}
prefix: {{ $paths.prefix | default "/.gatehouse" }}
exact:
  - {{ $paths.signOut | default "/logout" }}
{{- if $bearer }}
  - {{ $paths.token | default "/oidc/token" }}
  - /.well-known/oauth-protected-resource
  - /.well-known/oauth-authorization-server
{{- end }}
callback: {{ $paths.callback | default "/oidc/callback" }}
{{- end -}}

{{/*
Where the gateway connects to, as YAML: namespaces of the cluster, and ports of
everything else. It is read from the URLs in the settings and in extraEnv. A name with
one dot may be either, and counts as both.
*/}}
{{- define "gatehouse.destinations" -}}
{{- $namespaces := list -}}
{{- $ports := list -}}
{{- $default := dict "http" 80 "https" 443 "redis" 6379 "rediss" 6379 "ldap" 389 "ldaps" 636 "udp" 514 "tcp" 601 -}}
{{- $own := .Release.Namespace -}}
{{- $text := printf "%s\n%s" (include "gatehouse.settings" .) (toYaml .Values.extraEnv) -}}
{{- range regexFindAll "\\b(https?|rediss?|ldaps?|udp|tcp)://(\\[[0-9a-fA-F:]+\\]|[A-Za-z0-9._-]+)(:[0-9]+)?" $text -1 -}}
{{- $u := urlParse . -}}
{{- $labels := splitList "." $u.hostname -}}
{{- $ip := or (hasPrefix "[" $u.host) (regexMatch "^[0-9.]+$" $u.hostname) -}}
{{- $number := regexFind ":[0-9]+$" $u.host | trimPrefix ":" | default (get $default $u.scheme) | int -}}
{{- $port := dict "protocol" (eq $u.scheme "udp" | ternary "UDP" "TCP") "port" $number -}}
{{- if and (not $ip) (eq (len $labels) 1) -}}
{{- $namespaces = append $namespaces $own -}}
{{- else if and (not $ip) (eq (len $labels) 2) -}}
{{- $namespaces = append $namespaces (index $labels 1) -}}
{{- $ports = append $ports $port -}}
{{- else if and (not $ip) (eq (index $labels 2) "svc") -}}
{{- $namespaces = append $namespaces (index $labels 1) -}}
{{- if hasPrefix "kubernetes.default.svc" $u.hostname -}}
{{- $ports = concat $ports (list (dict "protocol" "TCP" "port" 443) (dict "protocol" "TCP" "port" 6443)) -}}
{{- end -}}
{{- else -}}
{{- $ports = append $ports $port -}}
{{- end -}}
{{- end -}}
{{- if dig "store" "redis" "sentinel" false .Values.config -}}{{- $ports = append $ports (dict "protocol" "TCP" "port" 6379) -}}{{- end -}}
namespaces: {{ $namespaces | uniq | sortAlpha | toJson }}
ports: {{ $ports | uniq | toJson }}
{{- end -}}
