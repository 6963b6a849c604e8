"""``thalweg dictionary --filters`` and ``encode`` over its file: images in, files and pages out."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from thalweg.records_filters import FiltersReport
from thalweg.report.embed import unpack
from thalweg.sparse.convolution import ConvDictionary, Filters, certify_images
from thalweg.sparse.convolution.preparation import Preparation
from thalweg.sparse.reading import read_source


@pytest.fixture
def command(thalweg):
    """Run a command line of strings, numbers and paths: (exit code, standard output, error)."""

    def run(*words):
        ended = thalweg(*(str(word) for word in words))
        return ended.code, ended.out, ended.err

    return run


@pytest.fixture
def photos(tmp_path):
    """Two grey pictures of different sizes."""
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, shape in (("a.png", (30, 40)), ("b.png", (36, 28))):
        noise = gaussian_filter(rng.standard_normal(shape), 1.2)
        values = 127 + 50 * noise / noise.std()
        Image.fromarray(values.clip(0, 255).astype(np.uint8)).save(folder / name)
    return folder


WORDS = ("--filters", 5, "--size", 4, "--steps", 12, "--l1", 0.8)


def test_pictures_become_filters_and_certified_code_maps(command, photos, tmp_path):
    out, codes = tmp_path / "f.safetensors", tmp_path / "c.npz"
    code, said, _ = command("dictionary", photos, *WORDS, "--out", out)
    assert code == 0
    assert "5 filters of 4 x 4 pixels explain" in said
    filters = Filters.load(out)
    assert filters.W.shape == (5, 1, 4, 4)
    assert (filters.l1, filters.steps, filters.preparation) == (0.8, 12, Preparation("contrast"))
    code, said, _ = command("encode", photos, "--dictionary", out, "--out", codes, "--tol", 1e-5)
    assert code == 0
    assert "2 of 2 images are coded within 1e-5 of their optimum" in said
    images = read_source([str(photos)]).images
    with np.load(codes) as file:
        assert file["shapes"].tolist() == [[5, 27, 37], [5, 33, 25]]
        for i, image in enumerate(images):
            z = np.zeros(file["shapes"][i])
            mine = file["index"][:, 0] == i
            z[tuple(file["index"][mine, 1:].T)] = file["value"][mine]
            judged = certify_images(filters.preparation.apply(image), filters.W, z[None], 0.8)
            assert judged.gap[0] <= 1e-5
            assert file["energy"][i] == pytest.approx(judged.energy[0], rel=1e-12)


def test_json_is_one_record_and_pages_carry_it(command, photos, tmp_path):
    out, page = tmp_path / "f", tmp_path / "f.html"
    words = ("dictionary", photos, *WORDS, "--out", out, "--report", page, "--json")
    code, said, _ = command(*words, "--penalty", "non-negative", "--prepare", "both")
    record = FiltersReport.from_dict(json.loads(said))
    assert code == 0
    assert record.non_negative
    assert record.preparation.startswith("whitened")
    assert record.images == ("a", "b")
    assert record.pixels == 30 * 40 + 36 * 28
    assert sum(record.use) == pytest.approx(1)
    assert list(record.use) == sorted(record.use, reverse=True)
    assert 0 < record.explained < 1
    assert unpack(page.read_text()) == [record]
    # a sheet, three pictures of each image, and a part for each filter
    assert page.read_text().count('<img src="data:image/png;base64,') == 1 + 6 + 5
    again = tmp_path / "again.html"
    assert command("report", page, "--out", again)[0] == 0
    assert unpack(again.read_text()) == [record]


def test_explained_share_is_that_of_the_codes(command, photos, tmp_path):
    import torch

    out = tmp_path / "f"
    command("dictionary", photos, *WORDS, "--out", out, "--quiet")
    codes = tmp_path / "c.npz"
    _, said, _ = command("encode", photos / "a.png", "--dictionary", out, "--json", "--out", codes)
    record = FiltersReport.from_dict(json.loads(said))
    filters = Filters.load(out)
    image = filters.preparation.apply(read_source([str(photos / "a.png")]).images[0])
    with np.load(codes) as file:
        z = np.zeros(file["shapes"][0])
        z[tuple(file["index"][:, 1:].T)] = file["value"]
    back = ConvDictionary(torch.from_numpy(filters.W), (30, 40)).decode(torch.from_numpy(z)[None])
    rest = image - back[0, 0].numpy()
    assert record.explained == pytest.approx(1 - (rest**2).sum() / (image**2).sum(), rel=1e-9)
    assert record.coefficients == np.count_nonzero(z)
    assert record.share == pytest.approx(np.count_nonzero(z) / z.size)


def test_same_seed_same_file_and_learning_goes_on_in_a_run_directory(command, photos, tmp_path):
    words = ("dictionary", photos, *WORDS, "--quiet", "--run", tmp_path / "run")
    for name in "ab":
        assert command(*words, "--out", tmp_path / name)[0] == 0
    command("dictionary", photos, *WORDS, "--quiet", "--seed", 1, "--out", tmp_path / "c")
    a, b, c = (Filters.load(tmp_path / name).W for name in "abc")
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


BAD = [
    (("--filters", 3, "--atoms", 5), "--atoms and --filters do not go together"),
    (("--filters", 3, "--patch", 5, "--center"), "--patch, --center and --filters"),
    (("--size", 5), "--size and no --filters do not go together; give --filters too"),
    (("--filters", 3, "--size", 29), "smaller than a filter of 29 x 29"),
    (("--filters", 3, "--prepare", "zca"), "kind must be one of"),
    (("--filters", 3, "--penalty", "group"), "take the penalty l1 or non-negative"),
    (("--filters", 3, "--l1", 0), "--l1 0.0: expected"),
]


@pytest.mark.parametrize(("words", "message"), BAD, ids=[message for _, message in BAD])
def test_bad_options_are_one_line_and_exit_code_2(command, photos, tmp_path, words, message):
    code, said, line = command("dictionary", photos, *words, "--out", tmp_path / "f", "--quiet")
    assert (code, said) == (2, "")
    assert message in line
    assert line.count("\n") == 1


def test_filters_want_images_and_codes_want_no_stride(command, photos, tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).standard_normal((20, 9, 9, 9)))
    code, _, line = command("dictionary", tmp_path / "x.npy", *WORDS, "--out", tmp_path / "f")
    assert code == 2
    assert line.count("\n") == 1
    out = tmp_path / "f"
    assert command("dictionary", photos, *WORDS, "--out", out)[0] == 0
    code, _, line = command("encode", photos, "--dictionary", out, "--stride", 2)
    assert code == 2
    assert "--stride is for patches" in line
    code, _, line = command("encode", photos, "--dictionary", out, "--solver", "fista")
    assert code == 2
    assert "unknown solver 'fista'" in line
