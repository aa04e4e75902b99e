"""BAM: structures of a few labelled slices, found on others by their ids."""
