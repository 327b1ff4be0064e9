package codec

import "slices"

// containerFormats keep events in arrays of some container.
var containerFormats = slices.Concat(numpyFormats, matFormats, hdf5Formats)
