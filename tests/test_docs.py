"""The guides' Python runs as it is printed, page by page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

GUIDES = sorted((Path(__file__).parent.parent / "docs" / "guides").glob("*.md"))


@pytest.mark.parametrize("page", GUIDES, ids=lambda path: path.stem)
def test_the_python_of_a_guide_runs(page: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(), flags=re.M | re.S)
    assert blocks, f"{page.name} shows no Python"
    space: dict[str, object] = {"__name__": "guide"}
    for block in blocks:
        exec(compile(block, page.name, "exec"), space)
