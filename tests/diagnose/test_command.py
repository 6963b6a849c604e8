"""``thalweg diagnose``: exit codes, JSON, and a cured task that is a task."""

import json
import textwrap

import pytest

import thalweg as tw
from thalweg.cli import main as command

FILE = """
    import torch, torch.nn.functional as F
    from torch import nn
    import thalweg as tw
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    x = torch.tensor(x, dtype=torch.float32) / 16 - 0.3
    y = torch.tensor(y)


    def net():
        return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


    def made(**recipe):
        return tw.Task("mine", net, F.cross_entropy, train=(x[::2], y[::2]),
                       held_out=(x[1::2], y[1::2]),
                       recipe=tw.Recipe(optimizer="adam", batch_size=32, epochs=4, **recipe))


    task = made(lr=1e-7 if SICK else 0.005)
"""


def main(words):
    with pytest.raises(SystemExit) as ended:
        command(words)
    return ended.value.code


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, sick in (("sick", True), ("sound", False)):
        text = textwrap.dedent(FILE).replace("SICK", str(sick))
        (tmp_path / f"{name}.py").write_text(text)
    return tmp_path


def test_an_error_ends_in_1_and_its_cure_is_a_task_that_is_sound(folder, capsys):
    code = main(["diagnose", "sick.py:task", "--cure", "--json", "--evaluations", "100",
                 "--run", "seen", "--seconds", "120"])  # fmt: skip
    found = json.loads(capsys.readouterr().out)
    assert code == 1
    assert found["findings"][0]["code"] == "lr-too-low"
    cured = tw.load_task(f"{folder / 'seen' / 'cured.py'}:task")
    assert (folder / "seen" / "report.html").exists()
    assert "learning rate" in (folder / "seen" / "cured.py").read_text()
    again = tw.diagnose(cured, evaluations=100, seconds=60)
    assert "lr-too-low" not in again.codes


def test_a_sound_task_ends_in_0_and_is_told_so(folder, capsys):
    code = main(["diagnose", "sound.py:task", "--evaluations", "100", "--run", "seen"])
    assert code == 0
    assert "nothing limits this training that we can measure" in capsys.readouterr().out.lower()
    assert not (folder / "seen" / "cured.py").exists()


@pytest.mark.parametrize("words", [["nothing.py:task"], ["sound.py:none"]])
def test_what_cannot_be_loaded_ends_in_2(words, folder, capsys):
    assert main(["diagnose", *words]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_a_folder_of_another_run_is_not_overwritten(folder, capsys):
    (folder / "seen").mkdir()
    (folder / "seen" / "run.json").write_text("{}")
    assert main(["diagnose", "sound.py:task", "--run", "seen"]) == 2
    assert "another" in capsys.readouterr().err
