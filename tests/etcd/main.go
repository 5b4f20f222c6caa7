// etcd as its own module publishes it, and nothing of ours: what the API server of the tests keeps its objects in.
//
// Debian's etcd is 3.4 and lacks what a streamed list needs. scripts/apiserver.sh builds this one, once, into the user's cache.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() {
	etcdmain.Main(os.Args)
}
