// Package events holds recordings of event cameras: the event, readers and
// writers of streams of events, what can be wrong with a file and how often it
// was, and cuts of a stream by time and place.
//
// A camera of this kind has no frames. Each pixel reports by itself, with the
// time in microseconds, that it became brighter (ON) or darker (OFF).
//
//	rec, err := codec.Open("cat.aedat", codec.Options{})
//	...
//	defer rec.Close()
//	all, err := events.ReadAll(events.SubtractFirst(rec))
//
// The file formats are in events/codec. Nothing here sorts, merges or drops
// events unless its name says so.
package events
