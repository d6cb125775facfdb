"""The contests of `make bench`, by name: a new one is a module with a `Part`, and a line here."""

import modelling
import publishing
import training_sets
from contest import Part

PARTS: dict[str, Part] = {
    part.name: part
    for part in (publishing.EXTRACTING, publishing.PUBLISHING, training_sets.PART, modelling.SCORING, modelling.FITTING)
}
