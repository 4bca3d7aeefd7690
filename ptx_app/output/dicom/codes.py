"""The codes that the objects use, from pydicom's copy of DICOM PS3.16. They are immutable; sequence items are not."""

from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from ptx_app.inference.decide import Side

PNEUMOTHORAX = codes.SCT.Pneumothorax
ABNORMAL_STRUCTURE = codes.SCT.MorphologicallyAbnormalStructure
PLEURA = codes.SCT.Pleura
RADIOGRAPHY = codes.SCT.PlainRadiography
ARTIFICIAL_INTELLIGENCE = codes.DCM.ArtificialIntelligence
PROCESSING_EQUIPMENT = codes.DCM.ProcessingEquipment
SUMMARY = codes.DCM.CADProcessingAndFindingsSummary
WITH_FINDINGS = codes.DCM.AllAlgorithmsSucceededWithFindings
WITHOUT_FINDINGS = codes.DCM.AllAlgorithmsSucceededWithoutFindings
PERCENT = codes.UCUM.Percent
NO_UNITS = codes.UCUM.NoUnits
# Not "Certainty of Finding": the score is not the probability that this patient has a pneumothorax.
SCORE = Code("SCORE", "99PTX", "Score of the model, from 0 to 1")
# Neither DICOM nor SNOMED CT has a code for the share of a projection's area.
AREA_SHARE = Code("AREASHARE", "99PTX", "Share of the film's area")
LATERALITY = {
    Side.RIGHT: codes.SCT.Right,
    Side.LEFT: codes.SCT.Left,
}
