"""``thalweg dictionary``: which atoms are these images or signals made of?"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from thalweg.cli import options
from thalweg.cli.door import NOTHING, OK, repeat

EXAMPLE = "thalweg dictionary photos/*.jpg --atoms 256 --out d.safetensors --report d.html"
HELD_BACK = 2000  # signals coded exactly for the figures, learned from or not as the notes say


def dictionary(
    context: typer.Context,
    source: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[IMAGES|ARRAY] …",
            help="Pictures (.png, .jpg), folders of them, or one array (.npy, .npz, FILE.npz:KEY). "
            "Nothing: scikit-learn's two photographs.",
        ),
    ] = None,
    atoms: Annotated[int, typer.Option(min=1, help="Atoms to learn.")] = 256,
    l1: Annotated[
        float | None,
        typer.Option(help="Weight of the absolute values of a code; 0.1, with --filters 1."),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="PATH", help="The dictionary file.")] = Path(
        "dictionary.safetensors"
    ),
    patch: Annotated[
        int | None,
        typer.Option(min=2, help="Side of an image patch in pixels; 10 where there are images."),
    ] = None,
    patches: Annotated[
        int, typer.Option(min=1, help="Patches drawn from the images, flat ones left out.")
    ] = 50_000,
    passes: Annotated[float, typer.Option(help="Times each signal is learned from.")] = 5.0,
    seconds: Annotated[float | None, typer.Option(help="Stop learning after so long.")] = None,
    center: Annotated[
        bool | None,
        typer.Option("--center/--no-center", help="Remove each signal's mean; images: yes."),
    ] = None,
    scale: Annotated[
        str | None,
        typer.Option(metavar="unit|none", help="Divide each signal by its norm; images: unit."),
    ] = None,
    penalty: Annotated[str, typer.Option(metavar="NAME", help="l1 or non-negative.")] = "l1",
    filters: Annotated[
        int | None,
        typer.Option(
            min=1, help="Learn so many filters that slide over whole images, instead of atoms."
        ),
    ] = None,
    size: Annotated[
        int | None, typer.Option(min=1, help="With --filters: their side in pixels; 8.")
    ] = None,
    prepare: Annotated[
        str | None,
        typer.Option(
            metavar="contrast|whiten|both|none",
            help="With --filters: evens out the images' light or frequencies; contrast.",
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="With --filters: batches to learn from; 100.")
    ] = None,
    builtin: Annotated[
        str | None, typer.Option(metavar="NAME", help="photographs or digits, instead of files.")
    ] = None,
    topographic: Annotated[
        str | None,
        typer.Option(
            metavar="ROWSxCOLUMNS",
            help="Lay the atoms out on a torus of so many, with overlapping pools: a map.",
        ),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Write a page with atoms and figures.")
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Keep checkpoints there; the same command goes on."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the patches, the order and the first atoms.")] = 0,
    device: options.Device = "auto",
    json: options.Json = False,
    quiet: options.Quiet = False,
    traceback: options.Traceback = False,
) -> int:
    """Learn a dictionary whose atoms, few at a time, add up to the signals, and save it."""
    from thalweg.cli import screen, signals

    signals.check_numbers(l1=l1, passes=passes, seconds=seconds)
    for path in (out, report):
        signals.check_writable(path)
    _check_kind(context, filters is not None, topographic is not None)
    as_images = patch is not None or filters is not None or topographic is not None
    found = signals.find(source, builtin, as_images)
    answers, progress = signals.consoles(json)
    command = repeat(context.obj or ())
    if topographic is not None:
        from thalweg.cli.topographic import learn

        return learn(
            found, topographic, l1=l1, patch=patch, patches=patches, passes=passes, out=out,
            report=report, seed=seed, device=device, json=json, quiet=quiet, command=command,
        )  # fmt: skip
    if filters is not None:
        from thalweg.cli import filters as convolutional

        begin = time.monotonic()
        with signals.bar(progress, quiet, "learning") as step:
            kernels = convolutional.learn(
                found, filters, size, l1, prepare, steps, seconds, penalty, run, seed, device, step
            )
        taken = time.monotonic() - begin
        kernels.save(out)
        page = convolutional.describe(found, kernels, taken, seed, command)
        if report is not None:
            page.report(report)
        if json:
            screen.write_line(page.to_json())
        elif not quiet:
            convolutional.show(page, answers)
            answers.print(f"filters: {out}", soft_wrap=True, markup=False)
        if report is not None and not json:
            screen.write_line(f"report: {report}")
        return convolutional.code_of(page)
    signals.check_penalty(penalty)
    raw, preparation = signals.training(found, patch, patches, seed, center, scale)
    X = preparation.apply(raw)[0]
    from thalweg.sparse import learn_dictionary

    begin = time.monotonic()
    with signals.bar(progress, quiet, "learning") as step:
        learned = learn_dictionary(
            signals.on_device(X, device),
            atoms,
            0.1 if l1 is None else l1,
            penalty=penalty,
            passes=passes,
            seconds=seconds,
            seed=seed,
            preprocessing=preparation,
            progress=step,
            every=20,
            checkpoint=run,
        )
    learned = signals.to_numpy(learned)
    taken = time.monotonic() - begin
    learned.save(out)
    record = _record(found, X, learned, penalty, taken, seed, command)
    if report is not None:
        record.report(report)
    if json:
        screen.write_line(record.to_json())
    elif not quiet:
        signals.show(record, answers)
        answers.print(f"dictionary: {out}", soft_wrap=True, markup=False)
    if report is not None and not json:
        screen.write_line(f"report: {report}")
    return OK if record.converged else NOTHING


# options that have no meaning beside --topographic
_PLAIN = (
    *("atoms", "penalty", "center", "scale"),
    *("filters", "size", "prepare", "steps", "seconds", "run"),
)


def _check_kind(context: typer.Context, filters: bool, topographic: bool) -> None:
    """Options of atoms, filters and maps do not mix: what would be ignored is refused."""
    given = [name for name in _PLAIN if topographic and _given(context, name)]
    if given:
        words = ", ".join(f"--{name}" for name in given)
        have = "has" if len(given) == 1 else "have"
        raise ValueError(f"{words} {have} no meaning beside --topographic; leave it out")
    other = (
        ("atoms", "patch", "patches", "passes", "center", "scale")
        if filters
        else ("size", "prepare", "steps")
    )
    given = [name for name in other if _given(context, name)]
    if given:
        words = ", ".join(f"--{name}" for name in given)
        hint = "leave it out, or --filters" if filters else "give --filters too, or leave it out"
        raise ValueError(
            f"{words} and {'' if filters else 'no '}--filters do not go together; {hint}"
        )


def _given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _record(
    found: Any, X: Any, learned: Any, penalty: str, seconds: float, seed: int, command: str
) -> Any:
    """Code a sample of the signals exactly, and describe what came out."""
    import numpy as np

    from thalweg.sparse import encode
    from thalweg.sparse.summary import example, summarise, tiled_example

    rows = np.random.default_rng([seed, 2]).permutation(len(X))[:HELD_BACK]
    codes = encode(X[rows], learned.D, learned.l1, penalty=penalty)
    patch = learned.preprocessing.patch
    examples = tuple(
        picture
        for image, name in list(zip(found.images, found.names, strict=True))[:2]
        if patch and min(image.shape) >= patch[0]
        for picture in example(image, name, learned, learned.l1, patch[0], penalty)
    )
    if found.shape is not None:
        examples = tiled_example(X[rows], codes, learned)
    note = f"figures: exact codes of {len(rows)} signals, drawn from those that were learned from"
    return summarise(
        "dictionary",
        found.name,
        X[rows],
        learned,
        codes,
        learned.l1,
        penalty,
        examples=examples,
        seconds=seconds,
        command=command,
        notes=(note,),
    )
