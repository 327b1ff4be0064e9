package onnx

import "github.com/adafire/adafire/graph"

// rewrite replaces patterns of operations by single ones.
func rewrite(g *graph.Graph) {}
