"""Writes the files of this folder with h5py 3.16 (HDF5 2.0). Element i of every
data set of numbers is i * 37 % 251, so no other file holds what is expected."""
import numpy as np, h5py

def v(shape, dtype="u1"):
    n = int(np.prod(shape))
    return (np.arange(n) * 37 % 251).reshape(shape).astype(dtype)

def common(f):
    f["scalar"] = np.int64(-5)
    f["text"] = "grüße"
    f["texts"] = np.array(["a", "", "longer than sixteen bytes", "a"], dtype=h5py.string_dtype())
    f["fixed"] = np.array([b"ab", b"", b"abcd"], dtype="S4")
    f["bool"] = np.array([True, False, True])
    f["empty"] = np.zeros((0, 3), "f4")
    f["u1"] = v(7, "u1")
    for t in ("<i2", ">i2", "<u4", ">u4", "<i8", ">i8", "<f2", ">f2", "<f4", ">f4", "<f8", ">f8"):
        f["numbers/" + t.replace("<", "le_").replace(">", "be_")] = v((3, 5), t)
    f["numbers/negative"] = np.array([-1, -128, 127], "i1")
    f["numbers/large"] = np.array([2**64 - 1], "u8")
    event = np.dtype({"names": ["x", "y", "p", "t"], "formats": ["<u2", "<u2", "<i2", "<i8"], "offsets": [0, 2, 4, 8], "itemsize": 16})
    e = np.zeros(100, event)
    for k in "xypt":
        e[k] = v(100)
    f.create_dataset("CD/events", data=e, chunks=(16,), compression="gzip")
    f["CD/events"].attrs["geometry"] = "640x480"
    f["CD"].attrs["counts"] = np.array([3, 4], "i4")
    f.create_dataset("unlimited", data=v((50, 3), "f4"), chunks=(4, 2), maxshape=(None, 3), compression="gzip", shuffle=True)
    f.create_dataset("unlimited_last", data=v((3, 50), "u2"), chunks=(2, 4), maxshape=(6, None))
    f.create_dataset("fixed_chunks", data=v((20, 9), "i4"), chunks=(6, 4))
    f.create_dataset("larger_limit", data=v((20, 9), "i4"), chunks=(6, 4), maxshape=(40, 30), fletcher32=True)
    f.create_dataset("one_chunk", data=v((5, 4), "f8"), chunks=(5, 4), compression="gzip")
    f.create_dataset("one_plain_chunk", data=v((5, 4), "f8"), chunks=(5, 4))
    f.create_dataset("lzf", data=np.tile(v(64, "u2"), 8).reshape(-1), chunks=(512,), compression="lzf")
    d = f.create_dataset("sparse", shape=(40, 6), dtype="i2", chunks=(8, 3), fillvalue=9)
    d[8:16, 3:6] = 7
    f.create_dataset("never_written", shape=(4,), dtype="f4", fillvalue=2.5)

for name, libver in (("earliest.h5", "earliest"), ("latest.h5", "latest")):
    with h5py.File(name, "w", libver=libver) as f:
        common(f) if libver != "latest" else None
        if libver == "latest":  # at most 8 names, or the group becomes dense
            g = f.create_group("g")
            tmp = h5py.File("x", "w", driver="core", backing_store=False)
            common(tmp)
            items = sorted(tmp)
            for i, k in enumerate(items):
                parent = f.require_group(f"part{i // 6}")
                if isinstance(tmp[k], h5py.Dataset):
                    d = tmp[k]
                    n = parent.create_dataset(k, shape=d.shape, dtype=d.dtype, chunks=d.chunks, compression=d.compression, shuffle=d.shuffle,
                                              fletcher32=d.fletcher32, maxshape=d.maxshape if d.chunks else None, fillvalue=d.fillvalue if d.dtype.kind in "if" else None)
                    if k == "sparse":
                        n[8:16, 3:6] = 7
                    elif k != "never_written":
                        n[...] = d[...]
                    for a, b in d.attrs.items():
                        n.attrs[a] = b
                elif k == "CD":
                    c = parent.create_group(k)
                    c.create_dataset("events", data=tmp["CD/events"][...], chunks=(16,), compression="gzip")
                    c["events"].attrs["geometry"] = "640x480"
                    c.attrs["counts"] = np.array([3, 4], "i4")
                else:
                    c = parent.create_group(k)
                    for j, kk in enumerate(sorted(tmp[k])):
                        c.require_group(f"part{j // 6}")[kk] = tmp[k][kk][...]
            # the index of every kind, with pages and super blocks
            f.create_dataset("g/extensible", data=v(6000, "u1"), chunks=(1,), maxshape=(None,))
            f.create_dataset("g/extensible_filtered", data=v(300, "u1"), chunks=(2,), maxshape=(None,), compression="gzip")
            f.create_dataset("g/fixed_array", data=v(2500, "u1"), chunks=(1,))
            f.create_dataset("g/fixed_filtered", data=v(60, "u1"), chunks=(2,), compression="gzip")
            space = h5py.h5s.create_simple((9, 5))
            plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            plist.set_chunk((4, 2))
            plist.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
            d = h5py.h5d.create(f["g"].id, b"implicit", h5py.h5t.STD_I16LE, space, plist)
            d.write(h5py.h5s.ALL, h5py.h5s.ALL, v((9, 5), "i2"))
            plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            plist.set_layout(h5py.h5d.COMPACT)
            d = h5py.h5d.create(f["g"].id, b"compact", h5py.h5t.STD_I16LE, space, plist)
            d.write(h5py.h5s.ALL, h5py.h5s.ALL, v((9, 5), "i2"))
            f.create_dataset("two_unlimited", data=v((4, 4)), chunks=(2, 2), maxshape=(None, None))

with h5py.File("links.h5", "w") as f:
    f["d"] = v(3)
    f["soft"] = h5py.SoftLink("/d")
    f["external"] = h5py.ExternalLink("other.h5", "/d")
    f["hard"] = f["d"]
    f.create_group("loop")
    f["loop/self"] = f["loop"]
    f["named"] = np.dtype("f4")
    f.create_dataset("typed", data=v(3, "f4"), dtype=f["named"])
with h5py.File("dense.h5", "w", libver="latest") as f:
    for i in range(12):
        f[f"d{i}"] = i
with h5py.File("many_names.h5", "w") as f:
    for i in range(300):
        f[f"g/d{i:03}"] = np.uint8(i % 251)
with h5py.File("userblock.h5", "w", userblock_size=512) as f:
    f["u1"] = v(7)
