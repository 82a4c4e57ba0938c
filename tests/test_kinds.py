"""Kinds of visitors: learned from what visitors do and never from what came of it, the same on every engine, and left out where they say nothing."""

import duckdb
import numpy as np
import polars as pl
import pytest
import skops.io
from polars.testing import assert_frame_equal
from scipy.special import softmax

from clickstream_conv.base.models_kept import is_trusted
from clickstream_conv.base.runs import Run
from clickstream_conv.classification.comparing import fold_tables
from clickstream_conv.demo.simulate import simulate
from clickstream_conv.explain.contributions import check_adds_up, Explainer
from clickstream_conv.explain.encoding import BASE, made_up
from clickstream_conv.features.columns import feature_columns
from clickstream_conv.features.encoder import AUTO, EventEncoder, visitor_folds
from clickstream_conv.features.event_words import EventWords
from clickstream_conv.features.kinds import counted_visits, told_events, VisitorKinds
from clickstream_conv.features.kinds_worth import Gain, gain_of_kinds, kinds_sentence, paired_gain
from clickstream_conv.features.learned import EventTransformer
from clickstream_conv.features.mixture import (
    Counted,
    gain_of,
    improve,
    learn_mixture,
    number_of_kinds,
    random_mixture,
)
from clickstream_conv.features.of_kinds import (
    KIND_COLUMNS,
    KIND_PARTS,
    KIND_SHARES,
    kinds_in,
    MOST_KINDS,
)
from clickstream_conv.features.sessions import (
    build_sessions,
    judged_kinds,
    learn_by_fold,
    load_sessions,
    rows_at_landmarks,
)
from clickstream_conv.features.table import session_features
from clickstream_conv.models.families import KINDS_ALONE
from clickstream_conv.models.fitting import families_for, fit, make_model, probability
from clickstream_conv.sources.card import load_card
from clickstream_conv.sources.log_card import LogCard
from clickstream_conv.sources.prepare import prepare

STATE, CONTEXT = ("event", "page"), ("channel", "device", "returning")
LANDMARKS = (1, 2, 3, 5)
LEARNED = ("_moves", "_goods", "_pauses", "_arrival", "_base", "_future", "_usual")
OF_THREE = [c for c in KIND_COLUMNS if c not in KIND_SHARES[3:]]  # columns where kinds are three


@pytest.fixture(scope="module")
def events():
    made = simulate(3_200, 3).sort("session_id", "step")
    return made.with_columns(visitor=pl.col("visitor_id"), part=pl.lit("train"))


@pytest.fixture(scope="module")
def visits(events):
    words = EventWords(STATE, CONTEXT).fit(events)
    return counted_visits(told_events(events, words), words)


@pytest.fixture(scope="module")
def kinds(events):
    return VisitorKinds(STATE, CONTEXT, number=3).fit(events)


@pytest.fixture(scope="module")
def card():
    return LogCard("demo", "a shop", session_context=[*CONTEXT], state=[*STATE], resolution="us")


def shares_of(rows):
    "The columns of how much a visit is of each kind."
    return rows.select(f"kind_{k}" for k in range(1, kinds_in(rows.columns, "kind_") + 1))


@pytest.mark.parametrize("number", (2, 3, 5))
@pytest.mark.parametrize("seed", (0, 1))
def test_what_is_maximised_never_falls(visits, number, seed):
    start = random_mixture(visits, number, np.random.default_rng(seed))
    trace = np.array(improve(start, visits, steps=40, least=-1.0).trace)
    assert len(trace) == 41 and np.diff(trace).min() > -1e-12
    assert trace[-1] > trace[0]


def test_it_stops_where_little_is_gained(visits):
    trace = learn_mixture(visits, 2, starts=1).trace
    assert 2 < len(trace) <= 201 and trace[-1] - trace[-2] < 1e-6


def test_the_same_seed_gives_the_same_kinds(events, kinds):
    again = VisitorKinds(STATE, CONTEXT, number=3).fit(events)
    assert again.ratios_ == kinds.ratios_ and again.futures_ == kinds.futures_
    shuffled = VisitorKinds(STATE, CONTEXT, number=3).fit(events.sample(fraction=1, shuffle=True))
    assert shuffled.ratios_ == kinds.ratios_ and shuffled.futures_ == kinds.futures_


