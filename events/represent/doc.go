// Package represent turns the events of a recording into arrays that a network
// takes: the voxel grid of the paper, frames by count and by time, a time
// surface, and an image of event counts.
//
//	tr, err := represent.New(represent.Config{Size: 224}, 180, 240) // voxel grid, 9 bins x 2 polarities
//	...
//	x := make([]float32, tr.Len())           // shape tr.Shape(): [224,224,18]
//	lost, err := tr.Fill(x, recording)       // again and again, without allocation
//
// All arrays are float32, channels last, [H,W,C]. The functions VoxelGrid,
// FramesByCount, FramesByTime, TimeSurface and CountImage write the array of
// the sensor's own size; a Transform then pads it to a square and resizes it.
//
// Events outside the sensor are left out and counted, never wrapped into
// another row. Nothing here reads files (events/codec) or varies recordings
// (events/augment).
package represent

// Lost counts the events that an array does not show.
type Lost struct {
	Outside int // coordinate outside the sensor, or polarity neither 0 nor 1
	Untimed int // time that belongs to no bin or frame
}

// Add adds the counts of another recording.
func (l *Lost) Add(other Lost) {
	l.Outside += other.Outside
	l.Untimed += other.Untimed
}
