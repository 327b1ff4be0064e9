#!/bin/sh
# Run the onnx project's operator cases and write docs/onnx-operators.md.
#
#   scripts/onnx-conformance.sh CASES
#
# CASES is a folder or zip of NAME/model.onnx with NAME/input_K.npy and output_K.npy, or with
# NAME/test_data_set_0/input_K.pb and output_K.pb, as the onnx Python package ships them under onnx/backend/test/data;
# scripts/onnx_cases.py writes its cases of single operators.
# Prints the table of operators: passed, refused with a reason, known to differ, failed.
set -eu
[ $# -eq 1 ] || { echo "usage: $0 CASES" >&2; exit 2; }
cases=$(realpath "$1")
cd "$(dirname "$0")/.."
ADAFIRE_ONNX_CONFORMANCE="$cases" ADAFIRE_ONNX_TABLE="$PWD/docs/onnx-operators.md" \
	go test -count=1 -run '^TestConformance$' ./onnx
sed -n '/^This table/,$p' docs/onnx-operators.md
