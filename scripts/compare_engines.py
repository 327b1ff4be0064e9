"""Compares AdaFire with PyTorch, onnxruntime and SpikingJelly on this machine.

Networks: ResNet-20 (64/128/256 channels) and VGG16 with batch norm at 32x32,
trained for some steps and calibrated on real digits, which are padded to
32x32x3; ResNet-18 for event frames of 18x128x128 and for images of 224x224,
with untrained weights on random samples. PyTorch holds the same networks.

What stands for what:
  torch ANN     eager mode, channels last, batch norms as modules
  onnxruntime   the same network, batch norms folded by it
  torch burst   the burst neuron of the paper with batch norms folded and one
                pass over the whole network per timestep, written for this
                comparison: it stands for the authors' code
  SpikingJelly  IF neurons (single spikes, soft reset), step mode s
  search and calibration: the authors' procedure, one loop per candidate and
                layer, and all of ANN and SNN run again for every layer

All sides take turns, several rounds of them; the smallest times are kept. With
one thread processor time is compared, which waiting for a core does not add to;
with more it is wall time.

Run it through compare-engines.sh, which sets the packages up.
"""

import argparse
import copy
import functools
import gzip
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import warnings

import numpy as np
import onnxruntime
import torch
from torch import nn

warnings.filterwarnings("ignore")
CL = torch.channels_last


# ---- networks ----------------------------------------------------------------

class Unit(nn.Module):
    """A convolution and its batch norm, which fold() puts into the convolution."""

    def __init__(self, cin, cout, k, stride=1):
        super().__init__()
        self.conv = nn.Conv2d(cin, cout, k, stride, k // 2, bias=False)
        self.bn = nn.BatchNorm2d(cout)

    def forward(self, x):
        return self.bn(self.conv(x))

    def fold(self):
        bn, conv = self.bn, self.conv
        if isinstance(bn, nn.Identity):
            return
        s = bn.weight / (bn.running_var + bn.eps).sqrt()
        conv.weight = nn.Parameter((conv.weight * s[:, None, None, None]).detach())
        conv.bias = nn.Parameter((bn.bias - bn.running_mean * s).detach())
        self.bn = nn.Identity()


class Block(nn.Module):
    def __init__(self, cin, cout, stride):
        super().__init__()
        self.a, self.b = Unit(cin, cout, 3, stride), Unit(cout, cout, 3)
        self.act1, self.act2 = nn.ReLU(), nn.ReLU()
        self.short = Unit(cin, cout, 1, stride) if stride != 1 or cin != cout else nn.Identity()

    def forward(self, x):
        y = self.b(self.act1(self.a(x)))
        return self.act2(y + self.short(x))


def stages(cin, widths, blocks):
    layers = []
    for i, w in enumerate(widths):
        for k in range(blocks):
            layers.append(Block(cin, w, 2 if i and not k else 1))
            cin = w
    return layers


def resnet20():
    return nn.Sequential(Unit(3, 64, 3), nn.ReLU(), *stages(64, [64, 128, 256], 3),
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, 10))


def vgg16():
    layers, cin = [], 3
    for w in [64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0]:
        if not w:
            layers.append(nn.AvgPool2d(2))
            continue
        layers += [Unit(cin, w, 3), nn.ReLU()]
        cin = w
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(512, 10))


def resnet18(event=False):
    head = [nn.Conv2d(18, 3, 3, 1, 1)] if event else []
    pool = nn.AvgPool2d(3, 2, 1) if event else nn.MaxPool2d(3, 2, 1)
    return nn.Sequential(*head, Unit(3, 64, 7, 2), nn.ReLU(), pool, *stages(64, [64, 128, 256, 512], 2),
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10 if event else 1000))


def event():
    return resnet18(event=True)


NETS = {"resnet20": (resnet20, (3, 32, 32), 32), "vgg16": (vgg16, (3, 32, 32), 32),
        "event": (event, (18, 128, 128), 8), "resnet18": (resnet18, (3, 224, 224), 8)}
TITLES = {"resnet20": "ResNet-20, 3x32x32 digits", "vgg16": "VGG16-BN, 3x32x32 digits",
          "event": "event ResNet-18, 18x128x128", "resnet18": "ResNet-18, 3x224x224"}


