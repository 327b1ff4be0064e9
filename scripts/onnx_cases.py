#!/usr/bin/env python3
"""Write the onnx package's cases of single operators as files for onnx-conformance.sh.

    pip install onnx
    scripts/onnx_cases.py FOLDER OPERATOR...

Each case becomes FOLDER/NAME/model.onnx with input_K.npy and output_K.npy. Cases of other element types than float32,
int32, int64 and bool are left out, and so are expanded functions.
"""
import os
import sys

import numpy as np
from onnx.backend.test.case.node import collect_testcases

TYPES = {np.dtype(t) for t in ("float32", "int32", "int64", "bool")}


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    folder, operators = sys.argv[1], set(sys.argv[2:])
    count = 0
    for case in collect_testcases(None):
        nodes = case.model.graph.node
        if "expanded" in case.name or len(nodes) != 1 or nodes[0].op_type not in operators or nodes[0].domain:
            continue
        inputs, outputs = case.data_sets[0]
        values = [*inputs, *outputs]
        if not all(isinstance(v, (np.ndarray, np.generic)) and np.asarray(v).dtype in TYPES for v in values):
            continue
        path = os.path.join(folder, case.name)
        os.makedirs(path, exist_ok=True)
        with open(os.path.join(path, "model.onnx"), "wb") as f:
            f.write(case.model.SerializeToString())
        for what, arrays in (("input", inputs), ("output", outputs)):
            for i, v in enumerate(arrays):
                np.save(os.path.join(path, f"{what}_{i}.npy"), np.asarray(v))
        count += 1
    print(count, "cases")


main()
