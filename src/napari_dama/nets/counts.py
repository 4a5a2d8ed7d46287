"""How many patches a mask leaves visible: plain arithmetic, so that settings are checked without torch."""

from __future__ import annotations


def visible_count(tokens: int, mask_ratio: float) -> int:
    """Number of visible patches, ``int(tokens * (1 - mask_ratio))``.

    Raises
    ------
    ValueError
        Unless ``0 < mask_ratio < 1`` and at least one patch stays visible.
    """
    if not 0.0 < mask_ratio < 1.0:
        raise ValueError(f"mask_ratio must lie between 0 and 1, got {mask_ratio}")
    keep = int(tokens * (1 - mask_ratio))
    if keep < 1:
        raise ValueError(
            f"mask_ratio {mask_ratio} leaves no visible patch of {tokens}; choose at most {1 - 1 / tokens:.3f}"
        )
    return keep


def overlap_count(tokens: int, mask_ratio: float, overlap_ratio: float) -> tuple[int, int]:
    """Numbers of patches visible in a view, and of those that both views of DAMA see: ``(keep, overlap)``.

    Raises
    ------
    ValueError
        If a ratio is out of bounds, or ``tokens - 2 * keep + overlap``, the patches hidden in both views, is negative.
    """
    if not 0.0 <= overlap_ratio <= 1.0:
        raise ValueError(f"overlap_ratio must lie in 0..1, got {overlap_ratio}")
    keep = visible_count(tokens, mask_ratio)
    overlap = int(keep * overlap_ratio)
    still_hidden = tokens - 2 * keep + overlap
    if still_hidden < 0:
        raise ValueError(
            f"{tokens} patches at mask_ratio {mask_ratio} and overlap_ratio {overlap_ratio} would leave "
            f"{tokens} - 2*{keep} + {overlap} = {still_hidden} patches hidden in both views; "
            "raise mask_ratio or overlap_ratio"
        )
    return keep, overlap
