//go:build race

package ann

const raceDetector = true
