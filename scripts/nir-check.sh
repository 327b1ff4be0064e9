#!/bin/sh
# Exports small networks to NIR and lets other people's programs read them.
#
#	scripts/nir-check.sh [--venv DIR] [--out DIR] [options of nir_check.py]
#
# nir-python reads every file with its type check; SpikingJelly, norse, sinabs
# and snnTorch import those they can, run the same samples, and their outputs are
# compared with our simulator in the mode that describes each (package nir).
#
# The Python packages are installed with pip into the folder of --venv (default: a
# temporary folder, removed afterwards); packages that do not install are left
# out and named. PyTorch is large: keep the folder for the next time. --out keeps
# the exported files.
set -eu

# A setting for another library that makes NumPy's refuse to start on some machines.
unset OPENBLAS_CORETYPE
root=$(cd "$(dirname "$0")/.." && pwd)
venv=
out=
while [ $# -gt 0 ]; do
	case $1 in
	--venv)
		[ $# -ge 2 ] || { echo "nir-check.sh: --venv needs a folder" >&2; exit 2; }
		venv=$2
		shift 2
		;;
	--out)
		[ $# -ge 2 ] || { echo "nir-check.sh: --out needs a folder" >&2; exit 2; }
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
"$venv/bin/python" -c 'import nir, numpy' 2>/dev/null || "$venv/bin/pip" install --quiet nir numpy
for package in norse sinabs spikingjelly snntorch; do
	"$venv/bin/python" -c "import importlib.util, sys; sys.exit(importlib.util.find_spec('$package') is None)" && continue
	"$venv/bin/pip" install --quiet "$package" || echo "nir-check.sh: $package does not install here, left out" >&2
done
# Some of them ask for older versions than they run with.
"$venv/bin/pip" install --quiet --upgrade --no-deps nir nirtorch

cd "$root"
ADAFIRE_NIR_OUT=$out go test ./nir ./nir/simulators -run 'TestWrite(ForSimulators|Nets)' -count=1
"$venv/bin/python" "$root/scripts/nir_check.py" "$out" "$@"
