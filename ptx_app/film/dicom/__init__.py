"""DICOM files: header, stored pixels, presentation, and whether the header speaks of a frontal chest film."""
