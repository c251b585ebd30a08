// A CoreDNS with the few plugins that the tests configure.
package main

import (
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/forward"
	_ "github.com/coredns/coredns/plugin/hosts"
	_ "github.com/coredns/coredns/plugin/log"
	_ "github.com/coredns/coredns/plugin/metrics"
	_ "github.com/coredns/coredns/plugin/reload"

	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"
)

// Plugins in the order in which they see a query.
func init() {
	dnsserver.Directives = []string{"reload", "prometheus", "log", "cache", "hosts", "forward"}
}

func main() {
	coremain.Run()
}
