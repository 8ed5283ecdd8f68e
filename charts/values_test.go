package charts

// Values is what the chart takes. values.schema.json is made of it.
type Values struct {
	// Gatehouse's own settings, in their own shape and under their own names (docs/settings.md), without the secrets: for those there are their twins whose names end in File, and existingSecrets.
	Config Settings `json:"config"`
	// Secrets of yours, as sources of a projected volume. Each of their keys becomes a file in /run/secrets/gatehouse.
	ExistingSecrets []SecretSource `json:"existingSecrets"`
	// The same, for trying: file names and texts. They stay in Helm's records of the release.
	SecretValues map[string]string `json:"secretValues"`
	// Replaces pods when config has changed. With false, running pods take it over by themselves (docs/reload.md).
	RollOnChange bool `json:"rollOnChange"`
	// How many pods. More than one needs Redis.
	ReplicaCount int `json:"replicaCount" jsonschema:"minimum=0"`

	Image            Image            `json:"image"`
	ImagePullSecrets []map[string]any `json:"imagePullSecrets"`
	// Instead of the chart's name.
	NameOverride string `json:"nameOverride"`
	// Instead of the release's name and the chart's.
	FullnameOverride string `json:"fullnameOverride"`
	// Labels of all objects.
	CommonLabels map[string]string `json:"commonLabels"`
	// Annotations of the Deployment.
	Annotations    map[string]string `json:"annotations"`
	PodLabels      map[string]string `json:"podLabels"`
	PodAnnotations map[string]string `json:"podAnnotations"`

	Redis         Redis         `json:"redis"`
	Service       Service       `json:"service"`
	Ingress       Ingress       `json:"ingress"`
	GatewayAPI    GatewayAPI    `json:"gatewayApi"`
	ForwardAuth   ForwardAuth   `json:"forwardAuth"`
	NetworkPolicy NetworkPolicy `json:"networkPolicy"`

	ServiceAccount     ServiceAccount `json:"serviceAccount"`
	PodSecurityContext map[string]any `json:"podSecurityContext"`
	SecurityContext    map[string]any `json:"securityContext"`
	Resources          map[string]any `json:"resources"`
	// Times of the probe of /livez while the gateway starts.
	StartupProbe map[string]any `json:"startupProbe"`
	// Times of the probe of /livez.
	LivenessProbe map[string]any `json:"livenessProbe"`
	// Times of the probe of /readyz.
	ReadinessProbe map[string]any `json:"readinessProbe"`
	// Without it, RollingUpdate; Recreate without Redis.
	Strategy             map[string]any `json:"strategy"`
	RevisionHistoryLimit int            `json:"revisionHistoryLimit" jsonschema:"minimum=0"`
	// Without it, config.listen.drainDelay, drainTimeout and 5 s together.
	TerminationGracePeriodSeconds *int                `json:"terminationGracePeriodSeconds" jsonschema:"oneof_type=integer;null"`
	PodDisruptionBudget           PodDisruptionBudget `json:"podDisruptionBudget"`
	Autoscaling                   Autoscaling         `json:"autoscaling"`
	// Without any, spread over hosts and zones where that is possible.
	TopologySpreadConstraints []map[string]any  `json:"topologySpreadConstraints"`
	Affinity                  map[string]any    `json:"affinity"`
	NodeSelector              map[string]string `json:"nodeSelector"`
	Tolerations               []map[string]any  `json:"tolerations"`
	PriorityClassName         string            `json:"priorityClassName"`
	// Further arguments of gatehouse serve.
	ExtraArgs []string `json:"extraArgs"`
	// Settings by their names in the environment.
	ExtraEnv          []EnvVar         `json:"extraEnv"`
	EnvFrom           []map[string]any `json:"envFrom"`
	ExtraVolumes      []map[string]any `json:"extraVolumes"`
	ExtraVolumeMounts []map[string]any `json:"extraVolumeMounts"`
	InitContainers    []map[string]any `json:"initContainers"`
	ExtraContainers   []map[string]any `json:"extraContainers"`
	// Any objects, as YAML or as text with templates in it.
	ExtraObjects []any `json:"extraObjects"`

	Metrics Metrics  `json:"metrics"`
	Test    HelmTest `json:"test"`
	// What Helm hands to charts below another one.
	Global map[string]any `json:"global"`
}

