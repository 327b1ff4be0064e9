#!/bin/sh
# Exports networks, spiking ones too, to ONNX and lets onnx's checker and
# onnxruntime have them.
#
#	scripts/onnx-export-check.sh [--venv DIR] [--out DIR] [options of onnx_export_check.py]
#
# The checker runs with full shape inference; onnxruntime runs every file with its
# optimisations off and on, and outputs and spike counts are compared with those of
# AdaFire's executor.
#
# onnx and onnxruntime are installed with pip into the folder of --venv (default: a
# temporary folder, removed afterwards). --out keeps the exported files.
set -eu

# A setting for another library that makes NumPy's refuse to start on some machines.
unset OPENBLAS_CORETYPE
root=$(cd "$(dirname "$0")/.." && pwd)
venv=
out=
while [ $# -gt 0 ]; do
	case $1 in
	--venv)
		[ $# -ge 2 ] || { echo "onnx-export-check.sh: --venv needs a folder" >&2; exit 2; }
		venv=$2
		shift 2
		;;
	--out)
		[ $# -ge 2 ] || { echo "onnx-export-check.sh: --out needs a folder" >&2; exit 2; }
		out=$2
		shift 2
		;;
	*) break ;;
	esac
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
[ -n "$venv" ] || venv=$work/venv
[ -n "$out" ] || out=$work/out
mkdir -p "$out"
out=$(cd "$out" && pwd)

[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -c 'import numpy, onnx, onnxruntime' 2>/dev/null || "$venv/bin/pip" install --quiet numpy onnx onnxruntime

cd "$root"
ADAFIRE_ONNX_OUT=$out go test ./onnx -run TestWriteForRuntime -count=1
"$venv/bin/python" "$root/scripts/onnx_export_check.py" "$out" "$@"
