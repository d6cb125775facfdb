"""What a training says of itself to people: pictures, one HTML page and a model card."""

from training.report.charts import confusion_matrix, importance, roc_curve
from training.report.page import CARD_ARTIFACT, PAGE_ARTIFACT, Facts, card, link, page, place

__all__ = [
    "CARD_ARTIFACT",
    "PAGE_ARTIFACT",
    "Facts",
    "card",
    "confusion_matrix",
    "importance",
    "link",
    "page",
    "place",
    "roc_curve",
]
