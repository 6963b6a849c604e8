from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import thalweg.optim
from thalweg.optim import OPTIMIZERS
from thalweg.optim.build import check, defaults, line, make, supports_fused

NAMES = OPTIMIZERS.names()


def paste(text, model):
    """What a person who pastes the line gets."""
    return eval(text, {"torch": torch, "thalweg": thalweg, "model": model})


@pytest.mark.parametrize("name", NAMES)
def test_defaults_are_those_of_the_class_that_is_built(name):
    cls = type(make(name, [torch.nn.Parameter(torch.zeros(1))]))
    theirs = inspect.signature(cls).parameters
    ours = defaults(name)
    expected = {key: theirs[key].default for key in ours}
    if name in ("momentum", "nesterov"):
        expected["momentum"] = 0.9
    assert ours == expected
    assert "lr" in ours


@pytest.mark.parametrize(
    ("name", "cls", "settings_"),
    [
        ("sgd", torch.optim.SGD, {"momentum": 0.0, "nesterov": False}),
        ("momentum", torch.optim.SGD, {"momentum": 0.9, "nesterov": False, "dampening": 0}),
        ("nesterov", torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
        ("adagrad", torch.optim.Adagrad, {}),
        ("rmsprop", torch.optim.RMSprop, {"centered": False}),
        ("adadelta", torch.optim.Adadelta, {}),
        ("adam", torch.optim.Adam, {"amsgrad": False}),
        ("adamw", torch.optim.AdamW, {"weight_decay": 0.01}),
        ("amsgrad", torch.optim.Adam, {"amsgrad": True}),
        ("delta-bar-delta", thalweg.optim.DeltaBarDelta, {"phi": 0.1}),
    ],
)
def test_make_builds_torchs_own_class(name, cls, settings_):
    optimizer = make(name, [torch.nn.Parameter(torch.zeros(1))], lr=0.25)
    assert type(optimizer) is cls
    assert {k: optimizer.param_groups[0][k] for k in settings_} == settings_
    assert optimizer.param_groups[0]["lr"] == 0.25


def test_a_line_is_what_a_person_would_have_written():
    assert line("sgd", {"lr": 0.1}) == "torch.optim.SGD(model.parameters(), lr=0.1)"
    assert line("sgd") == "torch.optim.SGD(model.parameters(), lr=0.001)"
    assert line("nesterov", {"lr": 0.1}) == (
        "torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True)"
    )
    assert line("adamw", {"lr": 3e-4, "weight_decay": 0.01}) == (
        "torch.optim.AdamW(model.parameters(), lr=0.0003)"
    )
    assert line("amsgrad", {"lr": 1, "betas": (0.9, 0.99)}) == (
        "torch.optim.Adam(model.parameters(), lr=1.0, betas=(0.9, 0.99), amsgrad=True)"
    )
    assert line("delta-bar-delta", {"lr": 0.1, "lr_max": 0.5}) == (
        "thalweg.optim.DeltaBarDelta(model.parameters(), lr=0.1, lr_max=0.5)"
    )


@settings(max_examples=60, deadline=None)
@given(data=st.data(), name=st.sampled_from(NAMES))
def test_a_pasted_line_builds_the_same_optimizer(data, name):
    number = st.floats(0.0, 1.0, exclude_min=True, exclude_max=True)
    draw = {
        entry.name: st.tuples(number, number) if isinstance(entry.default, tuple) else number
        for entry in OPTIMIZERS.load(name).hyperparameters
        if entry.name not in ("lr_max", "lr_min")
    }
    values = data.draw(st.fixed_dictionaries({}, optional=draw))
    model = torch.nn.Linear(1, 1)
    pasted, made = paste(line(name, values), model), make(name, model.parameters(), **values)
    assert type(pasted) is type(made)
    a, b = ({k: v for k, v in o.param_groups[0].items() if k != "params"} for o in (pasted, made))
    assert a == b


def test_check_returns_plain_numbers_in_the_tables_order():
    values = check("adam", {"betas": [np.float32(0.5), 0], "lr": np.int64(1)})
    assert list(values.items()) == [("lr", 1.0), ("betas", (0.5, 0.0))]
    assert {type(x) for x in (values["lr"], *values["betas"])} == {float}


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("sgd", {"momentun": 0.9}, "unknown hyperparameter 'momentun' of sgd. Did you mean 'mom"),
        ("adma", {}, "unknown optimizer 'adma'. Did you mean 'adam'"),
        ("sgd", {"lr": -0.1}, "sgd: lr must be a number in [0, inf), got -0.1"),
        ("sgd", {"lr": float("nan")}, "lr must be a number in [0, inf), got nan"),
        ("sgd", {"lr": float("inf")}, "lr must be a number in [0, inf), got inf"),
        ("sgd", {"lr": "0.1"}, "lr must be a number in [0, inf), got '0.1'"),
        ("sgd", {"lr": True}, "lr must be a number in [0, inf), got True"),
        ("sgd", {"lr": None}, "lr must be a number in [0, inf), got None"),
        ("sgd", {"momentum": 1.0}, "momentum must be a number in [0, 1), got 1.0"),
        ("nesterov", {"momentum": 0.0}, "momentum must be a number in (0, 1), got 0.0"),
        ("adam", {"betas": (0.9, 1.0)}, "betas must be two numbers in [0, 1), got (0.9, 1.0)"),
        ("adam", {"betas": 0.9}, "betas must be two numbers in [0, 1), got 0.9"),
        ("adam", {"betas": "ab"}, "betas must be two numbers in [0, 1), got 'ab'"),
        ("adam", {"betas": (0.9,)}, "betas must be two numbers"),
        ("adam", {"eps": -1e-8}, "eps must be a number in [0, inf)"),
        ("adamw", {"weight_decay": -0.1}, "weight_decay must be a number in [0, inf)"),
        ("rmsprop", {"alpha": 1.5}, "alpha must be a number in [0, 1)"),
        ("adadelta", {"rho": -0.1}, "rho must be a number in [0, 1)"),
        ("delta-bar-delta", {"phi": 1.0}, "phi must be a number in [0, 1)"),
        ("delta-bar-delta", {"kappa": -1}, "kappa must be a number in [0, inf) or None"),
        ("delta-bar-delta", {"lr_max": 0.1, "lr_min": 0.2}, "lr_max=0.1 is below lr_min"),
    ],
)
def test_what_is_wrong_is_named_with_its_value_and_range(name, values, words):
    for call in (check, line, lambda n, v: make(n, [torch.zeros(1)], **v)):
        with pytest.raises(ValueError) as error:
            call(name, values)
        assert words in str(error.value)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", NAMES)
def test_fused_is_claimed_exactly_where_torch_accepts_it(name):
    params = [torch.nn.Parameter(torch.ones(3))]
    params[0].grad = torch.ones(3)
    if supports_fused(name, "cpu"):
        optimizer = make(name, params, fused=True)
        optimizer.step()
        assert bool((params[0] < 1).all())
    else:
        with pytest.raises(ValueError, match="has no option 'fused'"):
            make(name, params, fused=True)


def test_every_optimizer_has_a_summary_a_reference_and_documented_hyperparameters():
    for member in OPTIMIZERS:
        assert member.summary
        assert member.reference
        rule = member.load()
        keywords = inspect.signature(rule.update).parameters
        for entry in rule.hyperparameters:
            assert entry.meaning
            assert entry.name in keywords
            if entry.name != "lr":
                assert keywords[entry.name].default == entry.default
