package hdf5_test

import (
	"bytes"
	"fmt"
	"log"

	"github.com/adafire/adafire/internal/hdf5"
)

// A tree is written to memory and read again, the second and third row only.
func Example() {
	t := hdf5.NewTree()
	t.Strings("version", nil, []string{"1.0"})
	t.Group("events").Int64("t", []int{4, 2}, []int64{1, 2, 3, 4, 5, 6, 7, 8})
	var b bytes.Buffer
	if _, err := t.WriteTo(&b); err != nil {
		log.Fatal(err)
	}
	f, err := hdf5.Open(bytes.NewReader(b.Bytes()), int64(b.Len()), "memory")
	if err != nil {
		log.Fatal(err)
	}
	d, err := f.Root().Dataset("events/t")
	if err != nil {
		log.Fatal(err)
	}
	rows := make([]int64, 4)
	if err := d.ReadRowsInt64(1, 3, rows); err != nil {
		log.Fatal(err)
	}
	fmt.Println(f.Root().Names(), d.Type(), d.Shape(), rows)
	// Output: [events version] int64 [4 2] [3 4 5 6]
}