def replace(module, kind, make):
    """Puts make(old) in the place of every module of the kind."""
    for name, child in module.named_children():
        if isinstance(child, kind):
            setattr(module, name, make(child))
        else:
            replace(child, kind, make)
    return module


def folded(net):
    net = copy.deepcopy(net).eval()
    for m in net.modules():
        if isinstance(m, Unit):
            m.fold()
    return net


# ---- spiking networks in PyTorch ----------------------------------------------

class Burst(nn.Module):
    """The burst neuron: up to phi spikes per step, soft reset, the half threshold
    spread over the steps."""

    def __init__(self, theta, steps, phi):
        super().__init__()
        self.theta, self.steps, self.phi, self.mem, self.sum = theta, steps, phi, None, None

    def forward(self, x):
        if self.mem is None:
            self.mem, self.sum = torch.zeros_like(x), 0
        self.mem = self.mem + x + self.theta / (2 * self.steps)
        out = torch.clamp(torch.floor(self.mem / self.theta), 0, self.phi) * self.theta
        self.mem = self.mem - out
        self.sum = self.sum + out.mean((0, 2, 3)) if self.keep else 0
        return out

    keep = False


def burst(net, thetas, steps, phi):
    it = iter(thetas)
    return replace(folded(net), nn.ReLU, lambda _: Burst(next(it), steps, phi)).to(memory_format=CL)


def neurons(net):
    return [m for m in net.modules() if isinstance(m, Burst)]


def simulate(net, x, steps):
    for m in neurons(net):
        m.mem = None
    return sum(net(x) for _ in range(steps)) / steps


def spikingjelly(net, steps):
    from spikingjelly.activation_based import functional, neuron
    snn = replace(folded(net), nn.ReLU, lambda _: neuron.IFNode(v_threshold=1.0, v_reset=None, step_mode="s")).to(memory_format=CL)

    def run(x):
        functional.reset_net(snn)
        return sum(snn(x) for _ in range(steps)) / steps

    return run


# ---- the authors' procedures ---------------------------------------------------

def activations(net, x):
    out = []
    hooks = [m.register_forward_hook(lambda _m, _i, y: out.append(y.detach().clone())) for m in net.modules() if isinstance(m, nn.ReLU)]
    net(x)
    for h in hooks:
        h.remove()
    return out


def search(acts, steps, phi):
    """The smallest mean squared error per channel over 95 candidates."""
    thetas = []
    for a in acts:
        m = a.amax((0, 2, 3), keepdim=True)
        best, theta = torch.full_like(m, float("inf")), m.clone()
        for i in range(95):
            t = m * (1.0 - i / 100)
            q = torch.floor(torch.clamp(a / t, 0, phi) * steps) / steps * t
            e = ((a - q) ** 2).mean((0, 2, 3), keepdim=True)
            better = e < best
            best, theta = torch.where(better, e, best), torch.where(better, t, theta)
        thetas.append(theta)
    return [torch.where(t > 0, t, torch.ones_like(t)) for t in thetas]


def drivers(net):
    """The convolution that drives each layer of neurons, in order."""
    out = []
    for m in net.modules():
        if isinstance(m, Unit) and not any(m is b.short for b in net.modules() if isinstance(b, Block)):
            out.append(m.conv)
    return out


def calibrate_light(ann, snn, x, steps):
    """For every layer, all of the ANN and all of the SNN again."""
    for layer, (n, conv) in enumerate(zip(neurons(snn), drivers(snn))):
        target = activations(ann, x)[layer].mean((0, 2, 3))
        n.keep = True
        simulate(snn, x, steps)
        n.keep = False
        conv.bias.data -= n.sum / steps - target


# ---- data and training -----------------------------------------------------------

