"""Have QuPath's own classes read what ``napari-dama export --to geojson`` writes, and compare with the result's table.

QuPath's core is compiled from its source (the part that reads objects), with a JDK and jars that are given; nothing of it
is kept here. What was found, and how to get source, JDK and jars: ``docs/decisions/0008-qupath.md``. By hand, not in CI:

    python scripts/qupath_reads/check.py RESULT... --source QUPATH.git --version v0.5.1 --jars /usr/share/java
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from napari_dama.export import export
from napari_dama.export.geojson import OBJECTS
from napari_dama.export.source import ResultSource, rgb

HERE = Path(__file__).parent
JARS = ("gson", "jts-core", "commons-math3", "slf4j-api", "ij", "guava", "picocli")
CORE = "qupath-core/src/main"
KINDS = {"cell": "PathCellObject", "detection": "PathDetectionObject", "annotation": "PathAnnotationObject"}
OLDER_JARS = (
    # slf4j 2 has a fluent call where slf4j 1.7 has none: this is how a warning is logged
    ("logger.atLevel(level).log(message);", "logger.warn(message);"),
    # gson 2.11 has names for what 2.10 has flags for: both read and write leniently
    ("import com.google.gson.Strictness;", ""),
    ("out.getStrictness()", "out.isLenient()"),
    ("out.setStrictness(Strictness.LENIENT)", "out.setLenient(true)"),
    ("out.setStrictness(strictness)", "out.setLenient(strictness)"),
    ("in.getStrictness()", "in.isLenient()"),
    ("in.setStrictness(Strictness.LENIENT)", "in.setLenient(true)"),
    ("in.setStrictness(strictness)", "in.setLenient(strictness)"),
    (".setStrictness(Strictness.LENIENT)", ".setLenient()"),
)
"""Texts of QuPath's source that need newer jars than Debian has, and what says the same to the older ones."""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=Path, nargs="+", help="folders that analyse left")
    parser.add_argument("--source", type=Path, required=True, help="git folder of github.com/qupath/qupath")
    parser.add_argument("--version", default="v0.5.1", help="tag or commit of it")
    parser.add_argument("--jars", type=Path, nargs="+", required=True, help=f"folders with {', '.join(JARS)}")
    parser.add_argument("--java", type=Path, default=None, help="a JDK's folder; else java and javac of PATH")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        java = Java(args.java, [find_jar(each, args.jars) for each in JARS])
        changed = unpack(args.source, args.version, work / "source")
        java.compile(work / "source" / CORE / "java", work / "classes")
        print(
            f"QuPath {args.version}: compiled; older jars asked for changes in {', '.join(changed) or 'no file'}"
        )
        failed = 0
        for result in args.results:
            for kind in OBJECTS:
                found = check(result, kind, java, work)
                failed += bool(found)
                for line in found[:10]:
                    print(f"    WRONG: {line}")
    return 1 if failed else 0


def find_jar(name: str, folders: list[Path]) -> Path:
    for folder in folders:
        if (folder / f"{name}.jar").is_file():
            return (folder / f"{name}.jar").resolve()
    raise SystemExit(f"There is no {name}.jar in {', '.join(map(str, folders))}.")


