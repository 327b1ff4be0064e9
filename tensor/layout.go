package tensor

import "fmt"

// ChannelsLast converts activations from channels-first ([N,C,H,W] or [N,C,P];
// [N,C] is returned as a copy) to channels-last.
func ChannelsLast(t *Tensor) (*Tensor, error) {
	switch len(t.Shape) {
	case 2:
		return t.Clone(), nil
	case 3:
		return t.Permute(0, 2, 1)
	case 4:
		return t.Permute(0, 2, 3, 1)
	}
	return nil, fmt.Errorf("activations of shape %v: want 2 to 4 axes: %w", t.Shape, ErrShape)
}

// ChannelsFirst is the inverse of ChannelsLast.
func ChannelsFirst(t *Tensor) (*Tensor, error) {
	switch len(t.Shape) {
	case 2:
		return t.Clone(), nil
	case 3:
		return t.Permute(0, 2, 1)
	case 4:
		return t.Permute(0, 3, 1, 2)
	}
	return nil, fmt.Errorf("activations of shape %v: want 2 to 4 axes: %w", t.Shape, ErrShape)
}

// ConvWeight converts a convolution weight from OIHW (PyTorch, ONNX) to
// [KH, KW, Cin/groups, Cout].
func ConvWeight(oihw *Tensor) (*Tensor, error) { return oihw.Permute(2, 3, 1, 0) }

// ConvWeightOIHW is the inverse of ConvWeight.
func ConvWeightOIHW(w *Tensor) (*Tensor, error) { return w.Permute(3, 2, 0, 1) }

// ConvTransposeWeight converts a transposed convolution's weight from IOHW to
// [KH, KW, Cin, Cout/groups].
func ConvTransposeWeight(iohw *Tensor) (*Tensor, error) { return iohw.Permute(2, 3, 0, 1) }

// ConvTransposeWeightIOHW is the inverse of ConvTransposeWeight.
func ConvTransposeWeightIOHW(w *Tensor) (*Tensor, error) { return w.Permute(2, 3, 0, 1) }

// LinearWeight converts a fully connected weight from [Out, In] to [In, Out].
func LinearWeight(oi *Tensor) (*Tensor, error) { return oi.Permute(1, 0) }

// LinearWeightAfterFlatten converts a fully connected weight [Out, C*H*W] that
// follows a channels-first flatten to [H*W*C, Out], the order of a
// channels-last flatten.
func LinearWeightAfterFlatten(oi *Tensor, h, w, c int) (*Tensor, error) {
	if len(oi.Shape) != 2 || oi.Shape[1] != h*w*c {
		return nil, fmt.Errorf("weight %v behind a flatten of %dx%dx%d: %w", oi.Shape, h, w, c, ErrShape)
	}
	t, err := oi.Reshape(oi.Shape[0], c, h, w)
	if err != nil {
		return nil, err
	}
	t, err = t.Permute(2, 3, 1, 0)
	if err != nil {
		return nil, err
	}
	return t.Reshape(h*w*c, oi.Shape[0])
}
