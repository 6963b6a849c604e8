"""``thalweg dictionary`` and ``thalweg encode``: files in, files out, and clear refusals."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from thalweg.records import CodesReport
from thalweg.report.embed import unpack
from thalweg.report.page import render
from thalweg.report.sections.codes import image
from thalweg.sparse import encode, learn_dictionary
from thalweg.sparse.patches import Preprocessing, from_grid
from thalweg.sparse.reading import builtin, read_source
from thalweg.sparse.storage import Dictionary
from thalweg.sparse.summary import mosaic, picture, summarise


@pytest.fixture
def command(thalweg):
    """Run a command line of strings, numbers and paths: (exit code, standard output, error)."""

    def run(*words):
        ended = thalweg(*(str(word) for word in words))
        return ended.code, ended.out, ended.err

    return run


@pytest.fixture
def signals(tmp_path):
    """A file of signals: sparse mixtures of 12 atoms in 8 dimensions."""
    rng = np.random.default_rng(0)
    D = rng.standard_normal((8, 12))
    D /= np.linalg.norm(D, axis=0)
    X = (rng.standard_normal((300, 12)) * (rng.random((300, 12)) < 0.2)) @ D.T
    path = tmp_path / "x.npy"
    np.save(path, X)
    return path, X


@pytest.fixture
def learned(signals, tmp_path):
    """A dictionary file for those signals."""
    return learn_dictionary(signals[1], 12, 0.1, passes=2, batch_size=100).save(tmp_path / "d.st")


@pytest.fixture
def photo(tmp_path):
    """A grey picture of 30 x 40 pixels with some structure."""
    row, column = np.mgrid[:30, :40]
    values = 127 + 60 * np.sin(row / 3.0) + 60 * np.cos((row + column) / 4.0)
    path = tmp_path / "photo.png"
    Image.fromarray(values.astype(np.uint8)).save(path)
    return path


def test_refitted_codes_are_least_squares_and_the_page_says_so(command, signals, learned, tmp_path):
    codes, page = tmp_path / "c.npz", tmp_path / "c.html"
    words = ("encode", signals[0], "--dictionary", learned, "--refit", "--out", codes)
    assert command(*words, "--report", page)[0] == 0
    D = Dictionary.load(learned).D
    with np.load(codes) as file:
        for x, z in list(zip(signals[1], file["codes"], strict=True))[:20]:
            on = z != 0
            best = np.linalg.lstsq(D[:, on], x, rcond=None)[0]
            np.testing.assert_allclose(z[on], best, atol=1e-9)
        assert file["gap"].max() <= 1e-6
    [record] = unpack(page.read_text())
    assert "least squares" in record.notes[0]
    plain = json.loads(command("encode", signals[0], "--dictionary", learned, "--json")[1])
    assert record.explained > plain["explained"]


def test_signals_become_a_dictionary_and_codes_that_certify_themselves(command, signals, tmp_path):
    path, X = signals
    out = tmp_path / "d.safetensors"
    code, said, _ = command("dictionary", path, "--atoms", 12, "--out", out, "--l1", 0.2)
    assert code == 0
    assert "12 atoms" in said
    dictionary = Dictionary.load(out)
    assert (dictionary.D.shape, dictionary.l1) == ((8, 12), 0.2)
    codes = tmp_path / "c.npz"
    code, said, _ = command("encode", path, "--dictionary", out, "--out", codes)
    assert code == 0
    assert "300 of 300 codes within 1e-6 of their optimum" in said
    with np.load(codes) as file:
        expected = encode(X, dictionary.D, 0.2)
        np.testing.assert_allclose(file["codes"], expected.z, atol=1e-12)
        np.testing.assert_allclose(file["energy"], expected.energy, atol=1e-12)
        assert file["gap"].max() <= 1e-6
        assert float(file["l1"]) == 0.2


def test_same_seed_same_file_other_seed_other_file(command, signals, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        command("dictionary", signals[0], "--atoms", 5, "--seed", seed, "--out", tmp_path / name)
    a, b, c = (Dictionary.load(tmp_path / name).D for name in "abc")
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


def test_an_image_can_be_rebuilt_from_what_encode_writes(command, photo, tmp_path):
    out, codes = tmp_path / "d", tmp_path / "c.npz"
    command("dictionary", photo, "--atoms", 20, "--patch", 6, "--out", out)
    preparation = Dictionary.load(out).preprocessing
    assert preparation == Preprocessing((6, 6), True, "unit")
    code, _, _ = command(
        "encode", photo, "--dictionary", out, "--l1", 1e-4, "--stride", 4, "--out", codes
    )
    assert code == 0
    with np.load(codes) as file:
        Y = file["codes"] @ Dictionary.load(out).D.T
        patches = preparation.undo(Y, file["mean"][:, None], file["norm"][:, None])
        found = from_grid(patches, tuple(file["shapes"][0]), 6, int(file["stride"]))
    # a smooth picture over 20 atoms: measured 0.003
    assert np.abs(found - read_source([str(photo)]).images[0]).mean() < 0.01


def test_json_is_one_record_and_pages_carry_it(command, photo, signals, tmp_path):
    out, page = tmp_path / "d", tmp_path / "d.html"
    code, said, _ = command(
        "dictionary", photo, "--atoms", 9, "--patch", 5, "--out", out, "--report", page, "--json"
    )
    record = CodesReport.from_dict(json.loads(said))
    assert code == 0
    assert (record.kind, record.atoms, record.inputs) == ("dictionary", 9, 25)
    assert record.mosaic is not None
    assert (record.mosaic.width, record.mosaic.height) == (19, 19)  # 3 x 3 tiles of 5, borders of 1
    assert len(record.examples) == 3
    assert unpack(page.read_text()) == [record]
    assert page.read_text().count('<img src="data:image/png;base64,') == 4


def test_a_report_of_codes_shows_gaps_and_convergence(command, signals, learned, tmp_path):
    page = tmp_path / "e.html"
    command("encode", signals[0], "--dictionary", learned, "--report", page)
    (record,) = unpack(page.read_text())
    assert isinstance(record, CodesReport)
    assert sum(record.activity) == sum(record.gap_counts) == record.samples == 300
    assert record.iterations[:3] == (1, 2, 4)
    assert record.solver_gaps["fista"][-1] <= record.solver_gaps["ista"][-1]
    assert record.mosaic is None


def test_thalweg_report_draws_the_page_again(command, signals, learned, tmp_path):
    page, again = tmp_path / "e.html", tmp_path / "again.html"
    command("encode", signals[0], "--dictionary", learned, "--report", page)
    assert command("report", page, "--out", again)[0] == 0
    assert unpack(again.read_text()) == unpack(page.read_text())


def test_hostile_names_stay_text(signals, learned):
    X, D = signals[1], Dictionary.load(learned)
    attack = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
    evil = picture(attack, np.eye(3))
    record = summarise("codes", attack, X, D, encode(X, D.D, 0.1), 0.1, examples=(evil,),
                       notes=(attack,), command=attack)  # fmt: skip
    page = render([record])
    assert attack not in page
    assert "<img src=x" not in page


def test_learning_goes_on_in_a_run_directory(command, signals, tmp_path):
    words = ("dictionary", signals[0], "--atoms", 5, "--run", tmp_path / "run")
    assert command(*words, "--out", tmp_path / "a")[0] == 0
    assert command(*words, "--out", tmp_path / "b")[0] == 0
    assert np.array_equal(Dictionary.load(tmp_path / "a").D, Dictionary.load(tmp_path / "b").D)
    code, _, said = command(*words, "--seed", 3, "--out", tmp_path / "c")
    assert code == 2
    assert "belongs to other work" in said


def test_builtin_digits_are_coded_whole(command, tmp_path):
    code, said, _ = command(
        "dictionary", "--builtin", "digits", "--atoms", 16, "--passes", 0.5, "--json",
        "--penalty", "non-negative", "--out", tmp_path / "d",
    )  # fmt: skip
    record = CodesReport.from_dict(json.loads(said))
    assert code == 0
    assert (record.inputs, record.penalty, record.source) == (64, "non-negative", "digits")
    assert record.mosaic is not None
    assert [(p.width, p.height) for p in record.examples] == [(73, 73)] * 3  # 8 x 8 tiles


def test_builtin_photographs_are_two_grey_images():
    found = builtin("photographs")
    assert found.names == ("china", "flower")
    assert [image.shape for image in found.images] == [(427, 640)] * 2
    assert all(0 <= image.min() < image.max() <= 1 for image in found.images)


def test_folders_globs_colour_jpeg_and_npz_are_read(photo, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("b.jpg", "a.png"):
        Image.fromarray(np.full((12, 14, 3), (255, 0, 0), np.uint8)).save(folder / name)
    (folder / "notes.txt").write_text("no picture")
    for path in (folder, folder / "*.[jp][pn]g"):
        found = read_source([str(path)])
        assert found.names == ("a", "b")
        assert found.images[0].shape == (12, 14)
        assert found.images[0][0, 0] == pytest.approx(0.299)
    np.savez(tmp_path / "z.npz", one=np.zeros((4, 3)), two=np.zeros((2, 9, 8), np.uint8))
    signals = read_source([f"{tmp_path / 'z.npz'}:one"]).signals
    assert signals is not None
    assert signals.shape == (4, 3)
    assert len(read_source([f"{tmp_path / 'z.npz'}:two"]).images) == 2
    np.save(tmp_path / "flat.npy", np.zeros((9, 8)))
    assert read_source([str(tmp_path / "flat.npy")], as_images=True).images[0].shape == (9, 8)


def bad(tmp_path):
    np.save(tmp_path / "nan.npy", np.full((5, 8), np.nan))
    np.save(tmp_path / "words.npy", np.array([["a", "b"]]))
    np.save(tmp_path / "objects.npy", np.array([[{}]]), allow_pickle=True)
    np.save(tmp_path / "long.npy", np.zeros((5, 9)))
    np.savez(tmp_path / "two.npz", a=np.zeros((2, 2)), b=np.zeros((2, 2)))
    (tmp_path / "broken.png").write_bytes(b"\x89PNG nothing")
    (tmp_path / "broken.npy").write_bytes(b"nothing")
    (tmp_path / "text.csv").write_text("1,2")
    (tmp_path / "empty").mkdir()
    return tmp_path


BAD = [
    (("dictionary", "{}/none.npy"), "there is no file"),
    (("dictionary", "{}/none.png"), "there is no file"),
    (("dictionary", "{}/*.tiff"), "no file matches"),
    (("dictionary", "{}/empty"), "holds no picture"),
    (("dictionary", "{}/nan.npy"), "NaN or infinite"),
    (("dictionary", "{}/words.npy"), "real numbers are needed"),
    (("dictionary", "{}/objects.npy"), "not a readable array"),
    (("dictionary", "{}/broken.npy"), "not a readable array"),
    (("dictionary", "{}/broken.png"), "not a readable picture"),
    (("dictionary", "{}/text.csv"), "cannot read this kind of file"),
    (("dictionary", "{}/two.npz"), "holds 2 arrays; name one of a, b"),
    (("dictionary", "{}/two.npz:c"), "has no array 'c'"),
    (("dictionary", "{}/long.npy", "{}/nan.npy"), "give one array or any number of pictures"),
    (("dictionary", "{}/photo.png", "--patch", "99"), "no image is as large"),
    (("dictionary", "{}/x.npy", "--l1", "0"), "--l1 0.0: expected"),
    (("dictionary", "{}/x.npy", "--passes", "-1"), "--passes -1.0: expected"),
    (("dictionary", "{}/x.npy", "--scale", "max"), "scale must be one of"),
    (("dictionary", "{}/x.npy", "--penalty", "l7"), "l7"),
    (("dictionary", "{}/x.npy", "--penalty", "group"), "from Python"),
    (("dictionary", "{}/x.npy", "--builtin", "digits"), "choose one"),
    (("dictionary", "--builtin", "letters"), "no built-in signals"),
    (("dictionary", "{}/x.npy", "--out", "{}/nowhere/d"), "does not exist"),
    (("dictionary", "{}/x.npy", "--out", "{}/empty"), "is a folder"),
    (("encode", "{}/x.npy"), "no dictionary was given"),
    (("encode", "{}/x.npy", "--dictionary", "{}/none"), "no dictionary file"),
    (("encode", "{}/x.npy", "--dictionary", "{}/text.csv"), "not a readable dictionary"),
    (("encode", "{}/long.npy", "--dictionary", "{}/d.st"), "length 9, the dictionary is for"),
    (("encode", "{}/photo.png", "--dictionary", "{}/d.st"), "learned from plain signals"),
    (("encode", "{}/x.npy", "--dictionary", "{}/d.st", "--tol", "0"), "--tol 0.0: expected"),
    (("encode", "{}/x.npy", "--dictionary", "{}/d.st", "--stride", "2"), "--stride needs images"),
    (("encode", "{}/x.npy", "--dictionary", "{}/d.st", "--solver", "best"), "unknown solver"),
    (("encode", "{}/x.npy", "--dictionary", "{}/d.st", "--device", "gpu9"), "--device gpu9"),
]


@pytest.mark.parametrize(("words", "message"), BAD, ids=[" ".join(w) for w, _ in BAD])
def test_bad_input_is_one_line_and_exit_code_2(
    command, tmp_path, signals, learned, photo, words, message
):
    folder = bad(tmp_path)
    code, said, line = command(*(word.format(folder) for word in words), "--quiet")
    assert code == 2
    assert said == ""
    assert message in line
    assert line.startswith("thalweg: ")
    assert line.count("\n") == 1


def test_asking_for_help_imports_no_torch():
    script = (
        "import sys\nfrom thalweg.cli import main\n"
        "try:\n    main(['encode', '--help'])\nexcept SystemExit:\n    pass\n"
        "assert not {'torch', 'sklearn', 'numba', 'plotly'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


def test_pictures_of_a_page_are_png_files_of_the_same_pixels():
    pixels = np.random.default_rng(0).integers(0, 256, (7, 5)).astype(np.uint8)
    shown = image(picture("noise", pixels / 255), 3)
    assert (shown["width"], shown["height"], shown["crisp"]) == (15, 21, True)
    data = base64.b64decode(shown["source"].removeprefix("data:image/png;base64,"))
    with Image.open(io.BytesIO(data)) as read:
        assert np.array_equal(np.asarray(read), pixels)
    with pytest.raises(ValueError, match="needs 30 bytes, got 35"):
        image(dataclasses.replace(picture("noise", pixels / 255), width=6, height=5), 1)


def test_atoms_stand_in_the_mosaic_in_the_order_of_their_use():
    D = np.zeros((4, 3))
    D[0, 0] = D[1, 1] = D[3, 2] = 1.0
    sheet = mosaic(Dictionary(D, 0.1, Preprocessing((2, 2))), np.array([0.1, 0.9, 0.5]))
    assert sheet is not None
    pixels = np.frombuffer(base64.b64decode(sheet.pixels), np.uint8)
    tiles = pixels.reshape(sheet.height, sheet.width)[1:, 1:]  # after the border
    assert tiles[0, 1] == 255  # atom 1, most used, has its entry at the upper right
    assert tiles[1, 4] == 255  # atom 2 at the lower right
    assert tiles[3, 0] == 255  # atom 0 at the upper left
    assert tiles[0, 0] == tiles[1, 1] == 128
