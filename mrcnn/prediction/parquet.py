"""Predictions as Parquet tables, which DuckDB, Spark, pandas and polars read without reading all.

Two files, each written a group of rows at a time:

- `objects.parquet`: a row for each detection, with its mask as COCO's compressed run lengths;
- `pictures.parquet`: a row for each picture, those without a detection too.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pycocotools import mask as mask_api

from mrcnn.files.atomic import atomic_path

OBJECTS_FILE = "objects.parquet"
PICTURES_FILE = "pictures.parquet"
READ_PICTURES = 500
GROUP_ROWS = 10_000  # a row group: what is in memory at a time, and what a reader may skip

_PICTURE = {
    "image_id": "id",
    "file_name": "string",
    "image_width": "int32",
    "image_height": "int32",
}
_OBJECT = {
    "category_id": "id",
    "class": "string",
    "score": "float32",
    **dict.fromkeys(("x", "y", "width", "height"), "float32"),
    "area": "int64",
    "rle": "string",
}


def import_pyarrow() -> Any:
    """The package pyarrow, with its Parquet.

    Raises:
        ImportError: it is not installed; says how to install it.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(
            f"Parquet tables are written by pyarrow ({error}). Install it: "
            "pip install 'mrcnn[parquet]'."
        ) from error
    return pyarrow


def write_tables(
    folder: str | os.PathLike[str],
    predictions: Iterable[tuple[Mapping[str, Any], Sequence[Mapping[str, Any]]]],
    categories: Mapping[str, Any],
    image_ids_are_text: bool = False,
) -> tuple[int, int]:
    """Write both files.

    Args:
        folder: where.
        predictions: the entry and the results of each picture, as
            `mrcnn.prediction.records.Records.predictions` gives them.
        categories: ids by name.
        image_ids_are_text: whether some ids of pictures are no numbers; all are written as text
            then.

    Returns:
        How many pictures and objects there are.

    Raises:
        ImportError: pyarrow is not installed.
    """
    pyarrow = import_pyarrow()
    names = {category: name for name, category in categories.items()}
    id_types = {
        "image_id": str if image_ids_are_text else int,
        "category_id": str if any(isinstance(id, str) for id in names) else int,
    }
    with (
        _table(
            pyarrow, Path(folder, PICTURES_FILE), {**_PICTURE, "objects": "int32"}, id_types
        ) as pictures,
        _table(pyarrow, Path(folder, OBJECTS_FILE), {**_PICTURE, **_OBJECT}, id_types) as objects,
    ):
        for entry, results in predictions:
            of_picture = [entry["id"], entry["file_name"], entry["width"], entry["height"]]
            pictures.add([*of_picture, len(results)])
            for result in results:
                rle = result["segmentation"]
                objects.add(
                    [
                        *of_picture,
                        *(result["category_id"], names[result["category_id"]], result["score"]),
                        *result["bbox"],
                        *(int(mask_api.area(rle)), rle["counts"]),
                    ]
                )
    return pictures.rows, objects.rows


def read_tables(
    folder: str | os.PathLike[str], most: int = READ_PICTURES
) -> Iterator[tuple[list[str], list[dict[str, Any]]]]:
    """Read what `write_tables` wrote, some pictures at a time.

    Args:
        folder: with both files, or with folders that have them (`mrcnn.prediction.parts`).
        most: pictures at a time.

    Yields:
        (names of pictures, rows of their objects)

    Raises:
        FileNotFoundError: there are no tables.
        ImportError: pyarrow is not installed.
        ValueError: there are objects of pictures that the other table does not have there.
    """
    pyarrow = import_pyarrow()
    folders = [path.parent for path in sorted(Path(folder).glob(f"*/{PICTURES_FILE}"))]
    if Path(folder, PICTURES_FILE).is_file():
        folders = [Path(folder)]
    if not folders:
        raise FileNotFoundError(
            f"{os.fspath(folder)}: expected {PICTURES_FILE} and {OBJECTS_FILE}, or folders with "
            "them, as mrcnn predict --save parquet and --ray write them; there are none."
        )
    for own in folders:
        rows = _rows(pyarrow, own / OBJECTS_FILE)
        row = next(rows, None)
        pictures = pyarrow.parquet.ParquetFile(own / PICTURES_FILE)
        for batch in pictures.iter_batches(batch_size=most, columns=["file_name"]):
            names = batch.column(0).to_pylist()
            here, found = set(names), []
            while row is not None and row["file_name"] in here:
                found.append(row)
                row = next(rows, None)
            yield names, found
        if row is not None:
            raise ValueError(
                f"{own / OBJECTS_FILE}: expected objects of the pictures of {PICTURES_FILE}, in "
                f"their order; received one of {row['file_name']!r}."
            )


def _rows(pyarrow: Any, path: Path) -> Iterator[dict[str, Any]]:
    with pyarrow.parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=GROUP_ROWS):
            yield from batch.to_pylist()


class _Table:
    """Rows on their way to a file."""

    def __init__(self, pyarrow: Any, writer: Any, id_types: Mapping[str, type]) -> None:
        self.rows = 0
        self._pyarrow, self._writer, self._id_types = pyarrow, writer, id_types
        self._columns: list[list[Any]] = [[] for _ in writer.schema]

    def add(self, row: Iterable[Any]) -> None:
        for column, field, value in zip(self._columns, self._writer.schema, row, strict=True):
            own = self._id_types.get(field.name)
            column.append(value if own is None else own(value))
        self.rows += 1
        if len(self._columns[0]) == GROUP_ROWS:
            self.write()

    def write(self) -> None:
        """Write the rows that were added since."""
        schema = self._writer.schema
        arrays = [
            self._pyarrow.array(column, field.type)
            for column, field in zip(self._columns, schema, strict=True)
        ]
        self._writer.write_table(self._pyarrow.Table.from_arrays(arrays, schema=schema))
        for column in self._columns:
            column.clear()


@contextmanager
def _table(
    pyarrow: Any, path: Path, columns: Mapping[str, str], id_types: Mapping[str, type]
) -> Iterator[_Table]:
    """A file under way, which gets its name when the block ends without an error."""
    types = {int: pyarrow.int64(), str: pyarrow.string()}
    schema = pyarrow.schema(
        [
            (name, types[id_types[name]] if kind == "id" else getattr(pyarrow, kind)())
            for name, kind in columns.items()
        ]
    )
    with (
        atomic_path(path) as temporary,
        pyarrow.parquet.ParquetWriter(temporary, schema, compression="zstd") as writer,
    ):
        table = _Table(pyarrow, writer, id_types)
        yield table
        table.write()
