"""DICOM: images in, segmentations in and out."""

from fewct.io.dicom.discovery import find_dicom
from fewct.io.dicom.header import AnyPath, is_dicom
from fewct.io.dicom.seg_reading import is_segmentation, read_dicom_seg
from fewct.io.dicom.seg_writing import write_dicom_seg

__all__ = ["AnyPath", "find_dicom", "is_dicom", "is_segmentation", "read_dicom_seg", "write_dicom_seg"]
