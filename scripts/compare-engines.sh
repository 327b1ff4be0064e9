#!/bin/sh
# Compares AdaFire's engines with PyTorch, onnxruntime and SpikingJelly on this
# machine, in one run, and prints a table.
#
#	scripts/compare-engines.sh [--venv DIR] [options of compare_engines.py]
#
# The packages are installed with pip into DIR (or $VENV; default: a temporary
# folder, removed at the end); a DIR that has them already is used as it is.
# The project itself needs no Python.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
# A setting for another library that makes NumPy's refuse to start on some machines.
unset OPENBLAS_CORETYPE

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
venv=${VENV:-$work/venv}
if [ "${1-}" = --venv ]; then
	[ $# -ge 2 ] || { echo "compare-engines.sh: --venv needs a folder" >&2; exit 2; }
	venv=$2
	shift 2
fi

if ! "$venv/bin/python" -c 'import torch, numpy, onnx, onnxruntime, spikingjelly' 2>/dev/null; then
	[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
	"$venv/bin/pip" install --quiet torch numpy onnx onnxruntime spikingjelly
fi
binary=${ADAFIRE:-}
if [ -z "$binary" ]; then
	binary=$work/adafire
	(cd "$root" && go build -o "$binary" ./cmd/adafire)
fi
"$venv/bin/python" "$root/scripts/compare_engines.py" --adafire "$binary" "$@"
