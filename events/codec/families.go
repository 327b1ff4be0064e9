package codec

// containerFormats keep events in arrays of some container.
var containerFormats = numpyFormats
