"""Labelled data: cases of labelled images, layouts of folders, splits by patient, packed slices."""
