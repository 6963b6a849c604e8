"""Bad input and accidents: one line on stderr (what, where, what to do) and the right code."""

from __future__ import annotations

import errno

import pytest

USAGE = {
    "unknown verb": (["rcae", "digits"], "no verb 'rcae'. Did you mean 'race'?"),
    "unknown option": (["race", "digits", "--lr", "1"], "--lr"),
    "missing task": (["race"], "TASK"),
    "unknown task": (["race", "digtis"], "digits"),
    "unknown optimizer": (["race", "digits", "--optimizers", "adamm"], "Did you mean 'adam'?"),
    "empty optimizer": (["race", "digits", "--optimizers", "sgd,,adam"], "empty"),
    "optimizer twice": (["race", "digits", "--optimizers", "sgd,sgd"], "sgd stands there twice"),
    "seeds zero": (["race", "digits", "--seeds", "0"], "--seeds"),
    "seeds word": (["race", "digits", "--seeds", "many"], "--seeds"),
    "seconds negative": (["race", "digits", "--seconds", "-1"], "--seconds -1"),
    "epochs nan": (["race", "digits", "--epochs", "nan"], "--epochs nan"),
    "lr word": (["race", "digits", "--lrs", "fast"], "'fast' is no number"),
    "lr negative": (["race", "digits", "--lrs=-0.1"], "above 0"),
    "lr zero": (["race", "digits", "--lrs", "0,1"], "above 0"),
    "lr inf": (["race", "digits", "--lrs", "inf"], "finite"),
    "lr twice": (["race", "digits", "--lrs", "0.1,1e-1"], "twice"),
    "lr range short": (["race", "digits", "--lrs", "1:2"], "from:to:count"),
    "lr range count": (["race", "digits", "--lrs", "1:2:1"], "count must be 2 to 200"),
    "lr range huge": (["race", "digits", "--lrs", "1:2:9999"], "count must be 2 to 200"),
    "lr range flat": (["race", "digits", "--lrs", "1:1:3"], "equal"),
    "space no value": (["race", "digits", "--space", "momentum"], "name=value"),
    "space no name": (["race", "digits", "--space", "=0.9"], "name=value"),
    "space lr": (["race", "digits", "--space", "lr=1"], "--lrs"),
    "space twice": (["race", "digits", "--space", "clip=1", "--space", "clip=2"], "given before"),
    "space bracket": (["race", "digits", "--space", "betas=(0.9,0.99"], "parentheses"),
    "space nested": (["race", "digits", "--space", "betas=((0.9))"], "parentheses"),
    "space nan": (["race", "digits", "--space", "momentum=nan"], "finite"),
    "space empty": (["race", "digits", "--space", "momentum=0.9,"], "empty"),
    "list unknown": (["list", "optimisers"], "Did you mean 'optimizers'?"),
    "report nothing": (["report"], "no run directory was given"),
    "report missing": (["report", "runs/none"], "runs/none does not exist"),
    "version with verb word": (["--wat"], "--wat"),
    "control characters": (["race", "\x1b[31mred\n\u202e"], "\\u001b"),
    "very long": (["race", "x" * 5000], "xxxx"),
}


@pytest.mark.parametrize(("words", "says"), USAGE.values(), ids=USAGE.keys())
def test_bad_input_is_one_line_and_code_two(thalweg, stage, tmp_path, words, says):
    ended = thalweg(*words)
    assert ended.code == 2, ended.err
    assert ended.out == ""
    assert len(ended.err.splitlines()) == 1
    assert ended.err.startswith("thalweg: ")
    assert says in ended.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (ValueError("a\nb  c"), 2, "a b c"),
        (TypeError("wanted a tensor"), 2, "wanted a tensor"),
        (OSError(errno.ENOSPC, "No space left on device", "runs/a/j"), 2, "ree some space"),
        (OSError(errno.EROFS, "Read-only file system", "/x"), 2, "another directory"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), 2, "read and write"),
        (OSError("bare"), 2, "bare"),
        (ValueError(), 2, "ValueError"),
        (KeyError("w"), 3, "KeyError: 'w' (a bug in thalweg or in the task"),
        (RuntimeError("CUDA\nerror"), 3, "RuntimeError: CUDA error"),
        (MemoryError(), 3, "MemoryError: no message"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_errors_of_a_race_are_one_line_with_their_code(thalweg, stage, error, code, says):
    stage.answer, stage.progress = error, ()
    ended = thalweg("race", "digits")
    assert ended.code == code
    assert len(ended.err.splitlines()) == 1
    assert says in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize("how", ["option", "top option", "environment"])
def test_traceback_is_shown_on_request(thalweg, stage, monkeypatch, how):
    stage.answer = ValueError("deep down")
    words = ["race", "digits"]
    if how == "option":
        words.append("--traceback")
    elif how == "top option":
        words.insert(0, "--traceback")
    else:
        monkeypatch.setenv("THALWEG_TRACEBACK", "1")
    ended = thalweg(*words)
    assert ended.code == 2
    assert "Traceback (most recent call last)" in ended.err
    assert ended.err.splitlines()[-1] == "thalweg: deep down"
