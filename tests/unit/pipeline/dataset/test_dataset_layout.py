"""How folders are read: splits, hidden folders, kinds of files, copies of tables."""

import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from edgewright.core.planning.fingerprint import dataset_components
from edgewright.errors import StepFailed
from edgewright.pipeline.dataset.files import load_split
from edgewright_schemas.dataset import DatasetSpec
from harness.steps import run_dataset

SHARES = {"train": 0.6, "validation": 0.2, "test": 0.2, "seed": 1}


def spec(**changes: Any) -> dict[str, Any]:
    return {
        "source": {"uri": "data", "format": "image-folder"},
        "columns": {"image": {"type": "image"}, "label": {"type": "category"}},
        "split": SHARES,
        **changes,
    }


def source(**options: Any) -> dict[str, Any]:
    return {"uri": "data", "format": "image-folder", "with": options}


def put(root: Path, *names: str, kind: str = "PNG") -> None:
    for name in names:
        file = io.BytesIO()
        noise = np.random.default_rng(sum(name.encode()) * 131 + len(name)).integers(0, 255, (4, 4, 3), np.uint8)
        Image.fromarray(noise).save(file, kind)
        (root / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "data" / name).write_bytes(file.getvalue())


def names(folder: str, count: int, suffix: str = "png") -> list[str]:
    return [f"{folder}/{number:02}.{suffix}" for number in range(count)]


@pytest.mark.parametrize("shape", ["{split}/{label}", "{label}/{split}"])
def test_folders_named_after_splits_are_the_splits(tmp_path: Path, shape: str) -> None:
    counts = {"Train": 5, "valid": 2, "test": 3}
    for split, count in counts.items():
        for label in ("apple", "pear"):
            put(tmp_path, *names(shape.format(split=split, label=label), count))
    built = run_dataset(tmp_path, spec())
    assert built.facts.label_values == ("apple", "pear")
    assert built.facts.rows == {"train": 10, "validation": 4, "test": 6}
    assert built.facts.class_rows == {
        "train": {"apple": 5, "pear": 5},
        "validation": {"apple": 2, "pear": 2},
        "test": {"apple": 3, "pear": 3},
    }
    assert "the folders Train, test, valid are the splits" in built.facts.notices[0]


def test_train_is_divided_for_a_split_that_has_no_folder(tmp_path: Path) -> None:
    for label in ("apple", "pear"):
        put(tmp_path, *names(f"train/{label}", 40), *names(f"test/{label}", 7))
    built = run_dataset(tmp_path, spec())
    assert built.facts.rows["test"] == 14
    assert built.facts.rows["train"] + built.facts.rows["validation"] == 80
    assert 8 <= built.facts.rows["validation"] <= 32, "a quarter: 0.2 of 0.6 + 0.2"


