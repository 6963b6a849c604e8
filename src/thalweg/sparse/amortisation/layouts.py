"""How are weights of sparse autoencoders laid out on disk? SAELens's and sparsify's folders.

Only safetensors and JSON are read. What this package cannot reproduce exactly (a transcoder, an
unknown activation) is refused by name, because a wrong encoder gives a wrong gap silently.

References:
    SAELens (``sae_weights.safetensors``, ``cfg.json``); EleutherAI's sparsify (``sae.safetensors``,
    ``cfg.json``): read from their public sources, versions of 2025.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from thalweg.sparse.amortisation.autoencoder import Autoencoder

FILES = ("sae_weights.safetensors", "sae.safetensors")
_SAELENS = ("W_enc", "W_dec", "b_dec")
_SPARSIFY = ("encoder.weight", "encoder.bias", "W_dec", "b_dec")


def load_autoencoder(path: str | Path, k: int | None = None) -> Autoencoder:
    """Read a sparse autoencoder in the layout of SAELens or of EleutherAI's sparsify.

    ==========  ==========================================================  =====================
    layout      tensors                                                     from ``cfg.json``
    ==========  ==========================================================  =====================
    SAELens     ``W_enc (n, m)``, ``W_dec (m, n)``, ``b_dec``, ``b_enc``;   architecture (standard,
                ``threshold`` (jumprelu); ``b_gate``, ``b_mag``, ``r_mag``  topk, jumprelu, gated),
                (gated)                                                     k, normalisation
    sparsify    ``encoder.weight (m, n)``, ``encoder.bias``,                k, activation (topk,
                ``W_dec (m, n)``, ``b_dec``                                 groupmax)
    ==========  ==========================================================  =====================

    Args:
        path: The folder, or the safetensors file in it.
        k: Overrides the file's number of units kept.

    Returns:
        The `Autoencoder`, float32 (float64 where the file is).

    Raises:
        FileNotFoundError: No such file, or no ``cfg.json`` beside it.
        ValueError: Not such a file, or an architecture that is not known here.
    """
    file = _file(Path(path))
    config = _config(file.parent / "cfg.json")
    tensors = _tensors(file)
    if all(name in tensors for name in _SPARSIFY):
        return _sparsify(tensors, config, k, file)
    if all(name in tensors for name in _SAELENS):
        return _saelens(tensors, config, k, file)
    raise ValueError(
        f"{file} holds {', '.join(sorted(tensors)[:9])}; expected SAELens's "
        f"{', '.join(_SAELENS)} or sparsify's {', '.join(_SPARSIFY)}"
    )


def _saelens(
    t: dict[str, Tensor], config: dict[str, Any], k: int | None, file: Path
) -> Autoencoder:
    architecture = config.get("architecture", "standard")
    act = config.get("activation_fn") or config.get("activation_fn_str") or "relu"
    if architecture == "standard" and str(act).lower() == "topk":
        architecture = "topk"  # as files before version 6 say it
    kinds = {"standard": "relu", "topk": "topk", "jumprelu": "jumprelu", "gated": "gated"}
    if architecture not in kinds:
        raise ValueError(
            f"{file}: architecture {architecture!r} is not known here, only {', '.join(kinds)}"
            " (batch-topk autoencoders are saved as jumprelu for inference)"
        )
    if architecture in ("standard", "jumprelu", "gated") and str(act).lower() != "relu":
        raise ValueError(f"{file}: activation {act!r} is not known here, only relu")
    if config.get("reshape_activations", "none") not in ("none", None, "hook_z"):
        raise ValueError(f"{file}: reshape_activations {config['reshape_activations']!r}: unknown")
    _need(
        t,
        {"gated": ("b_gate", "b_mag", "r_mag"), "jumprelu": ("b_enc", "threshold")}.get(
            architecture, ("b_enc",)
        ),
        file,
    )
    notes: list[str] = []
    W_enc, W_dec = t["W_enc"], t["W_dec"]
    b_enc = t["b_mag"] if architecture == "gated" else t["b_enc"]
    if config.get("finetuning_scaling_factor") is True and "scaling_factor" in t:
        W_dec = t["scaling_factor"][:, None] * W_dec
        notes.append("the fine-tuned scale of the codes was folded into the decoder")
    if config.get("rescale_acts_by_decoder_norm"):
        norms = W_dec.norm(dim=1)
        W_enc, b_enc, W_dec = W_enc * norms, b_enc * norms, W_dec / norms[:, None]
        notes.append("decoder norms were folded into the encoder, as the configuration says")
    arguments = config.get("activation_fn_kwargs") or {}
    return Autoencoder(
        W_enc,
        b_enc,
        W_dec,
        t["b_dec"],
        kinds[architecture],
        k=_count(k or config.get("k") or arguments.get("k"), file)
        if architecture == "topk"
        else None,
        threshold=t.get("threshold") if architecture == "jumprelu" else None,
        gate=t.get("b_gate"),
        gain=t.get("r_mag"),
        shift_input=bool(config.get("apply_b_dec_to_input", True)),
        normalisation=_normalisation(config),
        layout="SAELens",
        notes=tuple(notes),
    )


def _normalisation(config: dict[str, Any]) -> str:
    value = config.get("normalize_activations", "none")
    return "none" if value in (None, False, "none") else str(value)


def _sparsify(
    t: dict[str, Tensor], config: dict[str, Any], k: int | None, file: Path
) -> Autoencoder:
    for flag, what in (
        ("transcode", "a transcoder: its input is not what it reconstructs"),
        ("skip_connection", "one with a linear skip connection"),
        ("embed_skip", "one with a skip connection from the embedding"),
        ("gram_lookup", "one that reconstructs the residual of an n-gram table"),
    ):
        if config.get(flag):
            raise ValueError(f"{file} is {what}; the gap is defined for autoencoders only")
    if "W_skip" in t:
        raise ValueError(f"{file} has a skip connection; the gap is defined without one")
    return Autoencoder(
        t["encoder.weight"].T.contiguous(),
        t["encoder.bias"],
        t["W_dec"],
        t["b_dec"],
        str(config.get("activation", "topk")),
        k=_count(k or config.get("k"), file),
        layout="sparsify",
    )


def _count(k: Any, file: Path) -> int:
    if not isinstance(k, int) or isinstance(k, bool) or k < 1:
        raise ValueError(f"{file}: cfg.json does not say k (got {k!r}); give it as --k")
    return k


def _need(tensors: dict[str, Tensor], names: tuple[str, ...], file: Path) -> None:
    missing = [name for name in names if name not in tensors]
    if missing:
        raise ValueError(f"{file} lacks {', '.join(missing)}, which its architecture needs")


def _file(path: Path) -> Path:
    if path.is_dir():
        found = [path / name for name in FILES if (path / name).is_file()]
        if not found:
            found = sorted(path.glob("*.safetensors"))
        if len(found) != 1:
            names = ", ".join(f.name for f in found) or "none"
            raise FileNotFoundError(
                f"{path} should hold one of {' or '.join(FILES)}; found: {names}"
            )
        return found[0]
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}; give a folder or a .safetensors file")
    return path


def _config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: the activation and k stand in it")
    try:
        config = json.loads(path.read_text("utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise ValueError(f"{path} holds {type(config).__name__}, not settings by name")
    return config


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is not a readable safetensors file: {error}") from error
    wide = {n: v if v.dtype == torch.float64 else v.float() for n, v in tensors.items()}
    for name, value in wide.items():
        if not bool(torch.isfinite(value).all()):
            raise ValueError(f"{path}: {name} has NaN or infinite values")
    return wide
