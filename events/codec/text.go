package codec

var textFormats []Format
