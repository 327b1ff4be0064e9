package miniature

import (
	"fmt"
	"os"
	"strings"

	"github.com/adafire/adafire/events"
	"github.com/adafire/adafire/events/codec"
)

func (w *writer) cifar10dvs() error {
	edition, err := w.edition("aedat", "aedat4", "npz")
	if err != nil {
		return err
	}
	classes := strings.Fields("airplane automobile bird cat deer dog frog horse ship truck")
	h, o := events.Header{Width: 128, Height: 128}, codec.WriteOptions{Format: edition}
	if edition == "aedat" {
		h.Convention = "cifar10dvs-spikingjelly"
		o = codec.WriteOptions{Format: "aedat2", Chip: "dvs128"}
	}
	for k, class := range classes {
		for i := range w.opts.PerClass {
			path := fmt.Sprintf("%s/cifar10_%s_%d.%s", class, class, i, edition)
			if err := w.create(path, h, o, w.spot(k, len(classes), 128, 128, 0, 1_200_000)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *writer) ncaltech101() error {
	edition, err := w.edition("bin", "npy")
	if err != nil {
		return err
	}
	classes := w.limit(caltechClasses)
	for k, class := range classes {
		for i := range w.opts.PerClass {
			list := w.spot(k, len(classes), 240, 180, 0, 300_000)
			if edition == "bin" {
				if err := w.create(fmt.Sprintf("Caltech101/%s/image_%04d.bin", class, i+1), events.Header{Width: 240, Height: 180}, codec.WriteOptions{Format: "atis"}, list); err != nil {
					return err
				}
				continue
			}
			for _, part := range []string{"training", "validation", "testing"} {
				path := fmt.Sprintf("%s/%s/%s_%d.npy", part, class, class, i)
				if err := w.table(path, list); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (w *writer) ncars() error {
	edition, err := w.edition("dat", "npy")
	if err != nil {
		return err
	}
	for _, part := range []string{"train", "test"} {
		for k, class := range []string{"background", "cars"} {
			for i := range w.opts.PerClass {
				path := fmt.Sprintf("n-cars_%s/%s/obj_%06d_td.dat", part, class, i)
				if edition == "npy" {
					path = fmt.Sprintf("%s/%s/obj_%06d.npy", part, class, i)
				}
				// Windows of 100 ms out of a long recording.
				list := w.spot(k, 2, 120, 100, int64(i)*1_000_000, 100_000)
				err := error(nil)
				if edition == "npy" {
					err = w.table(path, list)
				} else {
					err = w.create(path, events.Header{Width: 120, Height: 100}, codec.WriteOptions{Format: edition}, list)
				}
				if err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (w *writer) nmnist() error {
	for _, part := range []string{"Train", "Test"} {
		for k := range 10 {
			for i := range w.opts.PerClass {
				path := fmt.Sprintf("%s/%d/%05d.bin", part, k, 10*i+k+1)
				if err := w.create(path, events.Header{Width: 34, Height: 34}, codec.WriteOptions{Format: "atis"}, w.spot(k, 10, 34, 34, 0, 300_000)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// gesture writes one recording for each of PerClass users in each part, with all
// eleven gestures one after the other.
func (w *writer) gesture() error {
	for _, part := range []string{"train", "test"} {
		firstUser := map[string]int{"train": 1, "test": 24}[part]
		var names []string
		for i := range w.opts.PerClass {
			name := fmt.Sprintf("user%02d_%s", firstUser+i/2, []string{"fluorescent", "led"}[i%2])
			table := "class,startTime_usec,endTime_usec\n"
			var list []events.Event
			at := int64(80_000_000)
			for k := range 11 {
				list = append(list, w.spot(k, 11, 128, 128, at, 500_000)...)
				table += fmt.Sprintf("%d,%d,%d\n", k+1, at, at+500_000)
				at += 700_000
			}
			if err := w.create("DvsGesture/"+name+".aedat", events.Header{Width: 128, Height: 128}, codec.WriteOptions{Format: "aedat3"}, list); err != nil {
				return err
			}
			if err := w.text("DvsGesture/"+name+"_labels.csv", table); err != nil {
				return err
			}
			names = append(names, name+".aedat\n")
		}
		if err := w.text("DvsGesture/trials_to_"+part+".txt", strings.Join(names, "")); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) text(path, content string) error {
	full, err := w.place(path)
	if err != nil {
		return err
	}
	return os.WriteFile(full, []byte(content), 0o666)
}

func (w *writer) asldvs() error {
	k := 0
	for letter := 'a'; letter <= 'y'; letter++ {
		if letter == 'j' {
			continue
		}
		for i := range w.opts.PerClass {
			full, err := w.place(fmt.Sprintf("%c/%c_%04d.mat", letter, letter, i+1))
			if err != nil {
				return err
			}
			if err := os.WriteFile(full, mat(w.spot(k, 24, 240, 180, 0, 100_000)), 0o666); err != nil {
				return err
			}
		}
		k++
	}
	return nil
}

func (w *writer) action() error {
	edition, err := w.edition("npy", "aedat")
	if err != nil {
		return err
	}
	classes := []string{
		"arm crossing", "get-up", "jumping", "kicking", "picking up", "sit-down", "throwing", "turning around", "walking", "waving",
	}
	h := events.Header{Width: 346, Height: 260, Convention: "davis-jaer"}
	o := codec.WriteOptions{Format: "aedat2", Chip: "davis346"}
	for _, part := range []string{"train", "test"} {
		for k, class := range classes {
			for i := range w.opts.PerClass {
				path := fmt.Sprintf("%s/%s/%s_%02d.%s", part, class, class, i, edition)
				list := w.spot(k, len(classes), 346, 260, 1_000_000, 5_000_000)
				err := error(nil)
				if edition == "npy" {
					err = w.table(path, list)
				} else {
					err = w.create(path, h, o, list)
				}
				if err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// folder writes recordings in many formats side by side.
func (w *writer) folder() error {
	edition, err := w.edition("split", "plain")
	if err != nil {
		return err
	}
	parts := []string{"train/", "test/"}
	if edition == "plain" {
		parts = []string{""}
	}
	formats := []struct{ name, extension string }{
		{"evt3", ".raw"}, {"aedat4", ".aedat4"}, {"dat", ".dat"}, {"evt2", ".raw"}, {"aedat3", ".aedat"}, {"evt21", ".raw"},
	}
	classes := w.limit([]string{"down", "left", "right", "up"})
	for _, part := range parts {
		for k, class := range classes {
			for i := range w.opts.PerClass {
				f := formats[i%len(formats)]
				path := fmt.Sprintf("%s%s/%02d%s", part, class, i, f.extension)
				h := events.Header{Width: 64, Height: 48}
				if err := w.create(path, h, codec.WriteOptions{Format: f.name}, w.spot(k, len(classes), 64, 48, 0, 200_000)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

var caltechClasses = strings.Fields(`BACKGROUND_Google Faces_easy Leopards Motorbikes accordion airplanes anchor ant barrel
	bass beaver binocular bonsai brain brontosaurus buddha butterfly camera cannon car_side ceiling_fan cellphone chair
	chandelier cougar_body cougar_face crab crayfish crocodile crocodile_head cup dalmatian dollar_bill dolphin dragonfly
	electric_guitar elephant emu euphonium ewer ferry flamingo flamingo_head garfield gerenuk gramophone grand_piano
	hawksbill headphone hedgehog helicopter ibis inline_skate joshua_tree kangaroo ketch lamp laptop llama lobster lotus
	mandolin mayfly menorah metronome minaret nautilus octopus okapi pagoda panda pigeon pizza platypus pyramid revolver
	rhino rooster saxophone schooner scissors scorpion sea_horse snoopy soccer_ball stapler starfish stegosaurus stop_sign
	strawberry sunflower tick trilobite umbrella watch water_lilly wheelchair wild_cat windsor_chair wrench yin_yang`)
