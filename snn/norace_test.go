//go:build !race

package snn

const raceDetector = false
