"""DICOM: images in, segmentations in and out."""
