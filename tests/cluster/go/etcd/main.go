// etcd cannot be installed by `go install` (its module has replace lines), hence this main.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() {
	etcdmain.Main(os.Args)
}
