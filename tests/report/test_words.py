"""The answer in sentences, from races whose answer is known."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from thalweg.records import Entry, Interval, Race, Sensitivity
from thalweg.report.entries import describe, varying, winner
from thalweg.report.words import answer, effort


def entry(optimizer="sgd", lr=0.1, held_out=0.9, **changes) -> Entry:
    values = {
        "optimizer": optimizer,
        "hyperparameters": {"lr": lr},
        "settings": {"batch_size": 64},
        "held_out": held_out,
        "stderr": 0.01,
        "loss": 0.3,
        "line": f"torch.optim.{optimizer}(lr={lr})",
    }
    return Entry(**(values | changes))


def race(*table: Entry, **changes) -> Race:
    values = {
        "task": "digits",
        "criterion": "accuracy",
        "table": table,
        "sensitivity": (),
        "seeds": 3,
        "samples": {"train": 1257, "selection": 270, "confirmation": 270},
        "budget": {},
        "executed": 12345,
        "seconds": 75.0,
        "plan": {},
        "machine": {},
    }
    return Race(**(values | changes))


def text(found: Race) -> str:
    told = answer(found)
    return " ".join((told.headline, *told.sentences)).replace("\u00a0", " ")


def confirmed(value: float, half: float = 0.01) -> dict:
    return {
        "confirmed": value,
        "confirmation": Interval(value, half / 2, value - half, value + half),
    }


WINNER = entry("nesterov", 0.3, 0.975, hyperparameters={"lr": 0.3, "momentum": 0.9})
WINNER = replace(WINNER, **confirmed(0.971))


def test_answer_names_the_winner_its_rate_and_its_confirmed_score():
    told = answer(race(WINNER, entry("adam", 0.01, 0.8)))
    assert told.headline == "Use SGD with Nesterov momentum 0.9 at learning rate 0.3."
    assert told.sentences[0].replace("\u00a0", " ") == (
        "It reaches 97.1 % held-out accuracy (95 % interval 96.1 to 98.1 %) "
        "on data that the choice never saw."
    )
    assert told.line == "torch.optim.nesterov(lr=0.3)"
    assert told.with_settings == "batch size 64"


def test_answer_without_confirmation_says_that_it_flatters():
    said = text(race(entry(held_out=0.95), entry(lr=0.01)))
    assert "95.0 % held-out accuracy (standard error 1.0 %) on the data it was chosen on" in said
    assert "expect a little worse" in said


def test_ties_are_named_by_optimiser_and_range():
    table = (
        WINNER,
        entry("adam", 0.003, 0.974, tied=True),
        entry("adam", 0.01, 0.973, tied=True),
        entry("sgd", 1.0, 0.972, tied=True),
        entry("sgd", 0.1, 0.5),
    )
    assert (
        "Within noise of it: Adam at learning rates 0.003 to 0.01 (2 configurations) "
        "and SGD at learning rate 1."
    ) in text(race(*table))


def test_no_tie_is_said_so():
    found = race(WINNER, entry("adam", 0.01, 0.8))
    assert "Nothing else that was raced is within noise of it." in text(found)


def test_ties_at_other_rates_of_the_winner_are_left_to_the_range():
    near = replace(WINNER, hyperparameters={"lr": 0.1, "momentum": 0.9}, held_out=0.974, tied=True)
    band = Sensitivity("nesterov", 0.3, 0.975, 0.1, 0.3, 0.477, 3.0)
    said = text(race(WINNER, near, entry("adam", 0.01, 0.8), sensitivity=(band,)))
    assert "No other optimiser is within noise of it." in said
    assert (
        "Learning rates from 0.1 to 0.3 do as well (a factor of 3); "
        "training diverged from 3 on." in said
    )


def test_a_single_good_rate_is_said_so():
    band = Sensitivity("nesterov", 0.3, 0.975, 0.3, 0.3, 0.0, None)
    other = replace(WINNER, hyperparameters={"lr": 0.1, "momentum": 0.9}, held_out=0.8)
    said = text(race(WINNER, other, sensitivity=(band,)))
    assert "No other learning rate that was tried does as well." in said


def test_defaults_are_compared_on_confirmation_where_both_have_it():
    default = entry("adam", 0.001, 0.96, default=True, **confirmed(0.952))
    assert "The library's defaults reach 95.2 % (Adam at 0.001)." in text(race(WINNER, default))


def test_defaults_without_confirmation_are_compared_on_selection_and_say_so():
    default = entry("adam", 0.001, 0.96, default=True)
    said = text(race(WINNER, default))
    assert "The library's defaults reach 96.0 % (Adam at 0.001) on the selection data." in said


def test_tied_default_is_marked_within_noise():
    default = entry("adam", 0.001, 0.97, default=True, tied=True, **confirmed(0.969))
    assert "96.9 % (Adam at 0.001, within noise)" in text(race(WINNER, default))


def test_default_that_wins_says_that_tuning_found_nothing():
    best = entry("adam", 0.001, 0.97, default=True, **confirmed(0.969))
    assert "tuning found nothing better" in text(race(best, entry("adam", 0.01, 0.9)))


def test_default_that_does_better_on_fresh_data_is_a_caution():
    default = entry("adam", 0.001, 0.96, default=True, **confirmed(0.98))
    cautions = answer(race(WINNER, default)).cautions
    assert any("the defaults of Adam did better" in caution for caution in cautions)


def test_defaults_that_diverged_or_were_dropped_are_named():
    gone = entry("sgd", 1.0, math.nan, status="diverged", default=True)
    early = entry("adam", 0.001, 0.4, status="culled", default=True)
    said = text(race(WINNER, early, gone))
    assert "The defaults of SGD diverged; the defaults of Adam were dropped early, behind." in said


@pytest.mark.parametrize(
    ("lrs", "words"),
    [
        ((0.3, 0.1, 0.03), "the highest that was tried with it: higher ones"),
        ((0.3, 1.0, 3.0), "the lowest that was tried with it: lower ones"),
    ],
)
def test_winner_on_the_edge_of_the_rates_is_a_caution(lrs, words):
    table = [entry("sgd", lr, 0.9 - 0.1 * i) for i, lr in enumerate(lrs)]
    assert words in " ".join(answer(race(*table)).cautions)


def test_winner_below_a_diverged_rate_is_not_on_the_edge():
    table = (entry(lr=0.3), entry(lr=0.1, held_out=0.8), entry(lr=1.0, status="diverged"))
    assert not answer(race(*table)).cautions


def test_edge_that_the_race_noted_is_said_once():
    note = "The best rate of sgd, 0.3, is the highest one tried: a higher one may do better."
    told = answer(race(entry(lr=0.3), entry(lr=0.1, held_out=0.8), notes=(note, "Other.")))
    assert told.cautions == (note,)
    assert told.notes == ("Other.",)


def test_seeds_that_diverged_at_the_winning_setting_are_a_caution(make_race):
    found = make_race(("sgd",), rates=3)
    best = winner(found)
    lost = replace(best.seeds[0], status="diverged")
    table = (replace(best, seeds=(lost, *best.seeds[1:])), *found.table[1:])
    cautions = answer(replace(found, table=table)).cautions
    assert "1 of 3 seeds diverged at this very setting" in cautions[0]


def test_one_seed_is_a_caution():
    cautions = answer(race(entry(), seeds=1)).cautions
    assert cautions == ("One seed only: the intervals do not cover how much the seed matters.",)


def test_unfinished_race_says_who_is_ahead_and_no_more():
    told = answer(race(entry(status="running"), entry(lr=0.01, held_out=0.8), unfinished=True))
    assert told.headline == "Ahead so far: SGD at learning rate 0.1."
    assert "stopped or is still running" in told.unfinished
    assert "within noise" not in " ".join(told.sentences)


def test_every_run_diverged_says_where_and_what_to_try():
    table = [entry(lr=lr, held_out=math.nan, status="diverged") for lr in (10.0, 1.0, 100.0)]
    told = answer(race(*table))
    assert told.headline == "No answer: every run diverged."
    assert "in all of 3 configurations, at learning rates from 1 to 100" in told.sentences[0]
    assert "--lrs 1e-04:1e-01:7" in told.sentences[1]
    assert told.line == ""


def test_empty_table_has_no_answer():
    assert answer(race()).headline == "No answer: nothing ran."
    assert answer(race(unfinished=True)).headline == "No answer yet: no run has ended."


def test_loss_is_read_as_a_loss_with_its_bounds_in_order():
    best = entry(
        held_out=-0.2134, confirmed=-0.25, confirmation=Interval(-0.25, 0.01, -0.27, -0.23)
    )
    said = text(race(best, entry(lr=0.01, held_out=-0.9), criterion="loss"))
    assert "It reaches a held-out loss of 0.25 (95 % interval 0.23 to 0.27)" in said


def test_own_metric_is_called_by_its_name():
    said = text(race(replace(entry(), **confirmed(0.8125)), criterion="f1"))
    assert "a held-out f1 of 0.812" in said or "a held-out f1 of 0.813" in said


def test_only_what_varies_within_an_optimiser_is_described():
    one = entry(settings={"batch_size": 64, "schedule": "cosine"})
    two = entry(settings={"batch_size": 64, "schedule": None}, held_out=0.8)
    assert varying((one, two)) == {"schedule"}
    assert describe(one, race(one, two)) == "SGD at learning rate 0.1, cosine schedule"


def test_winner_skips_entries_without_a_finite_score():
    good = entry(lr=0.01)
    assert winner(race(entry(held_out=math.nan), good)) is good


def test_effort_says_configurations_seeds_gradients_and_time():
    assert effort(race(entry(), entry(lr=1.0))).replace("\u00a0", " ") == (
        "2 configurations, 3 seeds each on 1,257 training samples: 12,345 gradients in 1 min 15 s."
    )
