"""How an improved model learns types: from corrected cells, its last layer on the parent's features, or all of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from napari_dama.errors import SettingsError, StoreError
from napari_dama.evaluate.before_after import BeforeAfter, compare
from napari_dama.models.build import new_model
from napari_dama.models.model import Model
from napari_dama.nets.classifier import TypeClassifier
from napari_dama.predict.cell_crops import cell_crops
from napari_dama.predict.result import ResultFolder
from napari_dama.slides.slide import open_slide
from napari_dama.training.held_out import BETWEEN, HELD, LEARN
from napari_dama.training.improve_data import read_prepared, sampling_words
from napari_dama.training.improve_fit import Lessons, class_weights, fit_all, fit_head, in_blocks

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_dama.training.folder import RunFolder
    from napari_dama.training.improve_settings import ImproveSettings
    from napari_dama.training.telling import Telling

UNREVIEWED: Final = "unreviewed"


@dataclass(slots=True)
class _Seen:
    """What the parent makes of the cells of all slides, row by row of ``table``."""

    table: pd.DataFrame
    features: Tensor  # (N, D), before their norm
    said: Tensor  # (N, parent's classes)
    crops: Tensor | None  # (N, C, H, W) float16, for the encoder only


class TypesLesson:
    """From the corrected cells of a job to a typing network, and what it brings."""

    def __init__(self, settings: ImproveSettings, run: RunFolder, telling: Telling, parent: Model) -> None:
        self.settings, self.run, self.telling, self.parent = settings, run, telling, parent
        self.reviewed, self.facts = read_prepared(run.path)
        strange = [old for old in settings.parent_classes if old and old not in parent.card.classes]
        if strange:
            raise SettingsError(f"{settings.init} knows no class {strange[0]}: it is another model by now")
        self.sampling = sampling_words(self.facts)
        self.learned: dict[str, int] = {}
        self.first = (
            settings.outline_steps if "outlines" in settings.learn else 0
        )  # step before the first one here

    def go(self) -> tuple[TypeClassifier, BeforeAfter]:
        """Look at the cells, learn, compare."""
        seen = self._look()
        part = self._start()
        self.learned = self._learn(part, seen)
        held = np.flatnonzero(seen.table["part"] == HELD)
        truth = self._numbers(seen.table["type"].to_numpy()[held])
        before = self._parents_word(seen.said[held])
        if self.settings.encoder and seen.crops is not None:
            logits = in_blocks(seen.crops[held], lambda x: part(x.to(self.parent.device)).cpu())
        else:
            logits = in_blocks(seen.features[held], lambda x: part.classify(x.to(self.parent.device)).cpu())
        return part, compare(truth, before, logits.argmax(dim=1).numpy(), self.settings.classes)

    # -- the cells ---------------------------------------------------------------------------------------------

    def _look(self) -> _Seen:
        """Features and the parent's word of all cells that count, computed once."""
        tables, parts = [], []
        wanted = [self._cells_of(number) for number in range(len(self.settings.slides))]
        total = sum(len(table) for table, _ in wanted)
        done = 0
        for (table, result), facts in zip(wanted, self.settings.slides, strict=True):
            markers = result.run.get("slide", {}).get("markers")
            with open_slide(facts.slide, markers=markers, pixel_um=result.pixel_um) as slide:
                features: list[Tensor] = [torch.zeros(0)] * len(table)
                crops_of: list[Tensor] = [torch.zeros(0)] * len(table)
                for rows, crops in cell_crops(
                    result, slide, self.parent, table, stop=self.telling.stop, batch=32
                ):
                    x = torch.from_numpy(crops)
                    pooled = self._pooled(x)
                    for place, row in enumerate(rows.tolist()):
                        features[row] = pooled[place]
                        if self.settings.encoder:
                            crops_of[row] = x[place].half()
                    done += len(rows)
                    self.telling.say("Looking at the cells", done, total, rest_s=2.0)
            tables.append(table)
            parts.append((torch.stack(features), torch.stack(crops_of) if self.settings.encoder else None))
        own = self.parent.parts["types"]
        assert isinstance(own, TypeClassifier)
        pooled = torch.cat([features for features, _ in parts])
        said = in_blocks(
            pooled, lambda x: own.classify(x.to(self.parent.device)).float().softmax(dim=1).cpu()
        )
        crops_all = [crops for _, crops in parts if crops is not None]
        seen = _Seen(
            pd.concat(tables, ignore_index=True), pooled, said, torch.cat(crops_all) if crops_all else None
        )
        return self._without_unsure(seen)

    def _pooled(self, x: Tensor) -> Tensor:
        part = self.parent.parts["types"]
        assert isinstance(part, TypeClassifier)
        with torch.inference_mode(), self.parent._autocast():
            return part.pooled(x.to(self.parent.device)).float().cpu().clone()

    def _cells_of(self, number: int) -> tuple[pd.DataFrame, ResultFolder]:
        """Reviewed cells of a slide, and some that nobody reviewed, far enough from the held-out ones."""
        result = ResultFolder.open(self.settings.slides[number].result)
        reviewed = self.reviewed[self.reviewed["slide"] == number]
        reviewed = reviewed[reviewed["part"] != BETWEEN]
        wanted = self._rehearsed(number)
        if not wanted:
            return reviewed.reset_index(drop=True), result
        cells = result.cells()
        every = self.reviewed[self.reviewed["slide"] == number]
        rest = cells[~cells["label"].isin(every["label"])]
        held = reviewed.loc[reviewed["part"] == HELD, ["y", "x"]].to_numpy(float)
        if len(held) and len(rest):
            from scipy.spatial import cKDTree

            card = self.parent.card
            field_px = card.crop_um / card.architecture.type_zoom / result.pixel_um
            apart = cKDTree(held).query(rest[["y", "x"]].to_numpy(float), p=np.inf)[0]
            rest = rest[apart > field_px]
        rng = np.random.default_rng((self.settings.seed, number))
        rows = np.sort(rng.permutation(len(rest))[:wanted])
        some = rest.iloc[rows][["label", "y", "x"]].assign(slide=number, type="", part=UNREVIEWED)
        return pd.concat([reviewed, some], ignore_index=True), result

    def _rehearsed(self, number: int) -> int:
        settings = self.settings
        if not settings.pseudo_labels and not settings.rehearse_weight:
            return 0
        share, rest = divmod(settings.rehearse, len(settings.slides))
        return share + (number < rest)

    def _without_unsure(self, seen: _Seen) -> _Seen:
        """Of cells that nobody reviewed only those count of which the parent is sure, as pseudo-labels."""
        if not self.settings.pseudo_labels:
            return seen
        unreviewed = (seen.table["part"] == UNREVIEWED).to_numpy()
        sure = seen.said.max(dim=1).values.numpy() >= self.settings.sure
        rows = np.flatnonzero(~unreviewed | sure)
        crops = None if seen.crops is None else seen.crops[rows]
        table = seen.table.iloc[rows].reset_index(drop=True)
        return _Seen(table, seen.features[rows], seen.said[rows], crops)

    # -- the network -------------------------------------------------------------------------------------------

    def _start(self) -> TypeClassifier:
        """A typing network of its own that starts from the parent's, whose last layer has a row for every class."""
        settings = self.settings
        card = self.parent.card.model_copy(deep=True)
        card.classes, card.class_colours = list(settings.classes), list(settings.class_colours)
        own = self.parent.parts["types"]
        assert isinstance(own, TypeClassifier)
        fresh = new_model(card.model_copy(update={"tasks": ["types"]}), seed=settings.seed).parts["types"]
        assert isinstance(fresh, TypeClassifier)
        state = dict(own.state_dict())
        rows, bias = fresh.head.weight.detach().clone(), fresh.head.bias.detach().clone()
        for place, old in enumerate(settings.parent_classes):
            if old is not None:
                at = self.parent.card.classes.index(old)
                rows[place], bias[place] = own.head.weight[at].cpu().float(), own.head.bias[at].cpu().float()
        fresh.load_state_dict({**state, "head.weight": rows, "head.bias": bias})
        device, precision = str(self.parent.device), self.parent.precision
        part = Model(card, {"types": fresh}, device=device, precision=precision).parts["types"]
        assert isinstance(part, TypeClassifier)
        return part

    def _learn(self, part: TypeClassifier, seen: _Seen) -> dict[str, int]:
        """Fit the typing network; returns how many cells of which kind it learned from."""
        settings = self.settings
        sides = seen.table["part"].to_numpy()
        rows = np.flatnonzero(sides != HELD)
        targets = np.full(len(rows), -1, np.int64)
        typed = sides[rows] == LEARN
        targets[typed] = self._numbers(seen.table["type"].to_numpy()[rows][typed])
        if len(np.unique(targets[typed])) < 2:
            raise StoreError("The cells to learn from are of one class only: correct some of another class.")
        weight = class_weights(targets, len(settings.classes))
        others = ~typed
        if settings.pseudo_labels and others.any():
            targets[others] = self._parents_word(seen.said[rows][torch.from_numpy(others)])
            weight[others] = max(settings.rehearse_weight, 0.5) / others.sum()
        elif others.any():
            weight[others] = settings.rehearse_weight / others.sum()
        device = self.parent.device
        columns = [
            self.parent.card.classes.index(old) if old is not None else -1 for old in settings.parent_classes
        ]
        known = torch.tensor([column >= 0 for column in columns])
        said = torch.where(known, seen.said[rows][:, [max(column, 0) for column in columns]], 0.0)
        said = said / said.sum(dim=1, keepdim=True).clamp(min=1e-6)
        lessons = Lessons(
            seen.features[rows].to(device),
            torch.from_numpy(targets).to(device),
            torch.from_numpy(weight).to(device),
            said.to(device),
            known.to(device),
        )
        counts = {"corrected": int(typed.sum()), "unreviewed": int(others.sum())}
        self.run.event("data", samples=counts["corrected"], notes=[self.sampling])
        fit_head(part, lessons, hold=settings.hold, tell=self._tell("Learning"), stop=self.telling.stop)
        if settings.encoder and seen.crops is not None:
            fit_all(
                part,
                Lessons(
                    seen.crops[rows].to(device), lessons.targets, lessons.weight, lessons.said, lessons.known
                ),
                epochs=settings.epochs,
                batch=settings.batch_size,
                lr=settings.lr,
                seed=settings.seed,
                tell=self._tell("The whole network learns"),
                stop=self.telling.stop,
            )
        return counts

    def _tell(self, doing: str) -> Callable[[int, int, float], None]:
        def tell(done: int, total: int, loss: float) -> None:
            self.run.metrics({"step": self.first + done, "epoch": done, "loss": loss})
            self.telling.say(doing, done, total)

        return tell

    def _numbers(self, types: NDArray[Any]) -> NDArray[np.int64]:
        place = {name: i for i, name in enumerate(self.settings.classes)}
        strange = sorted({str(name) for name in types} - set(place))
        if strange:
            raise SettingsError(f"The corrected cells hold {strange[0]!r}, which is no class of this job")
        return np.array([place[name] for name in types], np.int64)

    def _parents_word(self, said: Tensor) -> NDArray[np.int64]:
        """Number (N,) of the class here that the parent holds likeliest, of those that were not taken out."""
        kept = [(i, old) for i, old in enumerate(self.settings.parent_classes) if old is not None]
        columns = [self.parent.card.classes.index(old) for _, old in kept]
        likeliest: NDArray[np.int64] = said[:, columns].argmax(dim=1).numpy()
        numbers = np.array([i for i, _ in kept], np.int64)
        return np.take(numbers, likeliest)
