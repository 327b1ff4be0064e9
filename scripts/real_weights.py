"""What real-weights.sh needs besides AdaFire: inputs, comparisons, the picture.

	real_weights.py inputs DIR OUT                  arrays by formula, crops that no calibration sees
	real_weights.py close X.npy TOLERANCE V...      the first or largest outputs against recorded ones
	real_weights.py classes NAMES ANN.npy SNN.npy   a row: top classes kept, correlation, error
	real_weights.py maps DIR ANN.npy SNN.npy PNG    correlation of text maps, side by side in a picture

Needs NumPy and Pillow.
"""

import pathlib
import random
import sys

import numpy as np
from PIL import Image

# The photographs whose classes other programs agree on, with their ImageNet
# numbers: Egyptian cat, espresso, tripod, palace, moped.
KNOWN = {"chelsea": 285, "coffee": 967, "camera": 872, "china": 698, "motorcycle_left": 665}


def inputs(source, out):
    """Writes mobilenet.npy, nsfw.npy and 24 crops as PNG files."""
    i = np.arange(224 * 224 * 3)
    v = (i * 7919 + 13) % 256
    np.save(out / "mobilenet.npy", (v / 127.5 - 1).astype(np.float32).reshape(1, 3, 224, 224))
    np.save(out / "nsfw.npy", (v - 114).astype(np.float32).reshape(1, 224, 224, 3))
    photos = sorted((source / "photos").iterdir())
    rng = random.Random(991)
    (out / "crops").mkdir(exist_ok=True)
    for n in range(24):
        image = Image.open(photos[n % len(photos)]).convert("RGB")
        side = int(min(image.size) * (0.5 + 0.5 * rng.random()))
        x, y = rng.randint(0, image.width - side), rng.randint(0, image.height - side)
        image.crop((x, y, x + side, y + side)).resize((256, 256), Image.BICUBIC).save(out / "crops" / f"{n:02}.png")


def close(path, tolerance, wanted):
    """Compares the first len(wanted) outputs."""
    got = np.load(path).reshape(-1)[: len(wanted)]
    worst = float(np.abs(got - np.array(wanted)).max())
    print(f"{path.stem}: {' '.join(f'{v:.7g}' for v in got)}; largest difference {worst:.2g}")
    if not worst <= tolerance:
        sys.exit(f"{path}: {worst:g} from the recorded outputs, at most {tolerance:g} is expected")


def classes(names, ann, snn):
    """Prints how an SNN's outputs compare with those of its ANN."""
    names = [pathlib.Path(n).stem for n in names.read_text().splitlines()]
    a, s = np.load(ann), np.load(snn)
    if a.shape != s.shape or len(a) != len(names):
        sys.exit(f"{snn}: outputs {s.shape}, the ANN's are {a.shape}, for {len(names)} images")
    top, spiking = a.argmax(1), s.argmax(1)
    five = [i for i, n in enumerate(names) if n in KNOWN]
    lost = [names[i] for i in five if top[i] != spiking[i]]
    correlation = np.mean([np.corrcoef(x, y)[0, 1] for x, y in zip(a, s)])
    error = np.mean(np.linalg.norm(s - a, axis=1) / np.linalg.norm(a, axis=1))
    print(f"| {snn.stem} | {len(five) - len(lost)}/{len(five)} | {(top == spiking).sum()}/{len(a)} "
          f"| {correlation:.3f} | {error:.3f} | {', '.join(lost) or 'none'} |")


def maps(source, ann, snn, png):
    """Prints the correlations and draws input, ANN and SNN below each other."""
    a, s = np.load(ann), np.load(snn)
    columns = []
    for k, name in enumerate(["page", "text"]):
        r = [np.corrcoef(a[k, ..., c].ravel(), s[k, ..., c].ravel())[0, 1] for c in range(2)]
        found = [m[k, ..., 0] > 0.4 for m in (a, s)]
        overlap = (found[0] & found[1]).sum() / max((found[0] | found[1]).sum(), 1)
        print(f"| {snn.stem} | {name}.png | {r[0]:.3f} | {r[1]:.3f} | {overlap:.2f} |")
        size = (2 * a.shape[2], 2 * a.shape[1])
        rows = [Image.open(source / f"{name}.png").convert("L").resize(size, Image.BICUBIC)]
        rows += [Image.fromarray((np.clip(m[k, ..., 0], 0, 1) * 255).astype(np.uint8)).resize(size) for m in (a, s)]
        columns.append(np.vstack([np.pad(np.asarray(r), 4, constant_values=128) for r in rows]))
    Image.fromarray(np.hstack(columns)).quantize(32).save(png, optimize=True)


def main():
    what, rest = sys.argv[1], sys.argv[2:]
    if what == "close":
        close(pathlib.Path(rest[0]), float(rest[1]), [float(v) for v in rest[2:]])
    else:
        {"inputs": inputs, "classes": classes, "maps": maps}[what](*map(pathlib.Path, rest))


main()
