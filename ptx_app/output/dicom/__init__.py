"""A finding as DICOM objects: segmentation, secondary capture, presentation state and structured report."""
