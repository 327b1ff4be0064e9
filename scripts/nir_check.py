"""Reads the files that scripts/nir-check.sh has exported with nir-python, imports
them into simulators, and compares what those compute with AdaFire's simulator.

Exit status 1 if nir-python refuses a file, or a simulator's outputs differ from
the mode that describes it by more than the rounding of sums can explain."""

import argparse
import importlib
import importlib.metadata
import json
import pathlib
import sys
import warnings

import nir
import numpy as np

warnings.filterwarnings("ignore")


def spikingjelly(torch, graph, timesteps, dt):
    from spikingjelly.activation_based.nir_exchange import import_from_nir

    net = import_from_nir(graph, dt=dt)

    def run(x):
        out, state = [], None
        for _ in range(timesteps):
            y, state = net(x, state)
            out.append(y)
        return torch.stack(out, 1)

    return run


def norse(torch, graph, timesteps, dt):
    import norse.torch as nt

    net = nt.from_nir(graph, dt=dt, ignore_warnings=True)

    def run(x):
        out, state = [], None
        for _ in range(timesteps):
            y, state = net(x, state)
            out.append(y)
        return torch.stack(out, 1)

    return run


def sinabs(torch, graph, timesteps, dt):
    from sinabs.nir import from_nir

    net = from_nir(graph, num_timesteps=timesteps)  # batch and time are one axis

    def run(x):
        flat = x.repeat_interleave(timesteps, 0)
        y = net(flat)
        y = y[0] if isinstance(y, tuple) else y
        return y.reshape(x.shape[0], timesteps, *y.shape[1:])

    return run


def snntorch(torch, graph, timesteps, dt):
    from snntorch.import_nir import import_from_nir

    net = import_from_nir(graph)

    def run(x):
        out, state = [], None
        for _ in range(timesteps):
            y, state = net(x, state)
            out.append(y)
        return torch.stack(out, 1)

    return run


# How each simulator's IF neurons behave (nir.Targets) and whether the comparison
# counts: snnTorch is known to fail.
SIMULATORS = {
    "spikingjelly": (spikingjelly, "hard-at", True),
    "norse": (norse, "hard", True),
    "sinabs": (sinabs, "unbounded", True),
    "snntorch": (snntorch, "soft1", False),
}


def same(a, b):
    """The share of samples whose outputs are equal in all timesteps."""
    a = a.reshape(a.shape[0], -1)
    b = b.reshape(b.shape[0], -1)
    return float(np.mean(np.max(np.abs(a - b), 1) < 1e-3))


def first_line(e):
    return f"{type(e).__name__}: {str(e).splitlines()[0] if str(e) else ''}"[:150]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=pathlib.Path)
    args = parser.parse_args()
    index = json.loads((args.folder / "index.json").read_text())
    failed = []

    print(f"nir-python {nir.version}")
    for w in index:
        try:
            g = nir.read(args.folder / w["file"])
            print(f"  {w['file']}: {len(g.nodes)} nodes, {len(g.edges)} edges, type check passed")
        except Exception as e:
            print(f"  {w['file']}: REFUSED: {first_line(e)}")
            failed.append(w["file"])

    passed, others = 0, json.loads((args.folder / "nets.json").read_text())
    for file in others:
        try:
            nir.read(args.folder / file)
            passed += 1
        except Exception as e:
            print(f"  {file}: REFUSED: {first_line(e)}")
            failed.append(file)
    print(f"  {passed} of {len(others)} files of the tests' networks (residual, concatenation, odd kernels, ...) pass, too")

    try:
        import torch
    except ImportError:
        print("no PyTorch: simulators left out")
        return 1 if failed else 0
    torch.set_grad_enabled(False)
    for name, (make, mode, counts) in SIMULATORS.items():
        try:
            module = importlib.import_module(name)
        except Exception as e:
            print(f"{name}: not installed ({first_line(e)})")
            continue
        print(f"{name} {importlib.metadata.version(name)}, expected mode {mode}")
        for w in index:
            x = torch.from_numpy(np.load(args.folder / w["input"]))
            dt = 1e-3 if w["file"] == "digits_dt.nir" else 1.0
            try:
                run = make(torch, nir.read(args.folder / w["file"]), w["timesteps"], dt)
                y = run(x).numpy()
            except Exception as e:
                expected = w["profile"] == "exact" or "flatten" in w["file"] or not counts or (name != "sinabs" and dt != 1.0)
                print(f"  {w['file']}: {'as expected, ' if expected else 'FAILED, '}does not run: {first_line(e)}")
                if not expected:
                    failed.append(f"{name} {w['file']}")
                continue
            shares = {m: same(y, np.load(args.folder / f)) for m, f in w["outputs"].items()}
            best = ", ".join(f"{m} {100 * s:.0f} %" for m, s in shares.items())
            print(f"  {w['file']}: outputs of all steps equal those of mode: {best}")
            if counts and shares.get(mode, 1) < 0.75:
                failed.append(f"{name} {w['file']}")
    for w in index:
        print(f"{w['file']}: accuracy % by mode: " + ", ".join(f"{m} {a:.0f}" for m, a in sorted(w["accuracy"].items())))
    if failed:
        print("FAILED: " + ", ".join(failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
