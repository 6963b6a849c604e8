"""``thalweg encode``: which few atoms of a dictionary make up each signal?"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from thalweg.cli import options
from thalweg.cli.door import NOTHING, OK, repeat

EXAMPLE = "thalweg encode photo.png --dictionary d.safetensors --l1 0.1 --out codes.npz"


def encode(
    context: typer.Context,
    source: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[IMAGES|ARRAY] …",
            help="Pictures (.png, .jpg), folders of them, or one array (.npy, .npz, FILE.npz:KEY). "
            "Nothing: scikit-learn's two photographs.",
        ),
    ] = None,
    dictionary: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="The dictionary file of 'thalweg dictionary'."),
    ] = None,
    l1: Annotated[
        float | None, typer.Option(help="Weight of the absolute values; default: as learned.")
    ] = None,
    penalty: Annotated[str, typer.Option(metavar="NAME", help="l1 or non-negative.")] = "l1",
    solver: Annotated[str, typer.Option(metavar="NAME", help="See 'thalweg list solvers'.")] = (
        "auto"
    ),
    tol: Annotated[
        float | None, typer.Option(help="Relative duality gap to reach; 1e-6, for filters 1e-3.")
    ] = None,
    refit: Annotated[
        bool, typer.Option("--refit", help="Least squares on each code's atoms: undoes shrinkage.")
    ] = False,
    stride: Annotated[
        int | None,
        typer.Option(min=1, help="Pixels between patches of an image; default: no overlap."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Write codes and certificates (.npz).")
    ] = None,
    builtin: Annotated[
        str | None, typer.Option(metavar="NAME", help="photographs or digits, instead of files.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Write a page with figures.")
    ] = None,
    device: options.Device = "auto",
    json: options.Json = False,
    quiet: options.Quiet = False,
    traceback: options.Traceback = False,
    seed: options.NoSeed = 0,
    run: options.NoRun = None,
) -> int:
    """Find the exact sparse code of every signal, each with a certificate of its distance to it."""
    from thalweg.cli import screen, signals

    if dictionary is None:
        raise ValueError(
            "no dictionary was given; learn one first, thalweg dictionary … --out d.safetensors, "
            "then give it as --dictionary d.safetensors"
        )
    signals.check_numbers(l1=l1, tol=tol)
    signals.check_penalty(penalty)
    for path in (out, report):
        signals.check_writable(path)
    from thalweg.sparse.convolution.storage import is_filters

    if is_filters(dictionary):
        if refit:
            raise ValueError("--refit is for dictionaries of patches or signals, not for filters")
        return _over_filters(
            context, source, dictionary, l1, penalty, solver, tol, stride, out, builtin, report,
            device, json, quiet,
        )  # fmt: skip
    tol = 1e-6 if tol is None else tol
    from thalweg.sparse import encode as solve
    from thalweg.sparse.storage import Dictionary

    atoms = Dictionary.load(dictionary)
    weight = atoms.l1 if l1 is None else l1
    if weight is None:
        raise ValueError(f"{dictionary} does not say which l1 it was learned with; give --l1")
    found = signals.find(source, builtin, as_images=False)
    X, layout = signals.prepared(found, atoms, stride)
    answers, progress = signals.consoles(json)
    begin = time.monotonic()
    with signals.bar(progress, quiet, "encoding") as step:
        codes = solve(
            signals.on_device(X, device),
            signals.on_device(atoms.D.astype(X.dtype), device),
            weight,
            penalty=penalty,
            solver=solver,
            tol=tol,
            progress=step,
            refit=refit,
        )
    codes = signals.to_numpy(codes)
    taken = time.monotonic() - begin
    if out is not None:
        signals.write_codes(out, codes, weight, layout)
    record = _record(
        found, X, atoms, codes, weight, penalty, tol, stride, taken, report is None, refit
    )
    record = signals.signed(record, repeat(context.obj or ()))
    if report is not None:
        record.report(report)
    if json:
        screen.write_line(record.to_json())
    elif not quiet:
        signals.show(record, answers)
    for what, path in (("codes", out), ("report", report)):
        if path is not None and not json:
            screen.write_line(f"{what}: {path}")
    return OK if record.converged else NOTHING


def _over_filters(
    context: typer.Context,
    source: list[str] | None,
    dictionary: Path,
    l1: float | None,
    penalty: str,
    solver: str,
    tol: float | None,
    stride: int | None,
    out: Path | None,
    builtin: str | None,
    report: Path | None,
    device: str,
    json: bool,
    quiet: bool,
) -> int:
    """The same for filters that slide over images: code maps of whole images."""
    from thalweg.cli import filters as convolutional
    from thalweg.cli import screen, signals
    from thalweg.sparse.convolution.storage import Filters
    from thalweg.sparse.convolution.summary import summarise

    if stride is not None:
        raise ValueError("--stride is for patches; filters slide over every pixel: leave it out")
    filters = convolutional.with_penalty(Filters.load(dictionary), penalty)
    weight = filters.l1 if l1 is None else l1
    if weight is None:
        raise ValueError(f"{dictionary} does not say which l1 it was learned with; give --l1")
    tol = convolutional.TOL if tol is None else tol
    found = signals.find(source, builtin, as_images=True)
    answers, progress = signals.consoles(json)
    begin = time.monotonic()
    with signals.bar(progress, quiet, "encoding") as step:
        coded = convolutional.encode(found, filters, weight, solver, tol, device, step)
    taken = time.monotonic() - begin
    if out is not None:
        convolutional.write(out, coded, weight)
    command = repeat(context.obj or ())
    record = summarise(
        "codes", found.name, coded, filters, weight, tol, seconds=taken, command=command
    )
    if report is not None:
        record.report(report)
    if json:
        screen.write_line(record.to_json())
    elif not quiet:
        convolutional.show(record, answers)
    for what, path in (("codes", out), ("report", report)):
        if path is not None and not json:
            screen.write_line(f"{what}: {path}")
    return convolutional.code_of(record)


def _record(
    found: Any,
    X: Any,
    atoms: Any,
    codes: Any,
    l1: float,
    penalty: str,
    tol: float,
    stride: int | None,
    seconds: float,
    plain: bool,
    refit: bool,
) -> Any:
    """What came out; the figures that cost time only where a page is wanted."""
    from thalweg.sparse.summary import convergence, example, summarise, tiled_example

    more: dict[str, Any] = {"seconds": seconds}
    if refit:
        more["notes"] = (
            "amplitudes are refitted by least squares on each code's atoms; energy and gap are "
            "those of the exact codes that chose them",
        )
    patch = atoms.preprocessing.patch
    if not plain:
        if penalty == "l1" and len(X):
            more["iterations"], more["solver_gaps"] = convergence(X, atoms.D.astype(X.dtype), l1)
        more["examples"] = tuple(
            picture
            for image, name in list(zip(found.images, found.names, strict=True))[:3]
            for picture in example(image, name, atoms, l1, stride or patch[0], penalty, refit)
        ) or tiled_example(X, codes, atoms)
    return summarise("codes", found.name, X, atoms, codes, l1, penalty, tol, **more)
