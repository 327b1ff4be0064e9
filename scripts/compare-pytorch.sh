#!/bin/sh
# Compares AdaFire's speed with PyTorch's on this machine, in one run.
#
#	scripts/compare-pytorch.sh [--venv DIR] [options of compare_pytorch.py]
#
# PyTorch is installed with pip into DIR (default: a temporary folder, removed
# at the end); a DIR that has it already is used as it is. The project itself
# needs no Python.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
# A setting for another library that makes NumPy's refuse to start on some machines.
unset OPENBLAS_CORETYPE

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
venv=$work/venv
if [ "${1-}" = --venv ]; then
	[ $# -ge 2 ] || { echo "compare-pytorch.sh: --venv needs a folder" >&2; exit 2; }
	venv=$2
	shift 2
fi

if ! "$venv/bin/python" -c 'import torch, numpy' 2>/dev/null; then
	python3 -m venv "$venv"
	"$venv/bin/pip" install --quiet torch numpy
fi
(cd "$root" && go build -o "$work/adafire" ./cmd/adafire)
"$venv/bin/python" "$root/scripts/compare_pytorch.py" --adafire "$work/adafire" "$@"
