"""``thalweg gap``: how much does a sparse autoencoder's encoder lose against its own decoder?"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from thalweg.cli import options
from thalweg.cli.door import OK, repeat

EXAMPLE = "thalweg gap sae/blocks.8.hook_resid_pre activations.npy --k 32 --report gap.html"


def gap(
    context: typer.Context,
    weights: Annotated[
        Path | None,
        typer.Argument(
            metavar="WEIGHTS",
            help="A folder with cfg.json and sae_weights.safetensors (SAELens) or sae.safetensors "
            "(sparsify), or that file.",
        ),
    ] = None,
    activations: Annotated[
        str | None,
        typer.Argument(
            metavar="ACTIVATIONS",
            help="Array (samples, inputs): .npy, .npz[:KEY], .safetensors[:KEY].",
        ),
    ] = None,
    l1: Annotated[
        float | None, typer.Option(help="Price of an atom's amplitude: exact, certified optimum.")
    ] = None,
    k: Annotated[
        str | None,
        typer.Option(
            metavar="K|same",
            help="Budget of atoms, or 'same' for the encoder's own number, sample by sample; "
            "default: the k of the file, else same.",
        ),
    ] = None,
    samples: Annotated[
        int | None, typer.Option(min=1, help="At most this many activations, drawn by --seed.")
    ] = None,
    tol: Annotated[float, typer.Option(help="Relative duality gap of the optimum (--l1).")] = 1e-6,
    out: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Write what each sample loses (.npz).")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Write a page with figures.")
    ] = None,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    json: options.Json = False,
    quiet: options.Quiet = False,
    traceback: options.Traceback = False,
    run: options.NoRun = None,
) -> int:
    """Compare a sparse autoencoder's one-pass codes with the best codes of the same decoder."""
    from thalweg.cli import screen, signals

    if weights is None or activations is None:
        raise ValueError(
            "weights and activations are both needed, as in: thalweg gap sae/ activations.npy"
        )
    if l1 is not None and k is not None:
        raise ValueError(f"--l1 {l1:g} and --k {k} were both given; choose one")
    signals.check_numbers(l1=l1, tol=tol)
    for path in (out, report):
        signals.check_writable(path)
    from thalweg.sparse.amortisation import amortisation_gap, load_autoencoder, read_activations
    from thalweg.sparse.amortisation.summary import summarise

    model = load_autoencoder(weights)
    budget = _budget(k, model.k) if l1 is None else None
    X = read_activations(activations, samples, seed)
    if X.shape[1] != model.n:
        raise ValueError(
            f"{activations} holds activations of length {X.shape[1]}, the autoencoder is for "
            f"length {model.n}"
        )
    answers, progress = signals.consoles(json)
    begin = time.monotonic()
    moved, X = _placed(model, X, device)
    with signals.bar(progress, quiet, "measuring") as step:
        prepared = moved.prepare(X)
        found = amortisation_gap(
            moved.encode,
            moved.W_dec,
            moved.b_dec,
            prepared,
            l1=l1,
            k=budget,
            tol=tol,
            progress=None if step is None else lambda stage, done, total: step(done, total),
        )
    notes = list(model.notes)
    if model.normalisation != "none":
        notes.append(
            f"Activations were normalised first ({model.normalisation}), as the autoencoder does; "
            "energies and variances are of the normalised ones."
        )
    record = summarise(
        found,
        inputs=model.n,
        weights=str(weights),
        layout=model.layout,
        activations=activations,
        seconds=time.monotonic() - begin,
        seed=seed,
        notes=notes,
        command=repeat(context.obj or ()),
    )
    if out is not None:
        _write(out, found)
    if report is not None:
        record.report(report)
    if json:
        screen.write_line(record.to_json())
    elif not quiet:
        _show(record, answers)
    for what, path in (("per sample", out), ("report", report)):
        if path is not None and not json:
            screen.write_line(f"{what}: {path}")
    return OK


def _budget(k: str | None, own: int | None) -> int | str:
    if k is None:
        return own if own is not None else "same"
    if k == "same":
        return k
    if not k.isascii() or not k.isdigit() or int(k) < 1:
        raise ValueError(f"--k {k}: expected a number of atoms of at least 1, or 'same'")
    return int(k)


def _placed(model: Any, X: Any, device: str) -> tuple[Any, Any]:
    """Autoencoder and activations where the work is done."""
    import dataclasses

    import torch

    name = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    if name == "cpu":
        return model, X
    try:
        values = {f.name: getattr(model, f.name) for f in dataclasses.fields(model)}
        moved = {k: v.to(name) for k, v in values.items() if isinstance(v, torch.Tensor)}
        return dataclasses.replace(model, **moved), X.to(name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"--device {device} cannot be used here: {reason}") from error


def _write(path: Path, found: Any) -> None:
    """Everything per sample, as one .npz."""
    import io

    import numpy as np

    from thalweg.rundir.atomic import atomic_write
    from thalweg.sparse.amortisation.summary import KINDS

    arrays = {
        f"{kind}_{name}": getattr(getattr(found, kind), name)
        for kind in KINDS
        for name in ("energy", "error", "fvu", "l0")
    }
    for name in ("excess", "excess_of_support", "wrong", "missed", "extra", "variance", "half"):
        arrays[name] = getattr(found, name)
    if found.certificate is not None:
        arrays["certificate"] = found.certificate
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    atomic_write(path, buffer.getvalue())


def _show(record: Any, console: Any) -> None:
    """The numbers of a record as a few lines and a table."""
    from rich.table import Table
    from rich.text import Text

    from thalweg.report.numbers import clean, count, duration
    from thalweg.report.sections.gap import headline, row, sentences

    console.print(Text(headline(record), "bold"), soft_wrap=True)
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("codes", "variance unexplained", "atoms", "mean energy"):
        table.add_column(title, justify="left" if title == "codes" else "right")
    for kind in record.kinds:
        line = row(record, kind)
        table.add_row(line["name"], line["fvu"], line["l0"], line["energy"])
    console.print(table)
    for sentence in (*sentences(record), *(clean(note) for note in record.notes)):
        console.print(Text(sentence, "dim"), soft_wrap=True)
    console.print(
        Text(f"{count(record.samples)} activations took {duration(record.seconds)}", "dim")
    )
