#!/bin/sh
# Fails if the committed assembly is not what the generators write now.
set -eu
cd "$(dirname "$0")"
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
sh ./generate.sh "$fresh" "$@"
status=0
for f in "$fresh"/*; do
	diff -u "../$(basename "$f")" "$f" || status=1
done
exit $status
