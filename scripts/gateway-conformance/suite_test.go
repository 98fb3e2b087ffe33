// Package conformance is the Gateway API's own suite as it is published, to be compiled by `go test -c`. Each test's end is printed when it comes:
// Go itself says it only when all have ended.
package conformance

import (
	"fmt"
	"testing"

	"sigs.k8s.io/gateway-api/conformance"
	"sigs.k8s.io/gateway-api/conformance/utils/suite"
)

func TestConformance(t *testing.T) {
	options := conformance.DefaultOptions(t)
	options.Hook = func(t *testing.T, _ suite.ConformanceTest, _ *suite.ConformanceTestSuite) {
		result := "passed"
		if t.Failed() {
			result = "failed"
		} else if t.Skipped() {
			result = "skipped"
		}
		fmt.Printf("=== END   %s %s\n", t.Name(), result)
	}
	conformance.RunConformanceWithOptions(t, options)
}
