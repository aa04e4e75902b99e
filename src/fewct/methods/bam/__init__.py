"""BAM: structures of a few labelled slices, found on others. `named_over_unnamed` makes it a method."""