def test_labels_of_a_split_folder_may_come_from_its_metadata(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        put(tmp_path, *names(split, 4))
        rows = "".join(f"{n:02}.png,{'ab'[n % 2]}\n" for n in range(4))
        (tmp_path / "data" / split / "metadata.csv").write_text("file_name,label\n" + rows)
    built = run_dataset(tmp_path, spec())
    assert built.facts.label_values == ("a", "b")
    assert built.facts.rows == {"train": 4, "validation": 4, "test": 4}


@pytest.mark.parametrize("layout", ["labels", "merged"])
def test_the_spec_may_say_what_the_folders_are(tmp_path: Path, layout: str) -> None:
    for label in ("apple", "pear"):
        put(tmp_path, *names(f"train/{label}", 30), *names(f"test/{label}", 30))
    built = run_dataset(tmp_path, spec(source=source(layout=layout)))
    assert built.facts.label_values == (("test", "train") if layout == "labels" else ("apple", "pear"))
    assert built.facts.rows["validation"] > 0


def test_a_class_that_is_called_train_stays_one(tmp_path: Path) -> None:
    put(tmp_path, *names("train", 30), *names("bus", 30))
    assert run_dataset(tmp_path, spec()).facts.label_values == ("bus", "train")
    put(tmp_path, *names("test", 30))
    columns = {"image": {"type": "image"}, "label": {"type": "category", "values": ["train", "bus", "test"]}}
    assert run_dataset(tmp_path, spec(columns=columns)).facts.label_values == ("train", "bus", "test")


def test_layouts_that_are_half_a_split_are_refused(tmp_path: Path) -> None:
    put(tmp_path, *names("train/apple", 3), *names("test/pear", 3), *names("extra", 2))
    with pytest.raises(StepFailed, match=r"(?s)the folders test, train look like splits.*: extra.*layout: labels"):
        run_dataset(tmp_path, spec())
    with pytest.raises(StepFailed, match=r"layout is merged, and not every picture is in a folder named"):
        run_dataset(tmp_path, spec(source=source(layout="merged")))
    shutil.rmtree(tmp_path / "data")
    put(tmp_path, *names("fruit/train/apple", 3), *names("fruit/test/apple", 3))
    with pytest.raises(StepFailed, match=r"(?s)one level down.*make the folder fruit the source's uri"):
        run_dataset(tmp_path, spec())


def test_hidden_folders_are_skipped_and_every_skipped_file_is_counted(tmp_path: Path) -> None:
    put(tmp_path, *names("a", 30), *names("b", 30))
    put(tmp_path, "a/.ipynb_checkpoints/00-checkpoint.png", ".Trash-1000/files/b/1.png", "__MACOSX/a/._00.png")
    put(tmp_path, "@eaDir/a/00.png")
    for name in ("a/notes.txt", "a/00.XML", "LICENSE", "b/Thumbs.db"):
        (tmp_path / "data" / name).write_text("BM is no picture")
    built = run_dataset(tmp_path, spec())
    assert built.facts.label_values == ("a", "b")
    assert sum(built.facts.rows.values()) == 60
    assert built.facts.skipped == {"hidden": 5, ".txt": 1, ".xml": 1, "no suffix": 1}


def test_other_names_of_formats_are_read(tmp_path: Path) -> None:
    put(tmp_path, *names("a", 20, "jfif"), kind="JPEG")
    put(tmp_path, *names("b", 20, "JPE"), kind="JPEG")
    put(tmp_path, *names("c", 20, "avif"), kind="AVIF")
    built = run_dataset(tmp_path, spec())
    assert sum(built.facts.rows.values()) == 60 and built.facts.skipped is None


def test_what_looks_like_data_and_is_not_read_is_refused(tmp_path: Path) -> None:
    put(tmp_path, *names("a", 3), *names("b", 3))
    put(tmp_path, "a/1.HEIC", "b/2.heic", "b/film.mp4", "a/picture.dat", "b/plain")
    (tmp_path / "data/c").mkdir()
    (tmp_path / "data/c/1.txt").write_text("no picture")
    with pytest.raises(StepFailed) as caught:
        run_dataset(tmp_path, spec())
    text = str(caught.value)
    assert ".heic files are not read (2): a/1.HEIC, b/2.heic" in text
    assert ".mp4 files are not read (1): b/film.mp4" in text
    assert "files hold pictures, and their names do not say so (2): a/picture.dat, b/plain" in text
    assert "folders hold files, and none that is read (1): c (1 .txt)" in text
    assert "source.with {skip: [.heic]}" in text


def test_what_the_spec_skips_is_counted(tmp_path: Path) -> None:
    put(tmp_path, *names("a", 20), *names("b", 20), "a/1.heic", "b/film.mp4")
    built = run_dataset(tmp_path, spec(source=source(skip=["heic", ".mp4"])))
    assert built.facts.skipped == {".heic": 1, ".mp4": 1}


def test_an_unknown_option_is_told(tmp_path: Path) -> None:
    put(tmp_path, "a/1.png")
    with pytest.raises(StepFailed, match=r"(?s)layuot.*it takes layout"):
        run_dataset(tmp_path, spec(source=source(layuot="labels")))


def tables(root: Path, **texts: str) -> dict[str, Any]:
    for name, text in texts.items():
        path = root / "data" / name.replace("__", "/").replace("_csv", ".csv")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    columns = {"x": {"type": "number"}, "label": {"type": "category"}}
    return spec(source={"uri": "data", "format": "csv"}, columns=columns)


ROWS = "x,label\n" + "".join(f"{n}.5,{'ab'[n % 2]}\n" for n in range(60))


def test_hidden_tables_are_skipped_and_counted(tmp_path: Path) -> None:
    wanted = tables(tmp_path, one_csv=ROWS, **{".ipynb_checkpoints__one-checkpoint_csv": ROWS, "readme.md": "x"})
    (tmp_path / "data/one.csv").rename(tmp_path / "data/one.CSV")
    built = run_dataset(tmp_path, wanted)
    assert sum(built.facts.rows.values()) == 60
    assert built.facts.skipped == {"hidden": 1, ".md": 1}


def test_copies_of_tables_are_refused(tmp_path: Path) -> None:
    copies = ("one (1).csv", "one copy.csv", "Copy of one.csv", "one - Copy.csv")
    wanted = tables(
        tmp_path, one_csv=ROWS, **{"one.csv.bak": ROWS, "month (2).csv": ROWS}, **dict.fromkeys(copies, ROWS)
    )
    with pytest.raises(StepFailed) as caught:
        run_dataset(tmp_path, wanted)
    text = str(caught.value)
    assert "(4): Copy of one.csv, one (1).csv, one - Copy.csv, one copy.csv" in text, "month (2).csv copies nothing"
    assert "files hold csv under a name that is not read (1): one.csv.bak" in text


def test_each_table_of_a_folder_needs_the_columns(tmp_path: Path) -> None:
    wanted = tables(tmp_path, one_csv=ROWS, two_csv="x,lable\n1.25,a\n")
    with pytest.raises(
        StepFailed, match=r"column 'label' is not there \(did you mean lable\?; looked at data/two.csv:2"
    ):
        run_dataset(tmp_path, wanted)


def test_a_column_may_name_the_split(tmp_path: Path) -> None:
    rows = [(n, "ab"[n % 2], ("Train", "val", "test")[n % 3]) for n in range(60)]
    wanted = tables(tmp_path, one_csv="x,label,fold\n" + "".join(f"{x},{label},{fold}\n" for x, label, fold in rows))
    built = run_dataset(tmp_path, {**wanted, "split": {"column": "fold"}})
    for index, name in enumerate(("train", "validation", "test")):
        found = load_split(built.files, built.facts, name).features[:, 0]
        assert found.tolist() == [n for n in range(60) if n % 3 == index]
    assert built.facts.features == ("x",)
    (tmp_path / "data/one.csv").write_text("x,label,fold\n1,a,train\n2,a,tset\n3,b,\n")
    with pytest.raises(StepFailed) as caught:
        run_dataset(tmp_path, {**wanted, "split": {"column": "fold"}})
    assert "values of 'fold' name no split (1): 'tset' (data/one.csv:3)" in str(caught.value)
    assert "rows without 'fold': 1" in str(caught.value)


def test_a_column_of_numbers_names_no_splits(tmp_path: Path) -> None:
    wanted = tables(tmp_path, one_csv="x,label,fold\n1,a,0\n2,b,1\n")
    columns = {**wanted["columns"], "fold": {"type": "integer"}}
    with pytest.raises(StepFailed, match="column 'fold' of type integer names no splits"):
        run_dataset(tmp_path, {**wanted, "columns": columns, "split": {"column": "fold"}})


def test_a_link_that_leads_nowhere_is_counted(tmp_path: Path) -> None:
    put(tmp_path, *names("a", 20), *names("b", 20))
    (tmp_path / "data/a/link.dat").symlink_to("/nowhere/at/all")
    assert run_dataset(tmp_path, spec()).facts.skipped == {".dat": 1}


def test_a_group_is_in_one_named_split(tmp_path: Path) -> None:
    wanted = tables(tmp_path, one_csv="x,label,fold,store\n1,a,train,lyon\n2,b,test,lyon\n3,b,test,porto\n")
    with pytest.raises(
        StepFailed, match=r"groups by 'store' are in more than one split \(1\): lyon \(data/one.csv:3\)"
    ):
        run_dataset(tmp_path, {**wanted, "split": {"column": "fold", "groupBy": "store"}})


def test_only_datasets_of_folders_are_made_again_and_new_fields_change_nothing() -> None:
    parts = dataset_components(DatasetSpec.model_validate(spec()), "sha256:0", {})
    assert parts["source.reading"] == "2"
    table = spec(source={"uri": "data/tags.csv", "format": "csv"})
    assert dataset_components(DatasetSpec.model_validate(table), "sha256:0", {}).keys() == {
        "checks",
        "columns.image.type",
        "columns.image.values",
        "columns.label.type",
        "columns.label.values",
        "slices",
        "source.content",
        "source.format",
        "source.with",
        "split.groupBy",
        "split.seed",
        "split.test",
        "split.train",
        "split.validation",
        "steps",
    }


@pytest.mark.parametrize(
    "named",
    [
        ("train.csv", "val.csv", "test.csv"),
        ("train/1.csv", "valid/1.csv", "test/1.csv"),
        ("TRAIN_1.csv", "dev-2.csv", "testing.csv"),
    ],
)
def test_tables_named_after_splits_are_the_splits(tmp_path: Path, named: tuple[str, str, str]) -> None:
    wanted = tables(tmp_path)
    for start, name in zip((0, 100, 200), named, strict=True):
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_text(
            "x,label\n" + "".join(f"{start + n},{'ab'[n % 2]}\n" for n in range(20 if start == 0 else 6))
        )
    built = run_dataset(tmp_path, wanted)
    assert built.facts.rows == {"train": 20, "validation": 6, "test": 6}
    assert load_split(built.files, built.facts, "test").features.min() == 200
    assert built.facts.notices[0].startswith("the names of 3 tables give the splits; ")
    merged = run_dataset(
        tmp_path, {**wanted, "source": {**wanted["source"], "with": {"layout": "merged"}}}, workdir="m"
    )
    assert merged.facts.rows["train"] < 27 and merged.facts.notices is None


def test_parquet_files_in_parts_name_their_split(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for part in ("train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001"):
        rows = {"x": [float(sum(part.encode()) * 10 + n) for n in range(40)], "label": ["a", "b"] * 20}
        pq.write_table(pa.table(rows), tmp_path / f"data/{part}.parquet")
    columns = {"x": {"type": "number"}, "label": {"type": "category"}}
    built = run_dataset(tmp_path, spec(source={"uri": "data", "format": "parquet"}, columns=columns))
    assert built.facts.rows["test"] == 40 and built.facts.rows["train"] + built.facts.rows["validation"] == 80
    assert built.facts.rows["validation"] > 0


def test_tables_beside_splits_are_refused_and_other_names_are_none(tmp_path: Path) -> None:
    wanted = tables(tmp_path, train_csv=ROWS, test_csv=ROWS, sample_csv=ROWS)
    with pytest.raises(StepFailed, match=r"(?s)the tables test.csv, train.csv look like splits.*: sample.csv.*merged"):
        run_dataset(tmp_path, wanted)
    with pytest.raises(StepFailed, match="layout is auto or merged, not 'labels'"):
        run_dataset(tmp_path, {**wanted, "source": {**wanted["source"], "with": {"layout": "labels"}}})
    other = tables(
        tmp_path / "other", trainer_csv=ROWS, tests_csv=ROWS.replace(".5", ".25"), train_csv="x,label\n7,a\n"
    )
    assert run_dataset(tmp_path / "other", other).facts.notices is None
