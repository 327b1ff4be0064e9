"""Compares AdaFire's speed with PyTorch's eager mode on this machine.

Both sides take turns, several rounds of them, so that what else the machine
does meanwhile falls on both. For each the smallest and the median time are
kept, and the smallest processor time: with one thread it is the fairest
figure, since waiting for a core does not add to it; with several it is not
shown, as PyTorch's threads burn it while they wait.

Run it through compare-pytorch.sh, which sets PyTorch up.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time

import torch
from torch import nn

BATCH = 32
CONVS = [(64, 32), (128, 16), (256, 8), (512, 4)]
NETS = ["resnet20", "vgg16"]


class Block(nn.Module):
    """relu(bn(conv(relu(bn(conv(x))))) + shortcut(x))"""

    def __init__(self, cin, cout, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(cin, cout, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(cout)
        self.conv2 = nn.Conv2d(cout, cout, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(cout)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or cin != cout:
            self.downsample = nn.Sequential(nn.Conv2d(cin, cout, 1, stride, bias=False), nn.BatchNorm2d(cout))

    def forward(self, x):
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        y += x if self.downsample is None else self.downsample(x)
        return self.relu(y)


def resnet20():
    layers = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True)]
    cin = 64
    for stage, width in enumerate([64, 128, 256]):
        for i in range(3):
            layers.append(Block(cin, width, 2 if stage and not i else 1))
            cin = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(cin, 10))


def vgg16():
    layers, cin = [], 3
    for width in [64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0]:
        if not width:
            layers.append(nn.AvgPool2d(2))
            continue
        layers += [nn.Conv2d(cin, width, 3, 1, 1), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        cin = width
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(cin, 10))


def timed(fn, runs):
    """Wall and processor milliseconds of runs calls after one to warm up."""
    fn()
    wall, cpu = [], []
    for _ in range(runs):
        c, w = time.process_time(), time.perf_counter()
        fn()
        wall.append((time.perf_counter() - w) * 1e3)
        cpu.append((time.process_time() - c) * 1e3)
    return {"ms_min": min(wall), "ms_median": statistics.median(wall), "cpu_ms_min": min(cpu)}


def torch_kernels(memory_format, runs):
    out = {}
    runs = max(runs, 15)
    for c, size in CONVS:
        x = torch.randn(BATCH, c, size, size).to(memory_format=memory_format)
        w = torch.randn(c, c, 3, 3).to(memory_format=memory_format)
        dy = torch.randn(BATCH, c, size, size).to(memory_format=memory_format)

        def backward(mask):
            return torch.ops.aten.convolution_backward(dy, x, w, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, mask)

        with torch.inference_mode():
            name = f"conv 3x3, {c} channels, {size}x{size}"
            out[name, "forward"] = timed(lambda: torch.conv2d(x, w, padding=1), runs)
            out[name, "backward-input"] = timed(lambda: backward([True, False, False]), runs)
            out[name, "backward-weight"] = timed(lambda: backward([False, True, False]), runs)
    return out


def torch_net(name, memory_format, runs):
    torch.manual_seed(1)
    net = {"resnet20": resnet20, "vgg16": vgg16}[name]().to(memory_format=memory_format)
    x = torch.randn(BATCH, 3, 32, 32).to(memory_format=memory_format)
    labels = torch.arange(BATCH) % 10
    out = {}
    net.eval()
    with torch.inference_mode():
        out[name, "ANN inference"] = timed(lambda: net(x), runs)
    net.train()
    opt = torch.optim.SGD(net.parameters(), lr=1e-4, momentum=0.9, weight_decay=5e-4)

    def step():
        opt.zero_grad()
        nn.functional.cross_entropy(net(x), labels).backward()
        opt.step()

    out[name, "training step"] = timed(step, runs)
    return out


def adafire(args, binary, threads, runs):
    command = [binary, "bench", "--quiet", "--workers", str(threads), "--runs", str(runs), "--json", "-", *args]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def our_kernels(binary, threads, runs):
    r = adafire(["--kernels"], binary, threads, runs)
    return {(k["name"], k["op"]): k for k in r["kernels"] if k["op"] != "fire"}, r["machine"]


def our_net(name, binary, threads, runs):
    r = adafire(["--arch", name, "--input-shape", "3x32x32", "--batch", str(BATCH), "--train", "--T", "8",
                 "--maxspike", "4", "--calib", "none"], binary, threads, runs)
    snn = r["snn"]
    return {(name, "ANN inference"): r["ann"], (name, "ANN inference (Winograd)"): r["ann_winograd"],
            (name, "training step"): r["train"], (name, "SNN T=8"): snn}, r["machine"]


def merge(into, times):
    for key, t in times.items():
        into.setdefault(key, []).append(t)


def total(samples):
    return {"min": min(t["ms_min"] for t in samples), "median": statistics.median(t["ms_median"] for t in samples),
            "cpu": min(t["cpu_ms_min"] for t in samples)}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--adafire", required=True, help="the program to measure")
    p.add_argument("--rounds", type=int, default=3, help="turns of each side (3)")
    p.add_argument("--runs", type=int, default=3, help="timed calls per turn (3)")
    p.add_argument("--threads", default="1,2", help="numbers of threads (1,2)")
    p.add_argument("--items", default="kernels,resnet20,vgg16", help="what to measure (kernels,resnet20,vgg16)")
    p.add_argument("--json", help="also write all figures to this file")
    a = p.parse_args()
    items = a.items.split(",")
    formats = {"channels_last": torch.channels_last, "NCHW": torch.contiguous_format}
    result = {"torch": torch.__version__, "python": platform.python_version(), "batch": BATCH, "threads": {}}

    for threads in map(int, a.threads.split(",")):
        torch.set_num_threads(threads)
        ours, theirs, machines = {}, {f: {} for f in formats}, []
        for r in range(a.rounds):
            for item in items:
                print(f"threads {threads}, round {r + 1} of {a.rounds}: {item}", file=sys.stderr, flush=True)
                turns = [lambda: ("ours", *(our_kernels(a.adafire, threads, a.runs) if item == "kernels"
                                            else our_net(item, a.adafire, threads, a.runs)))]
                for f, memory_format in formats.items():
                    turns.append(lambda f=f, m=memory_format: (f, torch_kernels(m, a.runs) if item == "kernels"
                                                               else torch_net(item, m, a.runs), None))
                # Every round begins with another side.
                for turn in turns[r % 3:] + turns[:r % 3]:
                    side, times, machine = turn()
                    merge(ours if side == "ours" else theirs[side], times)
                    if machine:
                        machines.append(machine)
        rows = table(ours, theirs, threads, machines)
        result["threads"][threads] = rows
    if a.json:
        with open(a.json + ".tmp", "w") as f:
            json.dump(result, f, indent=1)
        os.replace(a.json + ".tmp", a.json)


def table(ours, theirs, threads, machines):
    peak = max(m["peak_gflops"] for m in machines)
    figure = "cpu" if threads == 1 else "min"
    print(f"\ntorch {torch.__version__}, AdaFire kernels {machines[0]['cpu']}, {machines[0].get('model', '')}; "
          f"{threads} thread(s), FMA peak {peak:.0f} GFLOP/s, batch {BATCH}")
    print(f"milliseconds: smallest and median wall time{', smallest processor time' if threads == 1 else ''}; "
          f"ratio: PyTorch's time over ours by {'processor' if threads == 1 else 'smallest wall'} time, above 1 we are faster")
    head = ["", "", "ours", "torch channels_last", "torch NCHW", "GFLOP/s", "of peak", "ratio cl", "ratio NCHW"]
    rows, out = [head], []
    for (name, op), samples in ours.items():
        us = total(samples)
        row = [name, op, text(us, threads)]
        record = {"name": name, "op": op, "ours": us}
        ratios = []
        for f in theirs:
            counterpart = name, op.removesuffix(" (Winograd)")
            if counterpart not in theirs[f]:
                row.append("")
                ratios.append("")
                continue
            them = total(theirs[f][counterpart])
            record[f] = them
            row.append(text(them, threads))
            ratios.append(f"{them[figure] / us[figure]:.2f}")
        if name.startswith("conv"):
            c, size = next(s for s in CONVS if name.startswith(f"conv 3x3, {s[0]} "))
            gflops = 2 * 9 * c * c * size * size * BATCH / us[figure] / 1e6
            row += [f"{gflops:.0f}", f"{100 * gflops / peak:.0f}%"]
            record["gflops"], record["peak"] = gflops, gflops / peak
        else:
            row += ["", ""]
        if op == "SNN T=8":
            ann = total(ours[name, "ANN inference"])
            record["over_ann"], record["density"] = us[figure] / ann[figure], samples[0]["density"]
            row[3] = f"{us[figure] / ann[figure]:.2f} x own ANN"
            row[4] = f"density {samples[0]['density']:.2f}"
        rows.append(row + ratios)
        out.append(record)
    widths = [max(len(r[i]) for r in rows) for i in range(len(head))]
    for r in rows:
        print("  ".join(c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(r, widths))))
    sys.stdout.flush()
    return out


def text(t, threads):
    s = f"{t['min']:.1f} {t['median']:.1f}"
    return f"{s} cpu {t['cpu']:.1f}" if threads == 1 else s


if __name__ == "__main__":
    main()