def digits(root):
    def idx(name):
        with gzip.open(os.path.join(root, "dataset", "digits", name)) as f:
            b = f.read()
        dims = int.from_bytes(b[3:4], "big")
        shape = [int.from_bytes(b[4 + 4 * i:8 + 4 * i], "big") for i in range(dims)]
        return np.frombuffer(b, np.uint8, offset=4 + 4 * dims).reshape(shape)

    x = idx("train-images-idx3-ubyte.gz").astype(np.float32) / 255
    x = np.pad(x, ((0, 0), (2, 2), (2, 2)))[:, None].repeat(3, 1)
    return torch.from_numpy((x - 0.13) / 0.31), torch.from_numpy(idx("train-labels-idx1-ubyte.gz").astype(np.int64))


def train(net, x, labels, steps):
    opt = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    order = torch.randperm(len(x) - 1000, generator=torch.Generator().manual_seed(1))
    net.train()
    for i in range(steps):
        for g in opt.param_groups:
            g["lr"] = 0.05 * min(1, (i + 1) / 10) * (1 - i / steps)
        at = order[32 * i % (len(order) - 32):][:32]
        opt.zero_grad()
        nn.functional.cross_entropy(net(x[at].to(memory_format=CL)), labels[at]).backward()
        opt.step()
    net.eval()
    with torch.inference_mode():
        return (net(x[-256:]).argmax(1) == labels[-256:]).float().mean().item()


# ---- measuring -----------------------------------------------------------------

def timed(fn, runs):
    fn()
    wall, cpu = [], []
    for _ in range(runs):
        c, w = time.process_time(), time.perf_counter()
        fn()
        wall.append((time.perf_counter() - w) * 1e3)
        cpu.append((time.process_time() - c) * 1e3)
    return {"wall": min(wall), "cpu": min(cpu)}


def ours(t):
    return {"wall": t["ms_min"], "cpu": t.get("cpu_ms_min", 0)}


class Side:
    """Smallest times by name; add() keeps the smaller of each."""

    def __init__(self):
        self.times, self.extra = {}, {}

    def add(self, name, t):
        old = self.times.get(name)
        self.times[name] = t if old is None else {k: min(old[k], t[k]) for k in t}


def variants(name, full):
    """(T, maxspike, weights, schedule) of the spiking networks."""
    v = [(8, 4, "i8", "sync"), (8, 1, "i8", "sync"), (2, 4, "i8", "sync"), (8, 4, "i8", "accumulate")]
    if full:
        v += [(8, 4, "i16", "sync"), (8, 4, "f32", "sync"), (8, 1, "i16", "sync"), (8, 1, "f32", "sync")]
    return v


