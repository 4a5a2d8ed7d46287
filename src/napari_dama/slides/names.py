"""Marker names as people write them, brought to a form that can be compared."""

from __future__ import annotations

import re
import unicodedata

_FLUOR = re.compile(
    r"^(af|alexa|alexafluor|fluor|opal|dylight|cf|atto|bv|cy|fitc|tritc|texasred|apc|percp|pe|pacblue|egfp|sparkle)"
    r"(\d{1,3}[a-z]?)?$"
)
_NEEDS_NUMBER = frozenset({"cf", "cy", "af", "bv", "pe"})
_POSITION = re.compile(r"^(cyc|cycle|round|rnd|ch|channel|chan|c|r|exp|cell|image|slice|reg|z|t)\d*$")
_NOISE = frozenset({"anti", "raw", "nm", "marker", "stain", "staining", "target", "mean", "intensity"})
_GENERIC = frozenset(
    {"nuclear", "nucleus", "nuclei", "dna", "h3", "fox3", "reca", "histone", "astrocyte", "dna1", "dna2"}
)
_BRACKETS = re.compile(r"[(\[{]([^)\]}]*)[)\]}]")


def _tokens(name: str) -> list[str]:
    text = unicodedata.normalize("NFKC", name).casefold().replace("β", "beta")
    return re.findall(r"[a-z0-9]+|[^\W_a-z0-9]+", text)


def _join(tokens: list[str]) -> str:
    """Join words; two numbers in a row keep a mark between them, so that 'CD3_1' never reads as 'CD31'."""
    out = ""
    for token in tokens:
        out += ("_" if out and out[-1].isdigit() and token[0].isdigit() else "") + token
    return out


def plain(name: str) -> str:
    """Drop case, punctuation and spaces: ``"Iba-1"`` becomes ``"iba1"``."""
    return _join(_tokens(name))


def _without_noise(tokens: list[str]) -> list[str]:
    """Drop fluorophores, cycles and channel numbers around a marker's name."""
    kept: list[str] = []
    drop_number = False
    for token in tokens:
        if drop_number and token.isdigit():
            continue
        fluor = _FLUOR.match(token)
        if fluor is not None and fluor.group(1) in _NEEDS_NUMBER and fluor.group(2) is None:
            fluor = None
        position = _POSITION.match(token)
        drop_number = (fluor is not None or position is not None) and not token[-1].isdigit()
        if fluor is None and position is None and token not in _NOISE:
            kept.append(token)
        elif fluor is not None and token == "alexa":
            drop_number = True
    return kept


def canonical(name: str) -> str:
    """Give the form under which names are compared.

    Case, punctuation, spaces, a prefix such as ``"Cell 1:"``, bracketed remarks, fluorophores (``AF488``, ``Opal 520``)
    and cycles (``cyc002``) fall away, unless nothing else is left: ``"NeuN-AF488"`` becomes ``"neun"``, ``"Cy3"`` stays
    ``"cy3"``.
    """
    text = name.rsplit(":", 1)[-1] if name.rsplit(":", 1)[-1].strip() else name
    outside = _BRACKETS.sub(" ", text)
    for tokens in (_without_noise(_tokens(outside)), _without_noise(_tokens(text)), _tokens(name)):
        if tokens:
            return _join(tokens)
    return name.strip().casefold()


def spellings(name: str) -> list[str]:
    """List the forms of a slide's marker name to look up, the most faithful first."""
    forms = [plain(name), canonical(name)]
    text = name.rsplit(":", 1)[-1]
    kept = _without_noise(_tokens(_BRACKETS.sub(" ", text)))
    while len(kept) > 1 and kept[-1].isdigit():  # DAPI_1, Hoechst 33342, RECA-1_555
        kept = kept[:-1]
        forms.append(_join(kept))
    forms += [canonical(inside) for inside in _BRACKETS.findall(text) if inside.strip()]  # Ch1 (DAPI)
    return list(dict.fromkeys(form for form in forms if form))


def words(name: str) -> list[str]:
    """List single words that are telling enough to decide on their own."""
    return [token for token in _tokens(name) if len(token) >= 4 and token not in _GENERIC]
