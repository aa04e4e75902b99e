"""The challenge's table of labels (CSV) as a file format."""
