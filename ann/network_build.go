package ann

import (
	"cmp"
	"slices"

	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/internal/kernel"
)

// build makes the values and layers.
func (n *Network) build(g *graph.Graph) error {
	f := newFuser(g)
	f.off = n.opts.Unfused
	f.value = n.value
	for _, in := range n.inputs {
		n.value[in] = n.newValue(in, n.opts.InputGrads)
	}
	type packer struct {
		size int
		pack func()
	}
	var packers []packer
	pack := func(node *graph.Node, fn func()) { packers = append(packers, packer{node.Weight().Len(), fn}) }
	for i, node := range g.Nodes {
		if f.done[node] {
			continue
		}
		if err := checkNode(node); err != nil {
			return err
		}
		if _, ok := node.Op.(*graph.Input); ok {
			continue
		}
		in := make([]int, len(node.Inputs))
		needs := len(node.Params) > 0
		for k, x := range node.Inputs {
			in[k] = n.value[x]
			needs = needs || n.needs(in[k])
		}
		// out makes the value of a chain's result.
		out := func(ch chain) (v, add int) {
			add = -1
			if ch.add != nil {
				add = n.value[ch.add]
				needs = needs || n.needs(add)
			}
			v = n.newValue(ch.last, needs)
			n.value[ch.last] = v
			return v, add
		}
		alone := chain{last: node}
		var l layer
		switch op := node.Op.(type) {
		case *graph.Identity, *graph.Flatten, *graph.Reshape:
			n.alias(node, in[0])
			continue
		case *graph.Conv2D, *graph.Linear:
			ch := f.follow(node, true)
			c := &convLayer{in: in[0], limit: ch.limit, shape: convShape(node),
				weight: n.param(node, "weight"), bias: n.param(node, "bias")}
			c.out, c.add = out(ch)
			c.conv = newForwardConv(c.shape, c.weight.Value.Data, true)
			pack(node, func() { c.conv.set(c.weight.Value.Data) })
			if n.needs(c.in) {
				c.back = newBackwardConv(c.shape, c.weight.Value.Data, true)
				pack(node, func() { c.back.set(c.weight.Value.Data) })
			}
			l = c
		case *graph.ConvTranspose2D:
			c := &transposeLayer{in: in[0], weight: n.param(node, "weight"), bias: n.param(node, "bias"),
				channels: node.Shape.Channels(), mirrored: make([]float32, node.Weight().Len())}
			c.shape, _ = mirrorShape(node) // checked by checkNode
			c.out, _ = out(alone)
			mirrorWeight(c.mirrored, c.weight.Value)
			c.back = newBackwardConv(c.shape, c.mirrored, true)
			if n.needs(c.in) {
				c.conv = newForwardConv(c.shape, c.mirrored, true)
			}
			pack(node, c.pack)
			l = c
		case *graph.BatchNorm:
			ch := f.follow(node, true)
			c := newNormLayer(op, node, n.param(node, "weight"), n.param(node, "bias"))
			c.in, c.limit = in[0], ch.limit
			c.out, c.add = out(ch)
			l = c
		case *graph.ReLU, *graph.ReLU6:
			limit, _ := reluLimit(node)
			v, _ := out(alone)
			l = &reluLayer{in: in[0], out: v, limit: limit}
		case *graph.LeakyReLU:
			v, _ := out(alone)
			l = &leakyLayer{in: in[0], out: v, slope: float32(op.Alpha)}
		case *graph.MaxPool2D:
			v, _ := out(alone)
			l = &maxPoolLayer{in: in[0], out: v, shape: poolShape(node)}
		case *graph.GlobalMaxPool:
			v, _ := out(alone)
			positions, c := node.Inputs[0].Shape.Positions(), node.Shape.Channels()
			l = &maxPoolLayer{in: in[0], out: v, shape: kernel.PoolShape{N: 1, H: 1, W: positions, C: c,
				KH: 1, KW: positions, StrideH: 1, StrideW: 1, OutH: 1, OutW: 1}}
		case *graph.AvgPool2D:
			v, _ := out(alone)
			l = &avgPoolLayer{in: in[0], out: v, shape: poolShape(node), countPad: op.CountIncludePad}
		case *graph.GlobalAvgPool:
			v, _ := out(alone)
			l = &globalAvgLayer{in: in[0], out: v, positions: node.Inputs[0].Shape.Positions(), channels: node.Shape.Channels()}
		case *graph.Add:
			ch := f.follow(node, false)
			v, _ := out(ch)
			l = &addLayer{ins: in, out: v, limit: ch.limit}
		case *graph.Concat:
			v, _ := out(alone)
			l = &concatLayer{ins: in, out: v, widths: partWidths(node)}
		case *graph.Upsample:
			v, _ := out(alone)
			l = &upsampleLayer{in: in[0], out: v, shape: resampleShape(node), nearest: op.Mode == "nearest", align: op.AlignCorners}
		case *graph.Softmax:
			v, _ := out(alone)
			l = &softmaxLayer{in: in[0], out: v, channels: node.Shape.Channels(), f: kernel.SoftmaxFast, back: kernel.SoftmaxBackward}
		case *graph.LogSoftmax:
			v, _ := out(alone)
			l = &softmaxLayer{in: in[0], out: v, channels: node.Shape.Channels(), f: kernel.LogSoftmax, back: kernel.LogSoftmaxBackward}
		case *graph.Dropout:
			v, _ := out(alone)
			l = &dropoutLayer{in: in[0], out: v, p: op.P, index: uint64(i)}
		default:
			o, err := newOperation(node, n.pool)
			if err != nil {
				return err
			}
			if o == nil {
				return unsupported(node, "no gradient for this kind")
			}
			v, _ := out(alone)
			l = &opLayer{op: o, ins: in, out: v, weight: n.param(node, "weight"), bias: n.param(node, "bias")}
		}
		n.layers = append(n.layers, l)
		var params []*Param
		for _, role := range []string{"weight", "bias"} {
			if p := n.param(node, role); p != nil {
				params = append(params, p)
			}
		}
		n.owned = append(n.owned, params)
	}
	slices.SortStableFunc(packers, func(a, b packer) int { return cmp.Compare(b.size, a.size) })
	for _, p := range packers {
		n.packers = append(n.packers, p.pack)
	}
	return nil
}

func (n *Network) newValue(node *graph.Node, needs bool) int {
	n.values = append(n.values, netValue{node: node, size: node.Shape.Numel(), from: -1, needs: needs})
	return len(n.values) - 1
}

// alias makes the value of a node another name of value from.
func (n *Network) alias(node *graph.Node, from int) {
	v := n.newValue(node, n.needs(from))
	n.values[v].from = from
	n.value[node] = v
}
