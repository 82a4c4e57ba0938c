"""An order counts once in a whole log: read whole, in pieces, and scored, whatever becomes of its first report."""

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clickstream_conv.log.mapped import read_log
from clickstream_conv.log.mapping_files import mapping_from_text
from clickstream_conv.log.partitions import check_partitions, spill, summed_up
from clickstream_conv.log.tables import read_pieces

MAPPING = mapping_from_text(
    "columns: {session_id: s, t: t, event: e, item_id: i, price: p, order_id: o}\nduplicates: keep\n"
)
HEADER = "s,t,e,i,p,o"


def whole(path):
    return read_log(path, MAPPING, 1.0)


def in_pieces(path, folder, size=400):
    "The same, a few rows at a time and by partitions."
    rules, rows, first = spill(
        read_pieces(path, **MAPPING.reading(), size=size), MAPPING, folder, 4
    )
    parts = list(check_partitions(folder, rules, (), first=first))
    total = summed_up(parts, rows, rules, 1.0)
    return pl.concat([part.events for part in parts]).sort("session_id", "step"), total.orders


def alike(path, folder):
    "What both ways of reading say, which must be one."
    one, (events, orders) = whole(path), in_pieces(path, folder)
    assert events.equals(one.events.sort("session_id", "step"))
    assert (orders.orders, orders.again, orders.unpriced, orders.pieces) == (
        one.orders.orders,
        one.orders.again,
        one.orders.unpriced,
        one.orders.pieces,
    )
    assert orders.revenue == pytest.approx(one.orders.revenue)
    return one.orders


def test_a_first_report_that_is_set_aside_does_not_take_its_order_along(tmp_path):
    "A price that cannot be read at the first report: the reload is the order."
    rows = [HEADER]
    for n in range(60):
        price = "abc" if n == 7 else "5"
        rows += [
            f"s{n},2024-03-01 10:{n:02}:00,view,a,5,",
            f"s{n},2024-03-01 10:{n:02}:30,purchase,a,{price},T{n}",
            f"s{n},2024-03-01 10:{n:02}:50,purchase,a,5,T{n}",
        ]
    (tmp_path / "log.csv").write_text("\n".join(rows) + "\n")
    found = alike(tmp_path / "log.csv", tmp_path / "parts")
    assert (found.orders, found.revenue, found.again) == (60, 300.0, 59)


def test_two_visits_that_report_an_order_at_one_moment(tmp_path):
    "The row that comes first in the file is the order, however sessions fall into partitions."
    rows = [HEADER] + [f"s{n},2024-03-01 10:00:00,purchase,a,5,T{n % 20}" for n in range(60)]
    (tmp_path / "log.csv").write_text("\n".join(rows) + "\n")
    found = alike(tmp_path / "log.csv", tmp_path / "parts")
    assert (found.orders, found.revenue, found.again) == (20, 100.0, 40)


REPORT = st.tuples(
    st.integers(0, 5),
    st.integers(0, 9),
    st.sampled_from("ab"),
    st.sampled_from(["5", "2.5", "", "abc"]),
    st.sampled_from(["", "T1", "T2", "(not set)"]),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(REPORT, min_size=1, max_size=25))
def test_whole_and_in_pieces_agree(tmp_path_factory, reports):
    "Random reports: sessions, moments, products, prices that cannot be read, orders."
    folder = tmp_path_factory.mktemp("orders")
    rows = [HEADER, "s0,2024-03-01 09:00:00,view,a,1,"] + [
        f"s{s},2024-03-01 10:00:0{t},purchase,{item},{price},{order}"
        for s, t, item, price, order in reports
    ]
    (folder / "log.csv").write_text("\n".join(rows) + "\n")
    alike(folder / "log.csv", Path(folder / "parts"))
