package onnx_test

import (
	"fmt"

	"github.com/adafire/adafire/onnx"
)

func ExampleImportBytes() {
	g := graphParts{
		nodes: []pb{
			node("Conv", names("image", "w"), names("a"), attrInts("pads", 1, 1, 1, 1)),
			node("Clip", names("a", "low", "high"), names("b")),
			node("GlobalAveragePool", names("b"), names("c")),
			node("Flatten", names("c"), names("scores")),
		},
		inits:   []pb{floats("w", []int64{2, 1, 3, 3}, make([]float32, 18)...), floats("low", nil, 0), floats("high", nil, 6)},
		inputs:  []pb{value("image", -1, 1, 8, 8)},
		outputs: []pb{value("scores", -1, 2)},
	}
	m, err := onnx.ImportBytes(model(17, g.encode()), "net.onnx", onnx.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, n := range m.Graph.Nodes {
		fmt.Println(n.Kind(), n.Shape)
	}
	// Output:
	// input 8x8x1
	// conv2d 8x8x2
	// relu6 8x8x2
	// global_avgpool 1x1x2
	// flatten 2
}
