//go:build linux || darwin || freebsd

package atomicfile

import (
	"errors"
	"math"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// staleAge is how old an unlocked temporary file must be to count as left over.
const staleAge = time.Minute

func diskFull(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}

// freeSpace returns the bytes an ordinary user may still write; ok is false for
// file systems that do not count.
func freeSpace(dir string) (free int64, ok bool, err error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, false, err
	}
	if s.Blocks == 0 {
		return 0, false, nil
	}
	blocks, size := max(int64(s.Bavail), 0), int64(s.Bsize)
	if size > 0 && blocks > math.MaxInt64/size {
		return math.MaxInt64, true, nil
	}
	return blocks * size, true, nil
}

// lock marks a file as in use until it is closed or the process ends. File
// systems without locks are no reason to fail: their files are never abandoned.
func lock(f *os.File) { _ = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) }

// abandoned reports whether no process holds the lock of the file.
func abandoned(name string) bool {
	f, err := os.Open(name)
	if err != nil {
		return false
	}
	defer f.Close()
	return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil
}

// syncDir makes a rename durable. File systems that cannot sync a folder say
// EINVAL or ENOTSUP.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOTSUP) {
		return err
	}
	return nil
}
