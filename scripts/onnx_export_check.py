"""Checks the files that scripts/onnx-export-check.sh has exported with onnx's
checker and compares what onnxruntime computes with AdaFire's executor.

Exit status 1 if a file is refused, an output is off by more than --rtol, or spike
counts differ: any with dyadic numbers, more than --spikes of all with others."""

import argparse
import json
import pathlib
import sys

import numpy as np
import onnx
import onnxruntime as ort


def session(path, optimise):
    opt = ort.SessionOptions()
    level = ort.GraphOptimizationLevel
    opt.graph_optimization_level = level.ORT_ENABLE_ALL if optimise else level.ORT_DISABLE_ALL
    opt.log_severity_level = 3
    return ort.InferenceSession(str(path), opt, providers=["CPUExecutionProvider"])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--rtol", type=float, default=1e-4)
    parser.add_argument("--spikes", type=float, default=1e-4, help="share of counts that may differ")
    args = parser.parse_args()
    failed = 0
    print(f"onnx {onnx.__version__}, onnxruntime {ort.__version__}")
    print(f"{'file':34} {'optimised':9} {'output off by':>13} {'counts':>9} {'differ':>6} {'top-1 same':>10}")
    total = wrong_total = 0
    for case in json.loads((args.folder / "index.json").read_text()):
        path = args.folder / case["file"]
        try:
            onnx.checker.check_model(str(path), full_check=True)
        except Exception as e:  # the checker has several kinds of error
            print(f"{case['file']}: refused by the checker: {e}")
            failed += 1
            continue
        feeds = {name: np.load(args.folder / f) for name, f in case["inputs"].items()}
        if case.get("timesteps"):
            feeds["timesteps"] = np.array(case["timesteps"], np.int64)
        for optimise in (False, True):
            s = session(path, optimise)
            names = [o.name for o in s.get_outputs()]
            got = dict(zip(names, s.run(names, feeds)))
            off, same, samples = 0.0, 0, 0
            for name, f in case["outputs"].items():
                want = np.load(args.folder / f)
                if got[name].shape != want.shape:
                    print(f"{case['file']}: output {name} has shape {got[name].shape}, want {want.shape}")
                    failed += 1
                    continue
                off = max(off, float(np.abs(got[name] - want).max() / max(np.abs(want).max(), 1e-30)))
                if want.ndim == 2:
                    same += int((got[name].argmax(1) == want.argmax(1)).sum())
                    samples += len(want)
            counts = wrong = 0
            for name, f in case.get("counts", {}).items():
                want = np.load(args.folder / f)
                if got[name].shape != want.shape:
                    print(f"{case['file']}: {name} has shape {got[name].shape}, want {want.shape}")
                    failed += 1
                    continue
                counts += want.size
                wrong += int((got[name] != want).sum())
            total, wrong_total = total + counts, wrong_total + wrong
            # A spike that falls on the other side moves what comes behind it.
            bad = wrong > (0 if case["exact"] else args.spikes * counts) or (wrong == 0 and off > args.rtol)
            failed += bad
            top = f"{same}/{samples}" if samples else ""
            print(f"{case['file']:34} {'yes' if optimise else 'no':9} {off:13.2e} {counts:9} {wrong:6} {top:>10}{'  FAILED' if bad else ''}")
    print(f"{wrong_total} of {total} spike counts differ; {failed} failures")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