class Bench:
    def __init__(self, a, work):
        self.a, self.work, self.root = a, work, os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

    def adafire(self, *args):
        r = subprocess.run([self.a.adafire, *args, "--quiet", "--force", "--json", "-"], check=True, stdout=subprocess.PIPE)
        return json.loads(r.stdout)

    def path(self, name):
        return os.path.join(self.work, name)

    def prepare(self, name):
        """Trains, imports and converts; files that are there are used."""
        make, shape, batch = NETS[name]
        torch.manual_seed(1)
        net = make().to(memory_format=CL).eval()
        small = name in ("resnet20", "vgg16")
        if small:
            x, labels = digits(self.root)
            state = self.path(f"{name}.pt")
            if os.path.exists(state):
                net.load_state_dict(torch.load(state))
            else:
                note(f"{name}: {self.a.train} training steps")
                note(f"{name}: {100 * train(net, x, labels, self.a.train):.1f} % of 256 digits right")
                torch.save(net.state_dict(), state)
            data, calib = x[-batch:], x[:self.a.calib]
        else:
            g = torch.Generator().manual_seed(2)
            data = torch.randn(batch, *shape, generator=g)
            if name == "event":  # most bins of a recording are empty
                data = (data - 1).clamp(min=0)
            calib = data
        net.eval()
        np.save(self.path(f"{name}-x.npy"), data.contiguous().numpy())
        np.save(self.path(f"{name}-c.npy"), calib.contiguous().numpy())
        onnx = self.path(f"{name}.onnx")
        if not os.path.exists(onnx):
            torch.onnx.export(net, (data,), onnx, dynamo=False, opset_version=17, input_names=["x"], dynamic_axes={"x": {0: "batch"}})
        model = self.path(f"{name}.safetensors")
        if not os.path.exists(model):
            self.adafire("import", onnx, "--out", model)
        files = {}
        for v in variants(name, small):
            files[v] = self.path(f"{name}-T{v[0]}-m{v[1]}-{v[2]}-{v[3]}.safetensors")
            if not os.path.exists(files[v]):
                note(f"{name}: converting for {v}")
                self.adafire("convert", "--model", model, "--calib-data", self.path(f"{name}-c.npy"), "--T", str(v[0]), "--maxspike", str(v[1]),
                             "--weights", v[2], "--schedule", v[3], "--out", files[v])
        return net, data, model, files

    def measure(self, name, prepared, threads):
        net, data, model, files = prepared
        shape, batch, a = NETS[name][1], NETS[name][2], self.a
        s = Side()
        torch.set_num_threads(threads)
        x = data.to(memory_format=CL)
        small = name in ("resnet20", "vgg16")
        thetas = [torch.ones(1, t.shape[1], 1, 1) * max(t.max().item(), 1e-3) / 4 for t in activations(net, x[:2])]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        session = onnxruntime.InferenceSession(self.path(f"{name}.onnx"), options, providers=["CPUExecutionProvider"])
        trained = NETS[name][0]().to(memory_format=CL).train()
        opt = torch.optim.SGD(trained.parameters(), lr=1e-4, momentum=0.9, weight_decay=5e-4)
        labels = torch.arange(batch) % 10

        def step():
            opt.zero_grad()
            nn.functional.cross_entropy(trained(x), labels).backward()
            opt.step()

        spiking = {phi: burst(net, thetas, 8, phi) for phi in (4, 1)}
        jelly = spikingjelly(net, 8)

        def us():
            args = ["bench", "--model", model, "--input", self.path(f"{name}-x.npy"), "--T", "0", "--runs", str(a.runs), "--workers", str(threads)]
            for f in files.values():
                args += ["--snn", f]
            r = self.adafire(*args)
            s.add("ANN direct", ours(r["ann"]))
            s.add("ANN Winograd", ours(r["ann_winograd"]))
            for v, n in zip(files, r["snns"]):
                s.add(v, ours(n))
                s.extra[v] = n
            s.extra["ann"], s.extra["ann_winograd"], s.extra["macs"] = r["ann"], r["ann_winograd"], r["networks"][0]["macs"]
            s.extra["peak"] = max(s.extra.get("peak", 0), r["machine"]["peak_gflops"])
            s.extra["triad"] = max(s.extra.get("triad", 0), r["machine"]["peak_gbps"])
            s.extra["cpu"], s.extra["model"] = r["machine"]["cpu"], r["machine"].get("model", "")

        def our_step():
            arch = "resnet18" if name == "event" else name
            r = self.adafire("bench", "--arch", arch, "--input-shape", "x".join(map(str, shape)), "--batch", str(batch),
                             "--T", "0", "--train", "--runs", str(a.runs), "--workers", str(threads))
            s.add("training step", ours(r["train"]))

        def them():
            with torch.inference_mode():
                s.add("torch ANN", timed(lambda: net(x), a.runs))
                feed = {"x": data.numpy()}
                s.add("onnxruntime", timed(lambda: session.run(None, feed), a.runs))
                for phi in (4, 1):
                    s.add(f"torch burst {phi}", timed(lambda: simulate(spiking[phi], x, 8), 1))
                s.add("SpikingJelly", timed(lambda: jelly(x), 1))

        turns = [us, them]
        if a.train > 0 and not a.no_step:
            turns += [our_step, lambda: s.add("torch step", timed(step, a.runs))]
        for r in range(a.rounds):
            note(f"{name}, {threads} thread(s), round {r + 1} of {a.rounds}; load {os.getloadavg()[0]:.1f}")
            for turn in turns[r % len(turns):] + turns[:r % len(turns)]:
                turn()
        return s

    def conversion(self, prepared, threads):
        """Threshold search and light calibration on ResNet-20."""
        net, _, model, _ = prepared
        s, n = Side(), self.a.calib_images
        torch.set_num_threads(threads)
        calib = self.path("few.npy")
        few = torch.from_numpy(np.load(self.path("resnet20-c.npy"))[:n])
        np.save(calib, few.numpy())
        x, ann = few.to(memory_format=CL), folded(net).to(memory_format=CL)
        for r in range(self.a.conversion_rounds):
            note(f"conversion, {threads} thread(s), {n} digits, round {r + 1} of {self.a.conversion_rounds}")
            got = self.adafire("bench", "--model", model, "--input", calib, "--T", "8", "--maxspike", "4", "--calib", "none",
                               "--conversion", "--runs", str(self.a.runs), "--workers", str(threads))["conversion"]
            for stage in ("search", "thresholds", "light"):
                s.add(stage, ours(got[stage]))
            with torch.inference_mode():
                acts = activations(ann, x)
                s.add("torch search", once(lambda: search(acts, 8, 4)))
                snn = burst(net, search([t[:1] for t in acts], 8, 4), 8, 4)
                s.add("torch light", once(lambda: calibrate_light(ann, snn, x, 8)))
        return s


