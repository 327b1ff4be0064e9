//go:build !linux

package codec

import "time"

var clockStart = time.Now()

// threadTime would be the processor time of the calling thread; here it is the time.
func threadTime() time.Duration { return time.Since(clockStart) }
