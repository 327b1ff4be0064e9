package codec

var aedatFormats []Format
