#!/bin/sh
# Usage: scripts/real-weights.sh [--venv DIR] [--only NETWORK] [--quick] WEIGHTS [OUT]
#
# Converts released networks and compares the spiking networks with their ANNs:
# what docs/real-weights.md shows. WEIGHTS is the folder that fetch-weights.sh
# filled. The table goes to standard output; networks, outputs and craft.png go to
# OUT (default: a temporary folder, removed afterwards). --only runs one of
# mobilenet, lite and craft; --quick leaves out the classifiers that run step by
# step, most of the time.
#
# NumPy and Pillow are installed with pip into the folder of --venv (default: a
# temporary one). CALIB_SAMPLES (default 64) is the number of random crops of the
# photographs that the classifiers are calibrated with.
set -eu

# A setting for another library that makes NumPy's refuse to start on some machines.
unset OPENBLAS_CORETYPE
usage() {
	echo "usage: $0 [--venv DIR] [--only mobilenet|lite|craft] [--quick] WEIGHTS [OUT]" >&2
	exit 2
}
venv=
quick=
only='mobilenet lite craft'
while [ $# -gt 0 ]; do
	case $1 in
	--venv)
		[ $# -ge 2 ] || usage
		venv=$2
		shift 2
		;;
	--only)
		[ $# -ge 2 ] || usage
		case $2 in mobilenet | lite | craft) only=$2 ;; *) usage ;; esac
		shift 2
		;;
	--quick)
		quick=yes
		shift
		;;
	-*) usage ;;
	*) break ;;
	esac
done
[ $# -eq 1 ] || [ $# -eq 2 ] || usage
root=$(cd "$(dirname "$0")/.." && pwd)
weights=$(cd "$1" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
mkdir -p "${2:-$work/out}"
out=$(cd "${2:-$work/out}" && pwd)
[ -n "$venv" ] || venv=$work/venv
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -c 'import numpy, PIL' 2>/dev/null || "$venv/bin/pip" install --quiet numpy pillow
(cd "$root" && go build -o "$work/adafire" ./cmd/adafire)

compare() { "$venv/bin/python" "$root/scripts/real_weights.py" "$@"; }
adafire() { "$work/adafire" "$@" --force --quiet; }

mobilenet=$weights/mobilenet_v2-b0353104.pth
lite=$weights/efficientnet-lite0-57934424.pth
craft=$weights/craft_mlt_25k.pth
compare inputs "$weights" "$out"

echo "Outputs recorded with PyTorch (MobileNetV2, input by formula) and onnxruntime (open-nsfw):"
adafire infer --model "$mobilenet" "$out/mobilenet.npy" --logits "$out/mobilenet-formula.npy" >/dev/null
compare close "$out/mobilenet-formula.npy" 1e-3 -3.0258 -1.5753 -4.6735 -6.6489 -4.0659
adafire infer --model "$weights/open-nsfw.onnx" "$out/nsfw.npy" --logits "$out/nsfw-formula.npy" >/dev/null
compare close "$out/nsfw-formula.npy" 1e-6 0.9999971 0.0000028

# classify NAME MODEL: the outputs for 12 photographs and 24 crops of them.
classify() {
	adafire infer --model "$2" "$weights/photos" "$out/crops" --logits "$out/$1.npy" >/dev/null
}

# spiking NAME ANN FLAGS: converts, runs, prints a row.
spiking() {
	name=$1
	ann=$2
	shift 2
	adafire convert --model "$ann" --calib-data "$weights/photos" --calib-samples "${CALIB_SAMPLES:-64}" --maxspike 4 "$@" \
		--out "$out/$name.safetensors" >/dev/null
	classify "$name" "$out/$name.safetensors"
	compare classes "$out/names" "$out/${name%%-T*}.npy" "$out/$name.npy"
}

# classifier NAME: the table of one network.
classifier() {
	eval "model=\$$1"
	echo
	echo "| network | five photographs | same top class | correlation of logits | relative error | of the five lost |"
	echo "| --- | --- | --- | --- | --- | --- |"
	classify "$1" "$model"
	for t in 1 2 3 4 8 16; do
		spiking "$1-T$t-accumulate" "$model" --T "$t" --schedule accumulate
	done
	[ -z "$quick" ] || return 0
	spiking "$1-T8" "$model" --T 8
	spiking "$1-T4-signed-i16" "$model" --T 4 --signed --weights i16
}

# detector: the table of CRAFT, and the picture.
detector() {
	echo
	echo "| network | image | text map | link map | overlap of text above 0.4 |"
	echo "| --- | --- | --- | --- | --- |"
	shape=3x160x320
	adafire infer --model "$craft" --input-shape $shape --whole "$weights/page.png" "$weights/text.png" --logits "$out/craft.npy" >/dev/null
	mkdir -p "$work/text"
	cp "$weights/page.png" "$weights/text.png" "$work/text"
	for t in 8 4; do # the last one's picture stays
		adafire convert --model "$craft" --input-shape $shape --calib-data "$work/text" --calib-samples 4 --maxspike 4 --T $t \
			--out "$out/craft-T$t.safetensors" >/dev/null
		adafire infer --model "$out/craft-T$t.safetensors" --whole "$weights/page.png" "$weights/text.png" --logits "$out/craft-T$t.npy" >/dev/null
		compare maps "$weights" "$out/craft.npy" "$out/craft-T$t.npy" "$out/craft.png"
	done
}

(find "$weights/photos" -type f | LC_ALL=C sort; find "$out/crops" -name '*.png' | LC_ALL=C sort) >"$out/names"
for network in $only; do
	case $network in
	craft) detector ;;
	*) classifier "$network" ;;
	esac
done
