"""Adapting `mosaic` to few labelled slices: tune settings, fine-tune the network, keep what proves better."""
