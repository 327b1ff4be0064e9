package codec

var atisFormats []Format
