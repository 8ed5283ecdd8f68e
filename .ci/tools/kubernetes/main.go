// Command kube-apiserver is Kubernetes' own, for the chart's tests.
package main

import (
	"os"

	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // metrics
	_ "k8s.io/component-base/metrics/prometheus/version"  // metrics
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
)

func main() { os.Exit(cli.Run(app.NewAPIServerCommand())) }
