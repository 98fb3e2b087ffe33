// Follows the SPIFFE Workload API with go-spiffe, which is what most applications have it from. For each update it prints a JSON
// line, after it has verified the certificate under the bundle that came along. Argument: the address, as unix:///path.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

type watcher struct{ out *json.Encoder }

func (w watcher) OnX509ContextUpdate(update *workloadapi.X509Context) {
	svid := update.DefaultSVID()
	id, _, err := x509svid.Verify(svid.Certificates, update.Bundles)
	if err != nil {
		w.print(map[string]any{"error": err.Error()})
		return
	}
	bundle, _ := update.Bundles.Get(id.TrustDomain())
	w.print(map[string]any{"id": id.String(), "serial": fmt.Sprintf("%x", svid.Certificates[0].SerialNumber), "roots": len(bundle.X509Authorities())})
}

func (w watcher) OnX509ContextWatchError(err error) {
	w.print(map[string]any{"error": err.Error()})
}

func (w watcher) print(line map[string]any) {
	_ = w.out.Encode(line)
}

func main() {
	client, err := workloadapi.New(context.Background(), workloadapi.WithAddr(os.Args[1]))
	if err == nil {
		err = client.WatchX509Context(context.Background(), watcher{json.NewEncoder(os.Stdout)})
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
