"""DICOM files: header, stored pixels, presentation, and whether the header describes a frontal chest film."""