// Settings stands for the schema of Gatehouse's settings file.
type Settings struct{}

// A secret of yours.
type SecretSource struct {
	// The secret's name.
	Name string `json:"name" jsonschema:"required,minLength=1"`
	// Some of its keys, and the names of their files.
	Items    []SecretItem `json:"items,omitempty"`
	Optional bool         `json:"optional,omitempty"`
}

// One key of a secret, and the name of its file.
type SecretItem struct {
	Key  string `json:"key" jsonschema:"required,minLength=1"`
	Path string `json:"path" jsonschema:"required,minLength=1"`
	Mode int    `json:"mode,omitempty"`
}

// A variable of the environment.
type EnvVar struct {
	Name      string         `json:"name" jsonschema:"required,minLength=1"`
	Value     string         `json:"value,omitempty"`
	ValueFrom map[string]any `json:"valueFrom,omitempty"`
}

// An image, and when to pull it.
type Image struct {
	Repository string `json:"repository" jsonschema:"minLength=1"`
	// Without it, the version that the chart was made for.
	Tag string `json:"tag"`
	// It goes before the tag.
	Digest     string `json:"digest" jsonschema:"pattern=^(sha256:[0-9a-f]{64})?$"`
	PullPolicy string `json:"pullPolicy" jsonschema:"enum=Always,enum=IfNotPresent,enum=Never"`
}

// One small Redis (Valkey), for trying.
type Redis struct {
	Enabled bool `json:"enabled"`
	// A secret of yours instead of the one that the chart makes: redis-password, users.acl, session-keys, ca.crt, tls.crt, tls.key.
	ExistingSecret string `json:"existingSecret"`
	Image          Image  `json:"image"`
	// As redis.conf has it.
	MaxMemory   string         `json:"maxMemory" jsonschema:"pattern=^[0-9]+(kb|mb|gb|k|m|g)?$"`
	Persistence Persistence    `json:"persistence"`
	Resources   map[string]any `json:"resources"`
}

// The volume of the bundled Redis.
type Persistence struct {
	Enabled      bool   `json:"enabled"`
	Size         string `json:"size"`
	StorageClass string `json:"storageClass"`
}

// How the gateway is reached in the cluster.
type Service struct {
	Type                     string            `json:"type" jsonschema:"enum=ClusterIP,enum=NodePort,enum=LoadBalancer"`
	Port                     int               `json:"port" jsonschema:"minimum=1,maximum=65535"`
	NodePort                 *int              `json:"nodePort" jsonschema:"oneof_type=integer;null"`
	Annotations              map[string]string `json:"annotations"`
	LoadBalancerClass        string            `json:"loadBalancerClass"`
	LoadBalancerSourceRanges []string          `json:"loadBalancerSourceRanges"`
	ExternalTrafficPolicy    string            `json:"externalTrafficPolicy" jsonschema:"enum=,enum=Cluster,enum=Local"`
}

// An Ingress to the gateway.
type Ingress struct {
	Enabled     bool              `json:"enabled"`
	ClassName   string            `json:"className"`
	Annotations map[string]string `json:"annotations"`
	// Without any, the host of config.publicURL and those of config.upstreams.
	Hosts []string         `json:"hosts"`
	TLS   []map[string]any `json:"tls"`
}

// A route of the Gateway API.
type GatewayAPI struct {
	Enabled     bool              `json:"enabled"`
	Annotations map[string]string `json:"annotations"`
	// The Gateway, as an item of parentRefs.
	GatewayRef map[string]any `json:"gatewayRef"`
	// Without any, the host of config.publicURL and those of config.upstreams.
	Hostnames []string `json:"hostnames"`
	// Of the rule that the chart makes.
	Timeouts map[string]string `json:"timeouts"`
	// Instead of the rule that the chart makes.
	Rules []map[string]any `json:"rules"`
}

// Wiring for proxies that ask the gateway about each request (docs/forward-auth.md).
type ForwardAuth struct {
	Traefik      Traefik      `json:"traefik"`
	EnvoyGateway EnvoyGateway `json:"envoyGateway"`
	ExternalAuth ExternalAuth `json:"externalAuth"`
	Nginx        Nginx        `json:"nginx"`
}

// A Middleware, and an IngressRoute for the gateway's own pages.
type Traefik struct {
	Enabled     bool           `json:"enabled"`
	EntryPoints []string       `json:"entryPoints"`
	TLS         map[string]any `json:"tls"`
}

