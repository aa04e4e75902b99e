"""A few labelled slices of a user: settings are tuned, the network is fine-tuned, whichever wins is kept."""