def test_shares_are_those_of_the_mixture(events, kinds, visits):
    "Events added up along whole sessions come to what the mixture says of each visit."
    whole = session_features(kinds.transform(events), None, CONTEXT, ("page",), "us")
    mixture = learn_mixture(visits, 3)
    last = events.filter(pl.col("step") == pl.col("step").max().over("session_id"))
    words = kinds.words_
    told = told_events(events, words).filter(
        pl.col("session_id").is_in(last["session_id"].implode())
    )
    ended = counted_visits(told, words)
    no_end = np.array(["(end)" not in text for _, text in ended.texts])
    joint = mixture.joint(ended) - (ended.counts[:, ~no_end] @ mixture.ratio[~no_end])
    np.testing.assert_allclose(shares_of(whole).to_numpy(), softmax(joint, axis=1), atol=1e-9)


ODD = dict(
    as_it_is={},
    with_gaps=dict(
        price=pl.when(pl.col("step") % 3 > 0).then("price"),
        category=pl.when(pl.col("step") % 4 > 0).then("category"),
        item_id=pl.when(pl.col("step") % 5 > 0).then("item_id"),
        channel=pl.when(pl.col("step") > 1).then("channel"),
        page=pl.when(pl.col("step") % 7 > 0).then("page"),
    ),
    of_another_shop=dict(
        page=pl.col("page") + "/new", channel=pl.lit("new"), category=pl.lit("new")
    ),
    in_parts_of_pieces=dict(quantity=pl.col("quantity") * 0.3),
    without_numbers=dict(
        price=pl.when(pl.col("step") % 2 > 0).then("price").otherwise(float("nan")),
        quantity=pl.lit(None, pl.Int64),
        t=pl.lit(None, pl.Int64),
    ),
    of_words_by_number=dict(
        category=pl.col("category").cast(pl.Categorical),
        device=pl.col("device").cast(pl.Categorical),
    ),
)


@pytest.mark.parametrize("change", ODD)
@pytest.mark.parametrize("shuffled", (False, True))
def test_words_by_number_are_those_of_texts(events, kinds, change, shuffled):
    changed = events.with_columns(**ODD[change])
    if shuffled:
        changed = changed.sample(fraction=0.5, shuffle=True, seed=1)
    by_number, by_text = kinds.transform(changed), EventTransformer.transform(kinds, changed)
    assert by_number.schema == by_text.schema
    assert_frame_equal(by_number, by_text, check_exact=True)
    told = by_number.select("^_(arrival|moves|goods|pauses)_1$")
    assert told.sum_horizontal().n_unique() > 4


@pytest.mark.parametrize("timed", (False, True))
@pytest.mark.parametrize("priced", (False, True))
@pytest.mark.parametrize("context", ((), CONTEXT))
def test_words_by_number_of_a_log_that_says_less(events, timed, priced, context):
    some = events if priced else events.with_columns(price=pl.lit(None, pl.Float64))
    few = VisitorKinds(("event",), context, timed=timed, number=2).fit(some)
    assert_frame_equal(few.transform(some), EventTransformer.transform(few, some), check_exact=True)
    assert few.transform(some.clear()).schema == few.transform(some).schema
    lazy = few.transform(some.lazy())
    assert isinstance(lazy, pl.LazyFrame)
    assert_frame_equal(lazy.collect(), few.transform(some))


def test_engines_agree(events, kinds):
    few = events.filter(
        pl.col("session_id").is_in(events["session_id"].unique().sort().head(300).implode())
    )
    few = few.with_columns(
        price=pl.when(pl.col("step") % 7 == 0).then(None).otherwise("price"),
        channel=pl.when(pl.col("step") == 1, pl.col("device") == "tablet")
        .then(None)
        .otherwise("channel"),
    )
    expected = session_features(kinds.transform(few), LANDMARKS).select(
        "session_id", "landmark", *OF_THREE
    )
    assert expected["kinds_log_odds"].is_finite().all()
    pandas = session_features(kinds.transform(few.to_pandas()), LANDMARKS)
    lazy = session_features(kinds.transform(few.lazy()), LANDMARKS).collect()
    with duckdb.connect() as connection:
        relation = connection.from_arrow(few.sample(fraction=1, shuffle=True, seed=0).to_arrow())
        duck = session_features(kinds.transform(relation), LANDMARKS).pl()
    for found in (pl.from_pandas(pandas), lazy, duck):
        found = found.select(expected.columns).sort("session_id", "landmark")
        assert found.select("session_id", "landmark").equals(
            expected.select("session_id", "landmark")
        )
        columns = OF_THREE
        np.testing.assert_allclose(
            found.select(columns).to_numpy(), expected.select(columns).to_numpy(), atol=1e-9
        )


def test_rows_in_no_order_say_the_same(events, kinds):
    mixed = events.sample(fraction=1, shuffle=True, seed=1)
    ordered = session_features(kinds.transform(events), LANDMARKS)
    assert session_features(kinds.transform(mixed), LANDMARKS).equals(ordered)


