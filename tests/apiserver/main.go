// The Kubernetes API server as its own module publishes it, and nothing of ours: the same command as cmd/kube-apiserver.
//
// It exists so that the tests can meet the real API where a Go module proxy is reachable and dl.k8s.io is not.
// scripts/apiserver.sh builds it, once, into the user's cache.
package main

import (
	"os"

	_ "time/tzdata"

	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
)

func main() {
	os.Exit(cli.Run(app.NewAPIServerCommand()))
}
