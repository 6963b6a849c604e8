"""Every verb can be found, explained and started lightly; real processes end as they should."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

import thalweg as package
from thalweg.cli.verbs import VERBS

THALWEG = [sys.executable, "-m", "thalweg"]
COMMON = ("--json", "--seed", "--device", "--run")


def process(*words: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*THALWEG, *words], capture_output=True, text=True, check=False, timeout=60, **options
    )


def test_help_lists_every_verb(thalweg):
    ended = thalweg("--help")
    assert ended.code == 0
    for verb in VERBS:
        assert f"{verb.name} " in ended.out
        assert verb.summary.split()[0] in ended.out


def test_no_words_at_all_is_help(thalweg):
    assert thalweg() == thalweg("--help")


@pytest.mark.parametrize("verb", VERBS.names())
def test_help_of_a_verb_starts_with_an_example_that_names_it(thalweg, verb):
    ended = thalweg(verb, "--help")
    assert ended.code == 0
    text = [line.strip() for line in ended.out.splitlines() if line.strip()]
    assert text[0].startswith(f"Usage: thalweg {verb}")
    assert text[1].startswith(f"Example: thalweg {verb}")
    assert "--json" in ended.out


@pytest.mark.parametrize("verb", VERBS.names())
def test_every_verb_takes_the_common_options(verb):
    import typer.main

    from thalweg.cli.verbs import build

    command = typer.main.get_command(build()).commands[verb]
    known = {option for parameter in command.params for option in parameter.opts}
    assert set(COMMON) <= known


@pytest.mark.parametrize("flag", ["-V", "--version"])
def test_version_is_the_package_s(thalweg, flag):
    assert thalweg(flag).out == f"thalweg {package.__version__}\n"


@pytest.mark.parametrize("words", [["--help"], ["list"], ["race", "--help"], ["report", "none"]])
def test_light_commands_import_nothing_heavy(words):
    code = (
        "import sys\nfrom thalweg.cli.door import run\nrun(sys.argv[1:])\n"
        "heavy = {'torch', 'sklearn', 'numba', 'scipy', 'numpy', 'plotly'} & set(sys.modules)\n"
        "sys.exit(f'imports {heavy}' if heavy else 0)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr


def test_reader_that_leaves_a_pipe_early_sees_no_complaint():
    reader = subprocess.Popen(["true"], stdin=subprocess.PIPE)
    reader.wait()
    ended = subprocess.run(
        [*THALWEG, "list"], stdout=reader.stdin, stderr=subprocess.PIPE, check=False, timeout=60
    )
    reader.stdin.close()
    assert ended.stderr == b""
    assert ended.returncode == 141


def test_terminal_without_unicode_is_served():
    ended = process("list", "schedules", env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert ended.returncode == 0
    assert "cosine" in ended.stdout


def test_closed_output_is_no_traceback():
    ended = subprocess.run(
        f"{sys.executable} -m thalweg list >&-", shell=True, capture_output=True, check=False
    )
    assert b"Traceback" not in ended.stderr


def test_interrupt_of_a_real_process_ends_with_130(tmp_path):
    (tmp_path / "slow.py").write_text("import time\nprint('up', flush=True)\ntime.sleep(30)\n")
    running = subprocess.Popen(
        [*THALWEG, "race", "slow.py:task", "--run", "r"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert running.stdout.readline() == "up\n"
        time.sleep(0.1)
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=20)
    finally:
        running.kill()
    assert running.returncode == 130
    assert err.count("\n") == 1
    assert "thalweg race slow.py:task --run r" in err