def test_shares_add_up_and_do_not_look_ahead(events, kinds):
    rows = session_features(kinds.transform(events), LANDMARKS)
    np.testing.assert_allclose(shares_of(rows).to_numpy().sum(axis=1), 1.0, atol=1e-12)
    early = session_features(kinds.transform(events.filter(pl.col("step") <= 3)), (1, 2, 3))
    late = rows.filter(pl.col("landmark") <= 3)
    assert early.select(OF_THREE).equals(late.select(OF_THREE))


def test_every_entry_of_the_catalogue_is_made_where_there_are_as_many_kinds(events):
    most = VisitorKinds(STATE, CONTEXT, number=MOST_KINDS).fit(events)
    rows = session_features(most.transform(events), LANDMARKS)
    assert [c for c in KIND_COLUMNS if c not in rows.columns] == []
    np.testing.assert_allclose(shares_of(rows).to_numpy().sum(axis=1), 1.0, atol=1e-12)


def test_a_long_visit_has_shares(events, kinds):
    one = events.filter(pl.col("session_id") == events["session_id"][0]).head(1)
    long = pl.concat([one] * 5_000).with_columns(step=pl.int_range(1, 5_001, dtype=pl.Int64))
    rows = session_features(kinds.transform(long), None)
    assert shares_of(rows).sum_horizontal().to_list() == pytest.approx([1.0])
    assert rows["kinds_log_odds"].is_finite().all()


def test_the_outcome_is_not_looked_at(events, kinds):
    "Another outcome, or one that is drawn at random: the kinds stay what they were, and their futures do not."
    other = VisitorKinds(STATE, CONTEXT, ("event", "event", "checkout"), number=3).fit(events)
    assert other.ratios_ == kinds.ratios_ and other.prior_ == kinds.prior_
    assert other.futures_ != kinds.futures_
    rng = np.random.default_rng(0)
    hits = pl.Series("won", np.where(rng.random(len(events)) < 0.05, "yes", "no"))
    drawn = VisitorKinds(STATE, CONTEXT, ("event", "won", "yes"), number=3)
    drawn.fit(events.with_columns(hits))
    rows = [
        shares_of(session_features(one.transform(events), LANDMARKS))
        for one in (kinds, other, drawn)
    ]
    assert rows[0].equals(rows[1]) and rows[0].equals(rows[2])


def test_no_visitor_helps_to_make_the_columns_of_his_own_rows(events, card):
    "What a fold's rows are given stays the same to the last bit when the purchases of its own visitors are gone."
    fold = visitor_folds(events["visitor"]) == 0
    gone = events.filter(~(fold & (pl.col("event") == "purchase")))
    assert len(gone) < len(events)
    made = [learn_by_fold(log, card, 2) for log in (events, gone)]
    assert all(others[0].kinds_.kinds_ == 2 for _, others in made)
    columns = [f"{name}_{k}" for name in LEARNED for k in (1, 2)]
    first, second = (others[0].transform(events.filter(fold)).select(columns) for _, others in made)
    assert first.equals(second)
    whole = [encoder.transform(events.filter(fold)).select(columns) for encoder, _ in made]
    assert not whole[0].equals(whole[1]), "their purchases change what is learned of all"


def test_kinds_keep_their_numbers_in_every_fold(events, card):
    whole, others = learn_by_fold(events, card, 3)
    mine = shares_of(session_features(whole.transform(events), (5,))).to_numpy()
    for other in others.values():
        theirs = shares_of(session_features(other.transform(events), (5,))).to_numpy()
        assert (mine.argmax(axis=1) == theirs.argmax(axis=1)).mean() > 0.9


def test_nothing_is_made_of_a_small_log_and_that_is_said(events, card):
    small = events.filter(pl.col("session_id") < events["session_id"].unique().sort()[500])
    encoder, others = learn_by_fold(small, card, AUTO)
    said = judged_kinds(small, encoder, others, card, LANDMARKS)
    assert "fewer than the 3,000 that kinds are learned from" in said.text
    assert kinds_in(encoder.transform(small).columns) == 0


def test_nothing_is_made_of_one_state_and_that_is_said(events):
    plain = events.with_columns(event=pl.lit("view"), page=pl.lit("a"))
    found = VisitorKinds(STATE, CONTEXT).fit(plain)
    assert found.kinds_ == 1 and "one state" in found.why_
    assert found.transform(plain).columns == plain.columns