def unpack(source: Path, version: str, target: Path) -> list[str]:
    """Unpack the core's source of a version; returns the files that older jars made differ."""
    command = ["git", "-C", str(source), "archive", version, CORE]
    archive = subprocess.run(command, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(target, filter="data")
    changed = []
    for file in sorted(target.rglob("*.java")):
        text = file.read_text(encoding="utf-8")
        other = text
        for before, after in OLDER_JARS:
            other = other.replace(before, after)
        if other != text:
            file.write_text(other, encoding="utf-8")
            changed.append(file.name)
    return changed


class Java:
    """A JDK with the jars that QuPath's core needs, and where its classes are."""

    def __init__(self, home: Path | None, jars: list[Path]) -> None:
        found = [shutil.which(name, path=str(home / "bin") if home else None) for name in ("javac", "java")]
        if None in found:
            raise SystemExit("There is no JDK: install openjdk-17-jdk-headless, or give one with --java.")
        self.javac, self.java = map(str, found)
        self.path = list(map(str, jars))

    def compile(self, source: Path, classes: Path) -> None:
        """Compile the reader and what it needs of QuPath."""
        command = [
            self.javac, "-nowarn", "-proc:none", "-encoding", "UTF-8", "-d", str(classes), "-sourcepath", str(source),
            "-cp", os.pathsep.join(self.path), str(HERE / "ReadObjects.java"),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"QuPath's source does not compile with this JDK and these jars:\n{done.stderr}")
        # resources lie beside the classes: the version, for one
        shutil.copytree(source.parent / "resources", classes, dirs_exist_ok=True)
        self.path.insert(0, str(classes))

    def read(self, file: Path, said: Path, again: Path) -> dict[str, Any]:
        """Have QuPath read a file and write it again; returns what it says of the objects, or the error."""
        command = [self.java, "-cp", os.pathsep.join(self.path), "-Djava.awt.headless=true", "ReadObjects"]
        done = subprocess.run([*command, str(file), str(said), str(again)], capture_output=True, text=True)
        if done.returncode:
            said_of_it = [line for line in done.stderr.splitlines() if not line.startswith("SLF4J")]
            return {"error": " / ".join(line.strip() for line in said_of_it[:6])}
        found: dict[str, Any] = json.loads(said.read_text(encoding="utf-8"))
        return found


def check(result: Path, kind: str, java: Java, work: Path) -> list[str]:
    """Export, let QuPath read and write, and compare; returns what is wrong."""
    file, again = work / "ours.geojson", work / "qupath.geojson"
    export(result, "geojson", file, overwrite=True, object_type=kind)
    said = java.read(file, work / "said.json", again)
    if "error" in said:
        print(f"{result.name} as {kind}: not read")
        return [said["error"]]
    objects = said["objects"]
    wrong = compare(ResultSource.open(result), objects, kind)
    if said["in_hierarchy"] != len(objects):
        wrong.append(f"{said['in_hierarchy']} of {len(objects)} objects are in the hierarchy")
    wrong += compare_files(file, again)
    counts: dict[str, int] = {}
    for one in objects:
        name = f"{one['class'] or 'no class'} {one['colour'] or ''}".strip()
        counts[name] = counts.get(name, 0) + 1
    rois = {one["roi"] for one in objects}
    print(
        f"{result.name} as {kind}: {len(objects)} objects in {said['seconds']:.2f} s (Java {said['java']}), "
        f"ROIs {sorted(rois)}, {sum(one['nucleus'] for one in objects)} nuclei, "
        f"{sum(one['locked'] for one in objects)} locked, {sum(not one['valid'] for one in objects)} invalid; {counts}"
    )
    for one in objects[:3]:
        print(
            f"    {one['name']}: {one['class']}, {one['area']:.1f} px, {len(one['measurements'])} measurements"
        )
    return wrong


def compare(source: ResultSource, objects: list[dict[str, Any]], kind: str) -> list[str]:
    """What QuPath holds against the table and the label image."""
    table = source.cells.set_index("label")
    pixels = np.asarray(source.labels[...])
    numbers, counts = np.unique(pixels[pixels > 0], return_counts=True)
    size = dict(zip(numbers.tolist(), counts.tolist(), strict=True))
    wrong = []
    if sorted(size) != sorted(int(one["name"]) for one in objects):
        wrong.append(f"{len(size)} cells are in the labels, {len(objects)} objects in QuPath, or other ones")
    for one in objects:
        label = int(one["name"])
        row = table.loc[label] if label in table.index else None
        if one["kind"] != KINDS[kind]:
            wrong.append(f"cell {label} is a {one['kind']}")
        if not one["valid"]:
            wrong.append(f"the outline of cell {label} is not valid")
        if abs(one["area"] - size.get(label, 0)) > 0.5 * one["pieces"] + 0.5:
            wrong.append(f"cell {label} has {size.get(label)} pixels, and its outline {one['area']}")
        if row is None:
            continue
        if one["pieces"] == 1 and np.hypot(one["y"] - row["y"] - 0.5, one["x"] - row["x"] - 0.5) > 0.5:
            wrong.append(
                f"cell {label} lies at {one['y']}, {one['x']}, not {row['y'] + 0.5}, {row['x'] + 0.5}"
            )
        known = (row["type"] if "type" in table else "") or None
        colour = list(rgb(source.colours[known])) if known else None
        name = ": ".join(part.strip() for part in known.split(":")) if known else None
        if (one["class"], one["colour"]) != (name, colour):
            wrong.append(f"cell {label} is {one['class']} {one['colour']}, not {name} {colour}")
        wrong += compare_measurements(one, row)
    return wrong


def compare_measurements(one: dict[str, Any], row: Any) -> list[str]:
    columns = {f"{c[5:]}: Cell: Mean": c for c in row.index if c.startswith("mean_")}
    columns |= {f"Probability: {c[2:]}": c for c in row.index if c.startswith("p_")}
    columns |= {"Cell: Area µm^2": "area_um2", "Outline score": "score"}
    has = one["measurements"]
    return [
        f"cell {one['name']}: {name} is {has.get(name)}, not {row[column]}"
        for name, column in columns.items()
        if np.isfinite(row[column])
        and not np.isclose(has.get(name, np.nan), row[column], rtol=1e-5, atol=1e-6)
    ]


def compare_files(ours: Path, theirs: Path) -> list[str]:
    """What we wrote against what QuPath writes of it: the same ids, names, kinds, classes and points."""
    wrong = []
    before, after = (
        {one["id"]: one for one in json.loads(file.read_text(encoding="utf-8"))["features"]}
        for file in (ours, theirs)
    )
    if before.keys() != after.keys():
        wrong.append("QuPath writes other ids than it read")
    for key in before.keys() & after.keys():
        a, b = before[key], after[key]
        for word in ("objectType", "name", "classification"):
            if a["properties"].get(word) != b["properties"].get(word):
                wrong.append(f"{word} {a['properties'].get(word)} comes back as {b['properties'].get(word)}")
        if rings(a["geometry"]) != rings(b["geometry"]):
            wrong.append(f"the outline of {a['properties']['name']} comes back with other points")
    return wrong


def rings(geometry: dict[str, Any]) -> list[list[tuple[float, float]]]:
    """Rings as points in an order that does not depend on where and which way round they begin."""
    pieces = geometry["coordinates"] if geometry["type"] == "MultiPolygon" else [geometry["coordinates"]]
    return sorted(sorted({(x, y) for x, y in ring}) for piece in pieces for ring in piece)


if __name__ == "__main__":
    sys.exit(main())
