"""Images of a folder or archive, without a study that says what they are."""

import numpy as np
import pytest
from PIL import Image

from dds.data.pictures import read_pictures

NAMES = ["cat/a.png", "cat/b.png", "dog/a.png", "emu/c.png"]


def save(folder, names, size=(8, 6)):
    for level, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (level, 0, 0)).save(path)
    return folder


@pytest.fixture
def pets(tmp_path):
    return save(tmp_path / "pets", NAMES)


def test_folders_are_classes_and_images_keep_their_size(pets):
    pictures = read_pictures(pets)
    assert pictures.images.shape == (4, 3, 6, 8)
    assert pictures.images[:, 0, 0, 0].tolist() == [0, 1, 2, 3]
    assert (pictures.names, pictures.numbers) == (NAMES, [0, 1, 2, 3])
    assert pictures.labels() == [0, 0, 1, 2]
    assert pictures.labels(["emu", "gnu", "dog", "cat"]) == [3, 3, 2, 0]
    with pytest.raises(ValueError, match="folder emu is no class; the 2 classes are cat, dog"):
        pictures.labels(["cat", "dog"])


def test_a_name_of_two_classes_names_no_folder(pets):
    pictures = read_pictures(pets)
    with pytest.raises(ValueError, match="folder dog has the name of classes 0 and 2"):
        pictures.labels(["dog", "cat", "dog", "emu"])
    assert pictures.labels(["gnu", "cat", "gnu", "emu", "dog"]) == [1, 1, 4, 3]


def test_numbers_that_sort_otherwise_as_text_are_classes_in_no_order(tmp_path):
    numbers = [f"{number}/a.png" for number in range(11)]
    pictures = read_pictures(save(tmp_path / "numbers", numbers))
    with pytest.raises(ValueError, match="these, 0, 1, 2, 3, 4, ..., or of their names, 0, 1, 10"):
        pictures.labels()
    assert pictures.labels(list(map(str, range(11)))) == [0, 1, 10, *range(2, 10)]
    padded = [f"{number:02d}/a.png" for number in range(11)]
    assert read_pictures(save(tmp_path / "padded", padded)).labels() == list(range(11))


def test_images_keep_their_numbers_whichever_are_chosen(pets):
    assert read_pictures(pets, every=2).numbers == [0, 2]
    some = read_pictures(pets, images=2, seed=3)
    assert some.names == [NAMES[number] for number in some.numbers]
    assert some.all_folders == ["cat", "dog", "emu"]  # also of those that were not chosen
    assert {tuple(read_pictures(pets, images=2, seed=s).numbers) for s in range(8)} != {(0, 1)}
    with pytest.raises(ValueError, match="has 4 images, fewer than the 5 asked for"):
        read_pictures(pets, images=5)


def test_resizing_is_that_of_data_sources(pets, tmp_path):
    from dds.data.archives import open_archive
    from dds.data.images import read_images

    ramp = np.arange(40 * 60, dtype=np.uint32).reshape(40, 60) % 256
    Image.fromarray(ramp.astype(np.uint8)).save(tmp_path / "pets/cat/a.png")
    mine = read_pictures(pets, size=6, resize=7)
    with open_archive(pets) as archive:
        np.testing.assert_array_equal(mine.images, read_images(archive, NAMES, 3, 7, 6))
    np.testing.assert_array_equal(
        read_pictures(pets, size=6).images, read_pictures(pets, size=6, resize=6).images
    )
    assert read_pictures(pets / "dog", resize=3).images.shape == (1, 3, 3, 4)  # all is kept
    with pytest.raises(ValueError, match=r"make them alike with size$"):
        read_pictures(pets)


def test_images_in_one_folder_have_no_labels(tmp_path):
    pictures = read_pictures(save(tmp_path / "flat", ["b.png", "a.png"]), channels=1)
    assert pictures.images.shape == (2, 1, 6, 8)
    assert (pictures.names, pictures.labels(), pictures.all_folders) == (
        ["a.png", "b.png"], None, [],
    )  # fmt: skip


def test_one_image_is_a_folder_of_one(pets):
    pictures = read_pictures(pets / "dog/a.png")
    assert (pictures.names, pictures.labels(), len(pictures.images)) == (["a.png"], None, 1)


def test_sets_of_images_are_not_mixed(tmp_path):
    two = save(tmp_path / "two", ["test/cat/a.png", "test/dog/a.png", "train/cat/a.png"])
    with pytest.raises(ValueError, match="lie in test/cat, test/dog, train/cat; .* further in"):
        read_pictures(two)
    assert read_pictures(two, inside="test").labels() == [0, 1]
    assert read_pictures(two / "test").labels() == [0, 1]
    with pytest.raises(ValueError, match="holds no images in a folder val"):
        read_pictures(two, inside="val")
    mixed = save(tmp_path / "mixed", ["a.png", "cat/b.png"])
    with pytest.raises(ValueError, match="lie in ., cat"):
        read_pictures(mixed)
    unlabelled = read_pictures(mixed, labelled=False)
    assert (unlabelled.names, unlabelled.labels()) == (["a.png", "cat/b.png"], None)