def once(fn):
    c, w = time.process_time(), time.perf_counter()
    fn()
    return {"wall": (time.perf_counter() - w) * 1e3, "cpu": (time.process_time() - c) * 1e3}


def note(text):
    print(text, file=sys.stderr, flush=True)


# ---- the table -----------------------------------------------------------------

def report(name, s, threads, rows):
    kind = "cpu" if threads == 1 else "wall"
    t, e = {k: v[kind] for k, v in s.times.items()}, s.extra
    batch = NETS[name][2]
    print(f"\n{TITLES[name]}, batch {batch}, {threads} thread(s): milliseconds of {'processor' if kind == 'cpu' else 'wall'} time, "
          f"FMA peak {e['peak']:.0f} GFLOP/s, triad {e['triad']:.0f} GB/s")

    def row(what, ms, *ratios):
        cells = [f"{text} {value:.2f}{want}" for text, value, want in ratios]
        print(f"  {what:<34}{ms:>9.1f}   " + "; ".join(cells))
        rows.append({"network": name, "threads": threads, "what": what, "ms": ms,
                     "times": s.times.get(what), "ratios": {text: value for text, value, _ in ratios}})

    flops = 2 * e["macs"] * batch
    rate = lambda ms, steps=1: flops * steps / ms / 1e6 / e["peak"]
    row("torch ANN, channels last", t["torch ANN"])
    row("onnxruntime ANN", t["onnxruntime"])
    row("ANN direct", t["ANN direct"], ("of FMA peak", rate(t["ANN direct"]), ""), ("torch/ours", t["torch ANN"] / t["ANN direct"], ""),
        ("onnxruntime/ours", t["onnxruntime"] / t["ANN direct"], ""))
    w = t["ANN Winograd"]
    row("ANN Winograd", w, ("of FMA peak", rate(w), ""), ("torch/ours", t["torch ANN"] / w, " (want 1.5)" if name == "resnet20" else ""),
        ("onnxruntime/ours", t["onnxruntime"] / w, {"resnet20": " (want 1.0)", "resnet18": " (want 0.91)"}.get(name, "")))
    if "training step" in t:
        row("training step", t["training step"], ("torch/ours", t["torch step"] / t["training step"], " (want 1.0)"))
    for phi in (4, 1):
        row(f"torch burst T=8, maxspike {phi}", t[f"torch burst {phi}"])
    row("SpikingJelly T=8", t["SpikingJelly"])
    for v, n in e.items():
        if not isinstance(v, tuple):
            continue
        steps, phi, weights, schedule = v
        ms = t[v]
        ratios = []
        if schedule == "accumulate":
            ratios.append(("time over torch ANN", ms / t["torch ANN"], " (want <= 0.6)"))
        elif steps == 2:
            ratios.append(("time over torch ANN", ms / t["torch ANN"], " (want <= 1)"))
        else:
            faster = {"i8": {4: 4, 1: 6}[phi], "i16": 2.2, "f32": 1.3}[weights]
            ratios.append(("of FMA peak", rate(ms, steps), " (want 2.0)" if weights == "i8" else ""))
            ratios.append(("torch burst/ours", t[f"torch burst {phi}"] / ms, f" (want {faster})"))
            if weights == "i8":
                ratios.append(("SpikingJelly/ours", t["SpikingJelly"] / ms, f" (want {faster})"))
                ratios.append(("time over torch ANN", ms / t["torch ANN"], f" (want <= {2.5 if phi == 4 else 1.5})"))
        ratios += [("own ANN", ms / w, ""), ("density", n["density"], ""), ("by events", n["by_events"], ""),
                   ("memory over ANN's", n["memory_bytes"] / max(1, e["ann"]["memory_bytes"]), " (want < 2)")]
        row(f"SNN T={steps} maxspike {phi} {weights}" + (" accumulate" if schedule == "accumulate" else ""), ms, *ratios)
    print(f"  memory: ANN direct {e['ann']['memory_bytes'] / 2**20:.0f} MiB, Winograd {e['ann_winograd']['memory_bytes'] / 2**20:.0f} MiB, SNN "
          + ", ".join(f"{v[2]} {n['memory_bytes'] / 2**20:.0f}" for v, n in e.items() if isinstance(v, tuple) and v[:2] == (8, 4) and v[3] == "sync"))


