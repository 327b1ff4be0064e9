package job

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/adafire/adafire/checkpoint"
	"github.com/adafire/adafire/graph"
	"github.com/adafire/adafire/models"
)

type notes []string

func (n *notes) Start(string, int64, string) {}
func (n *notes) Set(int64)                   {}
func (n *notes) Done()                       {}
func (n *notes) Note(text string)            { *n = append(*n, text) }

// TestStartFrom: a network for events takes an image network's weights, but for
// its stem and its classes.
func TestStartFrom(t *testing.T) {
	image, err := models.Build(models.Config{Arch: "resnet18", Width: 2, Stem: models.StemImageNet, Input: graph.Shape{64, 64, 3}, Classes: 7, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	var entries []checkpoint.Entry
	for _, n := range image.Nodes {
		if n.Kind() == "batchnorm" {
			for role, p := range n.Params {
				if role == "mean" || role == "var" {
					role = "running_" + role
				}
				entries = append(entries, checkpoint.NewEntry(n.Name+"."+role, p))
			}
		}
	}
	path := filepath.Join(t.TempDir(), "w.safetensors")
	image.Node("bn1").Params["bias"].Data[0] = 42
	if err := checkpoint.Write(path, entries, nil, false); err != nil {
		t.Fatal(err)
	}
	g, err := models.Build(models.Config{Arch: "resnet18", Width: 2, Stem: models.StemEvent, Input: graph.Shape{64, 64, 18}, Classes: 3, Seed: 2})
	if err != nil {
		t.Fatal(err)
	}
	stem := g.Node("reduction").Weight().Data[0]
	var said notes
	if err := startFrom(g, path, &said); err != nil {
		t.Fatal(err)
	}
	if g.Node("bn1").Params["bias"].Data[0] != 42 || g.Node("reduction").Weight().Data[0] != stem {
		t.Error("want the batch norm taken and the stem left alone")
	}
	if len(said) != 1 || !strings.Contains(said[0], "reduction.weight") || !strings.Contains(said[0], "fc.bias") {
		t.Errorf("said %q", said)
	}
	if err := startFrom(g, filepath.Join(t.TempDir(), "none.pth"), &said); err == nil {
		t.Error("a missing file gives no error")
	}
}