// A SecurityPolicy for routes of Envoy Gateway, over gRPC.
type EnvoyGateway struct {
	Enabled bool `json:"enabled"`
	// Where those routes are, if not in the release's namespace.
	Namespace  string           `json:"namespace"`
	TargetRefs []map[string]any `json:"targetRefs"`
	// Makes a route for the gateway's own pages at gatewayRef.
	OwnPages   bool           `json:"ownPages"`
	GatewayRef map[string]any `json:"gatewayRef"`
}

// A route of the Gateway API to the application, with the filter ExternalAuth.
type ExternalAuth struct {
	Enabled    bool           `json:"enabled"`
	Protocol   string         `json:"protocol" jsonschema:"enum=GRPC,enum=HTTP"`
	GatewayRef map[string]any `json:"gatewayRef"`
	// The application.
	BackendRefs []map[string]any `json:"backendRefs"`
}

// Annotations for ingress-nginx, printed after install.
type Nginx struct {
	Enabled bool `json:"enabled"`
}

// Who may reach the gateway, and whom it may reach.
type NetworkPolicy struct {
	Enabled bool `json:"enabled"`
	// Who may ask, as items of from. Without any, everybody.
	IngressFrom []map[string]any `json:"ingressFrom"`
	// Who may read metrics. Without any, every pod if there is a ServiceMonitor, otherwise nobody.
	MetricsFrom []map[string]any `json:"metricsFrom"`
	// More ways out.
	ExtraEgress []map[string]any `json:"extraEgress"`
	// All ways out, instead of those that the chart finds.
	Egress []map[string]any `json:"egress"`
}

// What the pods are to the cluster.
type ServiceAccount struct {
	Create      bool              `json:"create"`
	Name        string            `json:"name"`
	Annotations map[string]string `json:"annotations"`
	// Mounts its token. Only an issuer of preset kubernetes needs it.
	Automount bool `json:"automount"`
}

// How many pods may go at once.
type PodDisruptionBudget struct {
	Enabled        bool `json:"enabled"`
	MaxUnavailable any  `json:"maxUnavailable" jsonschema:"oneof_type=integer;string;null"`
	// Instead of maxUnavailable.
	MinAvailable any `json:"minAvailable" jsonschema:"oneof_type=integer;string;null"`
}

// How many pods there are, by their load.
type Autoscaling struct {
	Enabled                           bool           `json:"enabled"`
	MinReplicas                       int            `json:"minReplicas" jsonschema:"minimum=1"`
	MaxReplicas                       int            `json:"maxReplicas" jsonschema:"minimum=1"`
	TargetCPUUtilizationPercentage    *int           `json:"targetCPUUtilizationPercentage" jsonschema:"oneof_type=integer;null"`
	TargetMemoryUtilizationPercentage *int           `json:"targetMemoryUtilizationPercentage" jsonschema:"oneof_type=integer;null"`
	Behavior                          map[string]any `json:"behavior"`
}

// What watches the gateway.
type Metrics struct {
	ServiceMonitor ServiceMonitor `json:"serviceMonitor"`
	PrometheusRule PrometheusRule `json:"prometheusRule"`
	Dashboard      Dashboard      `json:"dashboard"`
}

// For the Prometheus operator: where metrics are.
type ServiceMonitor struct {
	Enabled           bool              `json:"enabled"`
	Interval          string            `json:"interval"`
	Labels            map[string]string `json:"labels"`
	Relabelings       []map[string]any  `json:"relabelings"`
	MetricRelabelings []map[string]any  `json:"metricRelabelings"`
}

// For the Prometheus operator: when to call somebody.
type PrometheusRule struct {
	Enabled bool              `json:"enabled"`
	Labels  map[string]string `json:"labels"`
	// More rules for the same group.
	AdditionalRules []map[string]any `json:"additionalRules"`
}

// A ConfigMap that Grafana's sidecar finds by its label.
type Dashboard struct {
	Enabled bool `json:"enabled"`
	// Where Grafana looks, if not in the release's namespace.
	Namespace   string            `json:"namespace"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

// What "helm test" runs.
type HelmTest struct {
	Image Image `json:"image"`
	// A secret with a credential to sign in with: username and password, or token.
	ExistingSecret string `json:"existingSecret"`
}
