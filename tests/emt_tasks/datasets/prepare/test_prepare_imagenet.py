"""ImageNet's validation images, flat and by class, and miniImageNet."""

from __future__ import annotations

import io
import shutil

import numpy as np
import pytest
from scipy.io import savemat

from emt_core.errors import UserError
from emt_tasks.datasets import vocabularies
from tests.support.copies import load, prepare, rows, write_image, write_tar

# Validation image number → wnid; the classes are tench (0), goldfish (1) and great white shark (2).
WNIDS = {1: "n01484850", 2: "n01440764", 3: "n01443537", 4: "n01440764"}
LABELS = [2, 0, 1, 0]


def name(number, ending=".JPEG"):
    return f"ILSVRC2012_val_{number:08d}{ending}"


def flat(folder, ending=lambda _wnid: ".JPEG"):
    return [write_image(folder / name(number, ending(wnid)), number, kind="JPEG") for number, wnid in WNIDS.items()]


def by_class(folder):
    return [write_image(folder / wnid / name(number), number, kind="JPEG") for number, wnid in WNIDS.items()]


def devkit():
    """The kit's files. Its ids follow neither the order of the wnids nor the rows of meta.mat."""
    ids = {3: "n01440764", 1: "n01484850", 2: "n01443537", 1001: "n00001740"}
    fields = [("ILSVRC2012_ID", object), ("WNID", object), ("words", object), ("num_children", object)]
    synsets = np.zeros((len(ids), 1), dtype=fields)
    for row, (number, wnid) in enumerate(ids.items()):
        synsets[row, 0] = (number, wnid, "some, words", int(number > 1000))
    meta = io.BytesIO()
    savemat(meta, {"synsets": synsets})
    # 1 is the shark, 3 the tench, 2 the goldfish.
    return {"data/meta.mat": meta.getvalue(), "data/ILSVRC2012_validation_ground_truth.txt": b"1\n3\n2\n3\n"}


def write_devkit(folder):
    for file, data in devkit().items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(data)


def write_solution(path):
    boxes = "".join(f"{name(number, '')},{wnid} 1 2 3 4 {wnid} 5 6 7 8 \n" for number, wnid in reversed(WNIDS.items()))
    path.write_text("ImageId,PredictionString\n" + boxes)


@pytest.mark.parametrize("folder", ["", "val", "ILSVRC/Data/CLS-LOC/val"])
def test_wnid_folders(tmp_path, folder):
    kept = by_class(tmp_path / "source" / folder)
    files, said = prepare("imagenet1k", tmp_path / "source", tmp_path / "data")
    assert "recognised 3 wnid folders" in said
    assert [file.name for file in files] == ["validation.parquet"]
    stored = rows(files[0])
    assert [row["label"] for row in stored] == LABELS
    assert [row["image"] for row in stored] == [
        {"bytes": data, "path": name(number)} for data, number in zip(kept, WNIDS, strict=True)
    ]


def test_the_training_images_beside_them_are_left_alone(tmp_path):
    by_class(tmp_path / "val")
    write_image(tmp_path / "train" / "n01440764" / "n01440764_10026.JPEG")
    files, _ = prepare("imagenet1k", tmp_path, tmp_path / "data")
    assert len(rows(files[0])) == 4


def test_training_images_are_refused(tmp_path):
    write_image(tmp_path / "n01440764" / "n01440764_10026.JPEG")
    with pytest.raises(UserError, match=r"n01440764_10026.JPEG: named like a training image"):
        prepare("imagenet1k", tmp_path, tmp_path / "data")


def test_every_source_of_labels_gives_the_same_file(tmp_path):
    for source in ("folder", "archive", "kaggle", "classes"):
        (by_class if source == "classes" else flat)(tmp_path / source / "val")
    write_devkit(tmp_path / "folder" / "ILSVRC2012_devkit_t12")
    archive = {f"ILSVRC2012_devkit_t12/{file}": data for file, data in devkit().items()}
    write_tar(tmp_path / "archive" / "ILSVRC2012_devkit_t12.tar.gz", archive)
    write_solution(tmp_path / "kaggle" / "LOC_val_solution.csv")
    written = []
    for source in ("classes", "folder", "archive", "kaggle"):
        files, _ = prepare("imagenet1k", tmp_path / source, tmp_path / "data" / source)
        written.append(files[0].read_bytes())
    assert [row["label"] for row in rows(files[0])] == LABELS
    assert len(set(written)) == 1


@pytest.mark.parametrize("place", ["", "data", "data/ILSVRC2012_validation_ground_truth.txt"])
def test_labels_from_elsewhere(tmp_path, place):
    flat(tmp_path / "images")
    write_devkit(tmp_path / "kit")
    annotations = tmp_path / "kit" / place
    files, _ = prepare("imagenet1k", tmp_path / "images", tmp_path / "data", annotations=annotations)
    assert [row["label"] for row in rows(files[0])] == LABELS


def test_the_hubs_archive_has_the_wnid_in_each_name(tmp_path):
    flat(tmp_path / "source", lambda wnid: f"_{wnid}.JPEG")
    files, _ = prepare("imagenet1k", tmp_path / "source", tmp_path / "data")
    assert [row["label"] for row in rows(files[0])] == LABELS