def test_a_log_without_context_has_kinds(events):
    found = VisitorKinds(STATE, number=2).fit(events)
    assert found.prior_ == {} and found.kinds_ == 2
    assert kinds_in(found.transform(events).columns) == 2


def test_one_kind_is_found_where_there_is_one():
    rng = np.random.default_rng(0)
    given = np.repeat(np.arange(2), 3)
    counts = np.column_stack([rng.multinomial(6, [0.5, 0.3, 0.2], 3_000) for _ in range(2)])
    from scipy.sparse import csr_array

    visits = Counted(
        counts=csr_array(counts.astype(float)),
        given=given,
        texts=[(0, str(k)) for k in range(6)],
        ways=np.ones((1, 1)),
        way=np.zeros(3_000, int),
        names=[],
        events=np.full(3_000, 12),
        draw=rng.random(3_000),
    )
    assert number_of_kinds(visits, 4)[0] == 1


def test_models_see_the_odds_and_their_parts_and_not_the_shares(events, kinds):
    rows = session_features(kinds.transform(events), LANDMARKS).to_pandas()
    numbers, _ = feature_columns(rows)
    assert [c for c in KIND_COLUMNS if c in numbers] == ["kinds_log_odds", *KIND_PARTS]


def test_the_gain_is_paired_by_visitor():
    fall, who = np.array([1.0, 1.0, -1.0, 1.0]), np.array([*"aabc"])
    gain = paired_gain(fall, who)
    assert gain.mean == 0.5 and gain.visitors == 3
    assert gain.error == pytest.approx(np.sqrt(1.0**2 + 1.5**2 + 0.5**2) / 4)
    more, error = gain_of(np.array([1.0, 2.0]), np.array([0.0, 1.0]), np.array([2, 2]))
    assert (more, error) == (0.5, 0.0)


def test_kinds_that_bring_nothing_are_left_out(events, card, monkeypatch):
    encoder, others = learn_by_fold(events, card, AUTO)
    assert encoder.kinds_.kinds_ > 1
    none = Gain(-0.001, 0.002, 100, 50)
    monkeypatch.setattr("clickstream_conv.features.sessions.gain_of_kinds", lambda rows: none)
    said = judged_kinds(events, encoder, others, card, LANDMARKS)
    assert "left out" in said.text and "raises" in said.text and len(said.figures) == 2
    assert {one.kinds_ for one in (encoder, *others.values())} == {None}
    assert kinds_in(encoder.transform(events).columns) == 0


def test_the_sentence_says_what_was_measured():
    said = kinds_sentence(4, Gain(0.002, 0.0005, 24_000, 6_000), True)
    assert said.code == "features.kinds" and "0.0020 (0.0010 to 0.0030)" in said.text
    worse = kinds_sentence(4, Gain(-0.002, 0.0005, 24_000, 6_000), False)
    assert "raises the log-loss of visitors set aside by 0.0020 (0.0010 to 0.0030)" in worse.text
    assert "as was asked for" in kinds_sentence(4, Gain(0.0, 0.1, 9, 9), True).text


def test_the_gain_is_unknown_where_nobody_converts(events, card):
    encoder, _ = learn_by_fold(events, card, 2)
    rows = rows_at_landmarks(encoder.transform(events), events, card, LANDMARKS)
    assert gain_of_kinds(rows.with_columns(converted=pl.lit(0))) is None


def test_an_encoder_is_kept_without_code(events, card):
    encoder = EventEncoder(state=STATE, kinds=2, context=CONTEXT).fit(events)
    content = skops.io.dumps(encoder)
    unknown = skops.io.get_untrusted_types(data=content)
    assert all(is_trusted(name) for name in unknown)
    again = skops.io.loads(content, trusted=unknown)
    assert again.transform(events).equals(encoder.transform(events))


def test_an_encoder_of_an_earlier_run_still_answers(events):
    old = EventEncoder(state=STATE).fit(events)
    for name in ("kinds", "context", "kinds_"):
        del old.__dict__[name]
    assert old.get_params()["kinds"] == 0 and "EventEncoder" in repr(old)
    assert kinds_in(old.transform(events).columns) == 0


def plain_odds(belongs, futures):
    "The log-odds of futures, weighed by how likely their kinds are."
    future = (softmax(belongs, axis=1) * futures).sum(axis=1)
    return np.log(future) - np.log(1 - future)


