package codec

// propheseeFormats are .dat and the EVT encodings of .raw.
var propheseeFormats []Format

// containerFormats keep events in arrays of some container: npy, npz, MAT, HDF5.
var containerFormats []Format