def test_it_loads_as_pictures(tmp_path):
    by_class(tmp_path / "val")
    files, _ = prepare("imagenet1k", tmp_path, tmp_path / "data")
    dataset = load(files[0])
    assert dataset["label"] == LABELS
    assert dataset[0]["image"].size == (8, 6)


def test_flat_images_without_labels(tmp_path):
    flat(tmp_path / "val")
    with pytest.raises(UserError, match=r"val: no labels for these images; expected ILSVRC2012_devkit_t12"):
        prepare("imagenet1k", tmp_path, tmp_path / "data")


def _half_a_kit(folder):
    (folder / "devkit" / "data" / "meta.mat").unlink()


def _no_matlab(folder):
    (folder / "devkit" / "data" / "meta.mat").write_bytes(b"nothing of the kind" * 20)


def _other_matlab(folder):
    savemat(folder / "devkit" / "data" / "meta.mat", {"weights": np.zeros(3)})


def _unknown_id(folder):
    (folder / "devkit" / "data" / "ILSVRC2012_validation_ground_truth.txt").write_text("1\n3\n77\n3\n")


def _too_short(folder):
    (folder / "devkit" / "data" / "ILSVRC2012_validation_ground_truth.txt").write_text("1\n3\n2\n")


def _inner_node(folder):
    (folder / "devkit" / "data" / "ILSVRC2012_validation_ground_truth.txt").write_text("1\n3\n2\n1001\n")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_half_a_kit, r"devkit: no meta.mat found"),
        (_no_matlab, r"meta.mat: expected a MATLAB file"),
        (_other_matlab, r"meta.mat: expected a variable 'synsets', found weights"),
        (_unknown_id, r"ground_truth.txt, line 3: expected an id of meta.mat, found '77'"),
        (_too_short, r"no label for ILSVRC2012_val_00000004.JPEG; it has 3 labels"),
        (_inner_node, r"n00001740 is not one of ImageNet-1k's 1,000 wnids"),
    ],
)
def test_damaged_kits(tmp_path, damage, message):
    flat(tmp_path / "val")
    write_devkit(tmp_path / "devkit")
    damage(tmp_path)
    with pytest.raises(UserError, match=message):
        prepare("imagenet1k", tmp_path, tmp_path / "data")


def test_another_csv(tmp_path):
    flat(tmp_path)
    (tmp_path / "LOC_val_solution.csv").write_text("id,class\n1,tench\n")
    with pytest.raises(UserError, match=r"expected the columns ImageId and PredictionString, found \['id', 'class'\]"):
        prepare("imagenet1k", tmp_path, tmp_path / "data")


def test_a_folder_half_sorted_into_classes_is_refused(tmp_path):
    flat(tmp_path / "val")
    by_class(tmp_path / "val")
    with pytest.raises(UserError, match=r"contains 3 wnid folders in .* and 4 validation images in"):
        prepare("imagenet1k", tmp_path, tmp_path / "data")


@pytest.mark.parametrize("form", ["wnid", "name", "folder name"])
def test_mini_imagenet(tmp_path, form):
    labels = vocabularies.load("miniimagenet").labels
    for label in labels[:3]:
        folder = {"wnid": label.wnid, "name": label.name, "folder name": label.name.replace(" ", "_")}[form]
        write_image(tmp_path / "train" / folder / "a.jpg", label.index)
        write_image(tmp_path / "val" / folder / "a.JPEG", label.index, kind="JPEG")
    files, _ = prepare("miniimagenet", tmp_path, tmp_path / "data")
    assert [file.name for file in files] == ["train.parquet", "validation.parquet"]
    dataset = load(files[1])
    assert dataset["label"] == [0, 1, 2]
    assert dataset.features["label"].names == [label.wnid for label in labels]


def test_mini_imagenet_of_other_classes(tmp_path):
    write_image(tmp_path / "train" / "n01532829" / "a.jpg")
    write_image(tmp_path / "train" / "n01440764" / "a.jpg")
    with pytest.raises(UserError, match=r"train/n01440764: not a class of miniimagenet"):
        prepare("miniimagenet", tmp_path, tmp_path / "data")


def test_real_pictures_survive(tmp_path, real_data):
    """One real picture a class, laid out flat with Kaggle's labels, comes back byte for byte with the same label."""
    wnids = [label.wnid for label in vocabularies.load("imagenet1k").labels]
    given = rows(real_data / "imagenet1k" / "validation.parquet")
    lines = ["ImageId,PredictionString"]
    for number, row in enumerate(given, start=1):
        (tmp_path / name(number)).write_bytes(row["image"]["bytes"])
        lines.append(f"{name(number, '')},{wnids[row['label']]} 0 0 1 1")
    (tmp_path / "LOC_val_solution.csv").write_text("\n".join(lines))
    files, _ = prepare("imagenet1k", tmp_path, tmp_path / "data")
    stored = rows(files[0])
    assert [row["label"] for row in stored] == [row["label"] for row in given]
    assert [row["image"]["bytes"] for row in stored] == [row["image"]["bytes"] for row in given]
    shutil.rmtree(tmp_path / "data")
