"""All claims by id, family by family in the order of `claim.FAMILIES`."""

import re

from warmup_jax.claims.claim import FAMILIES, Claim
from warmup_jax.claims.families import (
    adam,
    architectures,
    curvature,
    identities,
    identities_of_adam,
    images,
    note,
    schedules,
    sharpness,
    transformers,
)

MODULES = (
    note,
    identities,
    identities_of_adam,
    images,
    transformers,
    adam,
    architectures,
    curvature,
    sharpness,
    schedules,
)


def _place(claim: Claim) -> tuple[int, int, str]:
    """Returns the place of a claim among all: T-4, T-4b, T-5, T-10."""
    number = re.search(r"\d+", claim.id)
    return list(FAMILIES).index(claim.family), int(number[0]) if number else 0, claim.id


CLAIMS: dict[str, Claim] = {
    claim.id: claim for claim in sorted((claim for module in MODULES for claim in module.CLAIMS), key=_place)
}
