package report

import "fmt"

// terms explains the page's numbers in plain words, and when each misleads.
func (d *data) terms() []term {
	breakEven := "5.1"
	for i := range d.results {
		if e := d.results[i].Energy; e.BreakEven > 0 {
			breakEven = significant(e.BreakEven)
			break
		}
	}
	out := []term{
		{"Accuracy and standard error",
			"The share of test samples the network classifies correctly. The standard error says how far the figure would typically move with another test set of the same size.",
			"Differences of less than about two standard errors need not be real. The SNN and the ANN see the same samples, so their difference is somewhat more certain than the two errors suggest. If the best of many settings was picked on these samples, its figure is a little too good."},
		{"Timesteps (T)",
			"How often the spiking network is stepped for one sample. More steps represent activations more finely, and cost more time and spikes. With early exits the mean is below T.",
			"One step of a burst neuron can carry several spikes: compare settings by spikes and energy as well as by T."},
		{"Spikes, events, density",
			"Spikes are counted with their multiplicity (a burst of three counts three); an event is one neuron in one timestep with at least one spike; density is events per neuron and timestep.",
			"Density alone hides bursts: two networks of one density can differ several times in spikes. Low density at a large T may still be many spikes."},
		{"Synaptic operations (SOPs)",
			"Every spike adds one weight in each neuron it reaches. SOPs count these additions with the true fan-out, at borders and strides too.",
			"They measure arithmetic, not time: dense hardware gains nothing from a skipped addition, event-driven hardware pays for routing each spike as well."},
		{"Multiply-accumulates (MACs)",
			"The ANN's operations. In the SNN only what comes before the first neuron: the input is analog and constant, so it is computed once per sample.",
			"In small networks this first layer can dominate the SNN's energy; more timesteps then look cheap."},
		{"Rows of the layer table",
			"A row holds the operations that a layer's spikes cause where they arrive; where the layer's own current is analog, that current's MACs as well. The ANN's figures beside it are of the ANN's layers where these operations happen; each of them stands in one row.",
			"A row is therefore not the work of computing that layer: a layer that fires a lot makes the layers behind it expensive, and the cost shows in the row of the one that fires. Where several layers feed one, the first row has all of the ANN's operations and the ratio of single rows says little."},
		{"Energy",
			"MACs and SOPs times constants of a 45 nm process (Horowitz, ISSCC 2014), " + EnergyNote + ".",
			"It is a model of arithmetic, not a measurement. In real chips moving data usually costs more than computing with it, for both networks. Use the ratio to compare settings, not to size a battery."},
		{"Spikes per synapse",
			fmt.Sprintf("Mean number of spikes that pass one synapse while one sample is processed. An accumulate is cheaper than a multiply-accumulate, so the SNN's arithmetic is cheaper below %s.", breakEven),
			"The limit belongs to the number format: with 8-bit weights the ANN's multiplications are cheap too, and the limit changes."},
		{"Threshold and burst limit",
			"A neuron fires when its potential reaches its threshold, at most the burst limit (maxspike) times per step; what is left stays in the potential. Thresholds times spikes per step are the activations.",
			"A high burst limit buys accuracy at few timesteps with more spikes. Neurons without bursts need the same number of spikes, but spread over more steps."},
		{"Calibration",
			"Without training, biases (or more) are adjusted on some training samples so that the SNN's mean activations match the ANN's.",
			"It helps most where T times the burst limit is small; with many steps there is nothing left to correct."},
	}
	if d.has(hasSearch) {
		out = append(out, term{"Burst-limit search",
			"Every layer gets its own burst limit. For each layer and candidate the tables hold what the limit costs and how far the outputs move from the ANN's (sensitivity); of all combinations within the budget, the one of the least summed sensitivity is taken, found exactly.",
			"The sums assume that layers do not influence each other. They do, so the measured figures decide: on small networks a search need not beat one limit for all layers, which is why both are measured before one is kept."})
	}
	if d.has(hasSSC) {
		out = append(out, term{"Spike compression (threshold ratios)",
			"After calibration, thresholds are raised where the outputs suffer least: the summed cost is made as low as possible while the summed sensitivity stays within the given ratio.",
			"The ratio bounds a sum of single-layer figures. The whole network can move further from the ANN than the ratio says; compare the measured sensitivity and the accuracy."})
	}
	if d.has(hasIAT) {
		out = append(out, term{"Early exits and mean timesteps",
			"After each timestep a score says how certain the network is; a sample whose score exceeds the timestep's threshold leaves with the answer it has. Spikes and energy are counted up to each sample's exit. Thresholds come from other samples, never from the test data. With policy target the stated risk is the share of answers that may differ from those after all timesteps; it says nothing of right or wrong.",
			"A low mean hides the slowest samples: the longest wait is still T. A stated risk holds for samples of the same source as those it was set on; samples the ANN was trained on look more certain than new ones. If the setting was picked from the curve shown, its accuracy is a little too good."})
	}
	for i := range d.results {
		for j := range d.results[i].SNN {
			if d.results[i].SNN[j].Profile == "reference" {
				return append(out, term{"Reference profile",
					"The same network converted with every rule as in the authors' published code: the half threshold is injected bit by bit, max pooling takes the maximum of each step, thresholds are found differently. It shows what AdaFire's own rules change.",
					"It is our implementation of those rules on our network, not the authors' published result."})
			}
		}
	}
	return out
}

// has reports whether any entry fulfils f.
func (d *data) has(f func(*SNN) bool) bool {
	_, _, ok := pick(d.results, f)
	return ok
}
