// Package metrics tells metrics of the stage's own: the host shows them with those of the pipeline, as
// stage_NAME, with the stage as a label. What a call tells counts once, with the answer that the host
// accepts. In a native test, nothing is told.
//
//	metrics.Add("cache_misses", 1, metrics.Label{Name: "table", Value: "countries"})
//
// Names are of a-z, 0-9 and _. A stage has at most 256 series.
package metrics

// A Label of a metric.
type Label struct{ Name, Value string }

// Add adds to a counter: a positive number.
func Add(name string, by float64, labels ...Label) { tell(add, name, by, labels) }

// Set sets a gauge.
func Set(name string, to float64, labels ...Label) { tell(set, name, to, labels) }

// Observe adds a value to a histogram, whose buckets end at 0.001, 0.01, 0.1, 1, 10, 100 and 1000.
func Observe(name string, value float64, labels ...Label) { tell(observe, name, value, labels) }
