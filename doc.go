// Package adafire is the root of AdaFire, which turns a trained neural network
// into a spiking one without training it again. It holds no code; begin with
//
//   - package convert: conversion and calibration (the method)
//   - package snn: spiking networks and their counts
//   - package ann: training and inference of the networks that are converted
//   - package graph, models: descriptions of networks
//   - package dataset, checkpoint, report: data, files, results
//   - command adafire (cmd/adafire): all of it from the shell
//
// The README has the two commands to start with.
package adafire
