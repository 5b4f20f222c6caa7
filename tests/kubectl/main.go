// Kubectl as its own module publishes it, and nothing of ours: the command that Kubernetes' cmd/kubectl is made of.
//
// It exists because Debian's kubectl is too old for our tests and a Go module proxy is reachable where dl.k8s.io is not.
// scripts/kubectl.sh builds it, once, into the user's cache.
package main

import (
	_ "k8s.io/client-go/plugin/pkg/client/auth"
	"k8s.io/component-base/cli"
	"k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"
)

func main() {
	if err := cli.RunNoErrOutput(cmd.NewDefaultKubectlCommand()); err != nil {
		util.CheckErr(err)
	}
}
