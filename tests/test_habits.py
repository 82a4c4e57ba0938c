"""The demo shop of habits, and its limit, held against what sessions do: no filter and no equation stands behind these counts."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import polars as pl
import pytest

from clickstream_conv.demo.habit_limit import best_habit_prediction, habit_limit
from clickstream_conv.demo.habits import (
    make_habit_shop,
    simulate_habits,
    simulate_traits,
    TRAITS,
)
from clickstream_conv.demo.limit import best_prediction
from clickstream_conv.demo.shop import KINDS
from clickstream_conv.demo.shops import demo_shop, SHOPS


def nothing_but(first, count):
    "A choice that always falls on the first."
    return np.eye(count)[first]


@lru_cache
def tiny_habits():
    "One category, one product a band, pauses that tell nothing: sessions that begin alike are many."
    habits = make_habit_shop()
    shop = habits.shop
    each = len(shop.item_share[:-1]) // 21  # products of a category and band
    popular = np.append(np.tile(nothing_but(0, each), 21), 0.0)
    return replace(
        habits,
        shop=replace(
            shop,
            category_share=nothing_but(0, len(shop.category_share)),
            item_share=popular,
            pauses=np.zeros_like(shop.pauses),
            first_pages=np.tile(nothing_but(3, 4), (*shop.first_pages.shape[:2], 1)),
            channel_share=nothing_but(0, len(shop.channel_share)) + 1e-9,
            channel_drift=np.zeros_like(shop.channel_drift),
            device_share=np.tile(nothing_but(0, 3), (len(shop.channel_share), 1)),
            returning_share=np.zeros_like(shop.returning_share),
            kind_effects={name: np.zeros(len(KINDS)) for name in shop.kind_effects},
        ),
        pause_effects=np.zeros(len(TRAITS)),
        tired_pause=0.0,
    )


@lru_cache
def many_sessions():
    "Sessions of the tiny shop: what they did in the first three events, and what became of them."
    log = simulate_habits(60_000, seed=5, habits=tiny_habits())
    done = pl.concat_str("page", "event", pl.col("item_id").fill_null("-"), separator=" ")
    return log.group_by("session_id", maintain_order=True).agg(
        begin=done.head(3).str.join(", "),
        events=pl.len(),
        early=(pl.col("event").head(3) == "purchase").any(),
        bought=(pl.col("event") == "purchase").any(),
        revenue=pl.col("price").filter(pl.col("event") == "purchase").sum(),
    ), log


@lru_cache
def commonest_beginnings():
    "The ten commonest first three events, with one session that began like this, and all others."
    sessions, log = many_sessions()
    alive = sessions.filter(pl.col("events") >= 3, ~pl.col("early"))
    by_begin = alive.group_by("begin").agg(
        pl.len().alias("sessions"),
        pl.col("bought").mean().alias("share"),
        pl.col("revenue").mean().alias("takings"),
        pl.col("revenue").std().alias("spread"),
        pl.col("session_id").first(),
    )
    found = by_begin.sort("sessions", "begin", descending=True).head(10)
    return found, log.filter(pl.col("session_id").is_in(found["session_id"].implode()))


def test_sessions_that_began_alike_go_on_as_the_limit_says():
    "Probability and revenue after three events, counted over all sessions that did exactly the same."
    found, log = commonest_beginnings()
    limit = best_habit_prediction(log, [3], tiny_habits(), draws=512, seed=1)
    both = found.join(limit, on="session_id")
    assert len(both) == 10 and both["sessions"].min() > 120
    for row in both.iter_rows(named=True):
        p, n = row["probability"], row["sessions"]
        error = (p * (1 - p) / n + row["probability_error"] ** 2) ** 0.5
        assert abs(row["share"] - p) < 4 * error, row
        error = (row["spread"] ** 2 / n + row["revenue_error"] ** 2) ** 0.5
        assert abs(row["takings"] - row["revenue"]) < 4 * error, row


def test_the_stated_error_is_that_of_independent_draws_and_halves_with_four_times_as_many():
    _, log = commonest_beginnings()
    quick = replace(tiny_habits(), tired=0.5)
    stated, observed = {}, {}
    for draws in (128, 512):
        found = [habit_limit(log, [3], quick, draws, seed).rows for seed in range(4)]
        stated[draws] = np.sqrt(np.mean([one["probability_error"] ** 2 for one in found]))
        said = np.array([one["probability"] for one in found])
        observed[draws] = np.sqrt(said.var(axis=0, ddof=1).mean())
    assert 1.4 < observed[128] / observed[512] < 2.9
    for draws in stated:
        assert 0.6 < stated[draws] / observed[draws] < 1.7


def test_without_habits_it_is_the_exact_limit_of_the_first_shop():
    habits = make_habit_shop()
    plain = replace(
        habits,
        switch=np.eye(len(KINDS)),
        move_effects=0 * habits.move_effects,
        band_effects=0 * habits.band_effects,
        pause_effects=0 * habits.pause_effects,
        tired=0.0,
    )
    log = simulate_habits(500, seed=3, habits=plain)
    ours = habit_limit(log, [1, 2, 5], plain, draws=128)
    exact = best_prediction(log, [1, 2, 5], shop=plain.shop)
    assert ours.rows.select("session_id", "landmark").equals(exact.select("session_id", "landmark"))
    assert np.abs(ours.rows["probability"] - exact["probability"]).max() < 1e-5
    assert np.abs(ours.rows["revenue"] - exact["revenue"]).max() < 1e-2
    assert np.ptp(ours.without, axis=1).max() < 1e-9


def test_the_same_seed_gives_the_same_log_traits_and_limit():
    log = simulate_habits(200, seed=4)
    assert log.equals(simulate_habits(200, seed=4))
    assert not log.equals(simulate_habits(200, seed=5))
    assert simulate_traits(200, seed=4)["session_id"].to_list() == (
        log["session_id"].unique(maintain_order=True).to_list()
    )
    assert best_habit_prediction(log, [2], draws=128).equals(
        best_habit_prediction(log, [2], draws=128)
    )


def test_the_limit_looks_at_nothing_later_and_not_at_other_sessions():
    log = simulate_habits(300, seed=6)
    whole = best_habit_prediction(log, [1, 3], draws=128)
    cut = best_habit_prediction(log.filter(pl.col("step") <= 3), [1, 3], draws=128)
    assert whole.equals(cut)
    some = log["session_id"].unique(maintain_order=True).head(20)
    alone = best_habit_prediction(
        log.filter(pl.col("session_id").is_in(some.implode())), [1, 3], draws=128
    )
    kept = whole.filter(pl.col("session_id").is_in(some.implode()))
    assert alone.select("session_id", "landmark").equals(kept.select("session_id", "landmark"))
    assert np.abs(alone["probability"] - kept["probability"]).max() < 1e-12


def test_both_shops_have_the_same_columns_and_names_that_can_be_asked_for():
    logs = [shop.simulate(50, 0) for shop in SHOPS.values()]
    assert logs[0].schema == logs[1].schema
    with pytest.raises(
        ValueError, match="there is no demo shop 'planets'; there are: kinds, habits"
    ):
        demo_shop("planets")