def report_conversion(s, n, threads, rows):
    kind = "cpu" if threads == 1 else "wall"
    t = {k: v[kind] for k, v in s.times.items()}
    print(f"\nResNet-20, {n} digits, T=8, maxspike 4, {threads} thread(s): milliseconds of {'processor' if kind == 'cpu' else 'wall'} time")
    for what, mine, theirs, want in (("threshold search", "search", "torch search", 50), ("light calibration", "light", "torch light", 20)):
        print(f"  {what:<34}{t[mine]:>9.1f}   authors' procedure {t[theirs]:.0f}, {t[theirs] / t[mine]:.1f} times as long (want {want})")
        rows.append({"network": "resnet20", "threads": threads, "what": what, "ms": t[mine], "ratios": {"torch/ours": t[theirs] / t[mine]}})
    print(f"  {'thresholds with the ANN passes':<34}{t['thresholds']:>9.1f}")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--adafire", required=True, help="the program to measure")
    p.add_argument("--work", help="folder for networks, which are kept there for the next run (default: temporary)")
    p.add_argument("--rounds", type=int, default=3, help="turns of each side (3)")
    p.add_argument("--runs", type=int, default=3, help="timed calls per turn (3)")
    p.add_argument("--threads", default="1,2", help="numbers of threads (1,2)")
    p.add_argument("--nets", default="resnet20,vgg16,event,resnet18", help="networks, and conversion is always ResNet-20's")
    p.add_argument("--train", type=int, default=60, help="training steps of 32 digits (60)")
    p.add_argument("--no-step", action="store_true", help="do not measure training steps")
    p.add_argument("--calib", type=int, default=64, help="digits for the calibration of the networks (64)")
    p.add_argument("--calib-images", type=int, default=8, help="digits for the comparison of search and calibration (8)")
    p.add_argument("--conversion-rounds", type=int, default=2, help="turns of the comparison of search and calibration, 0 for none (2)")
    p.add_argument("--json", help="also write all figures to this file")
    a = p.parse_args()
    work = a.work or tempfile.mkdtemp()
    os.makedirs(work, exist_ok=True)
    b, rows = Bench(a, work), []
    names = [n for n in a.nets.split(",") if n]
    print(f"torch {torch.__version__}, onnxruntime {onnxruntime.__version__}, Python {platform.python_version()}, "
          f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start")
    prepared = functools.cache(b.prepare)
    for threads in map(int, a.threads.split(",")):
        for name in names:
            report(name, b.measure(name, prepared(name), threads), threads, rows)
            sys.stdout.flush()
        if a.conversion_rounds:
            report_conversion(b.conversion(prepared("resnet20"), threads), a.calib_images, threads, rows)
            sys.stdout.flush()
        if a.json:
            with open(a.json + ".tmp", "w") as f:
                json.dump({"torch": torch.__version__, "onnxruntime": onnxruntime.__version__, "rows": rows}, f, indent=1)
            os.replace(a.json + ".tmp", a.json)
    print(f"load {os.getloadavg()[0]:.1f} at the end")


if __name__ == "__main__":
    main()
