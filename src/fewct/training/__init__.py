"""Training of networks on few labelled slices. Needs torch."""
