//go:build race

package kernel

// raceDetector tells tests of allocations that sync.Pool now drops items at random.
const raceDetector = true