def test_the_parts_are_what_the_odds_gain_when_each_becomes_known(events, kinds):
    "Worked out once more from the columns of events, session by session, without the catalogue."
    made = kinds.transform(events).sort("session_id", "step")
    rows = session_features(made, (5,)).sort("session_id")
    shown = made.filter(pl.col("session_id").is_in(rows["session_id"].implode()))
    ended = shown.filter(pl.col("step") == 5).sort("session_id")

    def of(name, frame=ended):
        return frame.select(f"{name}_{k}" for k in (1, 2, 3)).to_numpy()

    summed = shown.filter(pl.col("step") <= 5).group_by("session_id", maintain_order=True)
    summed = summed.agg(pl.col("^_(arrival|moves|goods|pauses)_.$").sum()).sort("session_id")
    gains = [of(name, summed) for name in ("_arrival", "_moves", "_goods", "_pauses")]
    gains[0] = gains[0] - of("_base")
    orders, expected = [range(5), range(4, -1, -1)], np.zeros((len(rows), 5))
    for order in orders:
        belongs, futures = of("_base"), of("_usual")
        before = nothing = plain_odds(belongs, futures)
        for part in order:
            if part == 4:
                futures = of("_future")
            else:
                belongs = belongs + gains[part]
            after = plain_odds(belongs, futures)
            expected[:, part] += (after - before) / 2
            before = after
    found = rows.select(KIND_PARTS).to_numpy()
    np.testing.assert_allclose(found, expected, atol=1e-9)
    whole = rows["kinds_log_odds"].to_numpy()
    np.testing.assert_allclose(found.sum(axis=1) + nothing, whole, atol=1e-9)
    assert (np.abs(found).max(axis=0) > 0.05).all()


def test_of_one_event_its_pause_says_nothing(events, kinds):
    rows = session_features(kinds.transform(events), (1,))
    assert rows["kinds_by_pauses"].abs().max() < 1e-12
    assert rows["kinds_by_arrival"].abs().max() > 0.01


def test_a_model_of_kinds_alone_sees_nothing_else(tmp_path):
    "It takes the rows as they are, and its reasons are the parts of the odds."
    run = Run(str(tmp_path / "run"))
    prepare(run, sessions=700)
    build_sessions(run, kinds=2)
    rows = load_sessions(run)
    model = fit(make_model(KINDS_ALONE, rows), rows)
    mixed = rows.assign(**{c: rows[c].to_numpy()[::-1] for c in ("n_cart", "channel", "hour")})
    assert (probability(model, rows) == probability(model, mixed)).all()
    weights = dict(zip(KIND_PARTS, model.steps[-1][1].coef_[0]))
    explainer = Explainer(model, made_up(rows)).prepare()
    found = explainer.contributions(rows.head(3))
    others = found.drop(columns=[BASE, *KIND_PARTS])
    assert {"n_cart", "channel", "kinds_log_odds"} < {*others} and (others == 0).all(axis=None)
    more = explainer.contributions(rows.head(3).assign(kinds_by_moves=rows["kinds_by_moves"] + 1))
    gained = (more - found)["kinds_by_moves"].to_numpy()
    np.testing.assert_allclose(gained, weights["kinds_by_moves"], atol=1e-9)
    check_adds_up(explainer, rows.head(50))
    without = rows.drop(columns="kinds_by_moves")
    assert KINDS_ALONE not in families_for(without)
    with pytest.raises(ValueError, match="sees nothing but kinds_by_arrival, kinds_by_moves"):
        make_model(KINDS_ALONE, without)


def test_models_are_compared_on_rows_with_the_kinds_of_the_run(tmp_path):
    "Out-of-fold answers, from which calibration and threshold are learned, know the columns that the model knows."
    run = Run(str(tmp_path / "run"))
    prepare(run, sessions=700)
    build_sessions(run, kinds="2")
    rows = load_sessions(run)
    assert "kinds_log_odds" in rows.columns
    for learn, validate in fold_tables(run, load_card(run), rows, 2):
        assert [*learn.columns] == [*validate.columns] == [*rows.columns]
        assert not set(learn["visitor"]) & set(validate["visitor"])
        assert learn["kinds_log_odds"].notna().all() and learn["kinds_log_odds"].nunique() > 20


def test_from_an_unknown_place_a_visit_goes_on_as_usual():
    "Weighted by how often events are there: a checkout, which few reach, makes no visit a buyer."
    from clickstream_conv.demo.simulate import simulate
    from clickstream_conv.features.kinds import VisitorKinds

    events = simulate(3_000, 0)
    kinds = VisitorKinds(("event", "page"), ("channel", "device", "returning"), number=4).fit(
        events
    )
    sessions = events.group_by("session_id").agg((pl.col("event") == "purchase").any())
    base = sessions["event"].mean()
    share = np.array(kinds.shares_) @ np.array(kinds.future_)
    assert base / 3 < share < 4 * base, (base, share)
