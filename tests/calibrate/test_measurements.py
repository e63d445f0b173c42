"""Measured tables are read as they are meant, or refused with the place and the next step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import pytest
from known_machine import ENVIRONMENT, Machine, written

from nodeportsim.calibrate.fitting.measurements import TABLES, cells, read, relative
from nodeportsim.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

SERVICES = "connect_latency_vs_services"


def refused(place: Path) -> InputError:
    with pytest.raises(InputError) as caught:
        read(place)
    return caught.value


def test_times_in_another_unit_are_refused(tmp_path: Path) -> None:
    table = Machine().sweep((1, 100))
    table["connect_p25_ns"] /= 1000
    error = refused(written(tmp_path / "measured", **{SERVICES: table}))
    assert "connect_p25_ns must lie in 500 to 1e+09" in str(error)
    assert error.location is not None
    assert (error.location.line, error.location.column) == (2, 13)


def test_a_column_in_another_unit_is_named(tmp_path: Path) -> None:
    table = Machine().sweep((1, 100)).rename(columns={"connect_p25_ns": "connect_p25_us"})
    error = refused(written(tmp_path / "measured", **{SERVICES: table}))
    assert "has no column connect_p25_ns" in str(error)
    assert "connect_p25_us" in str(error)


def test_a_word_for_a_number_is_shown_with_its_line(tmp_path: Path) -> None:
    table = Machine().sweep((1, 100)).astype(object)
    table.loc[4, "services"] = "many"
    error = refused(written(tmp_path / "measured", **{SERVICES: table}))
    assert error.location is not None
    assert error.location.line == 6
    assert "must be a number" in str(error)
    assert "'many'" in str(error)


def test_an_unknown_mode_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    table = Machine().sweep((1, 100))
    table.loc[0, "mode"] = "ebpf"
    assert "iptables-legacy" in str(refused(written(tmp_path / "measured", **{SERVICES: table})))


@pytest.mark.parametrize("text", ["", "<html><body>404</body></html>\n", "\x00\x01", "mode,services\n"])
def test_what_is_no_table_is_refused(tmp_path: Path, text: str) -> None:
    place = written(tmp_path / "measured", **{SERVICES: Machine().sweep((1,))})
    (place / f"{SERVICES}.csv").write_text(text)
    error = refused(place)
    assert error.location is not None
    assert error.exit_code == 2


def test_a_table_without_rows_and_a_folder_without_tables_are_refused(tmp_path: Path) -> None:
    assert "holds no row" in str(
        refused(written(tmp_path / "measured", **{SERVICES: Machine().sweep((1,)).iloc[:0]}))
    )
    (tmp_path / "empty").mkdir()
    assert SERVICES in str(refused(tmp_path / "empty"))
    assert "measure --out" in str(refused(tmp_path / "nowhere"))


def test_old_tables_have_one_rule_per_node_port_and_no_kubernetes_service(tmp_path: Path) -> None:
    table = Machine().sweep((1, 100)).drop(columns="rules_per_node_port")
    rows = read(written(tmp_path / "measured", **{SERVICES: table})).rows(f"{SERVICES}.csv")
    assert set(rows["rules_per_node_port"]) == {1}
    assert set(rows["kubernetes_services"]) == {0}


def test_a_cell_s_quiet_time_is_the_quietest_repetition_s_and_its_typical_one_the_median() -> None:
    rows = pd.DataFrame(
        {"mode": "ipvs", "connect_p25_ns": [12.0, 10.0, 19.0], "connect_p50_ns": [13.0, 11.0, 20.0]}
    )
    (cell,) = cells(rows, ["mode"], "connect").to_dict("records")
    assert cell == {"mode": "ipvs", "repetitions": 3, "quiet_ns": 10.0, "typical_ns": 13.0}


def test_an_emulated_machine_gives_differences_only(tmp_path: Path) -> None:
    """Onto a path of 7 us: what was 3 us above the guest's own quietest stays 3 us above."""
    table = Machine().sweep((1, 100))
    bare = table.iloc[:2].assign(mode="none", connect_p25_ns=[9000.0, 8000.0], target="podip")
    both = pd.concat([bare, table.assign(connect_p25_ns=11_000.0)])
    moved = relative(read(written(tmp_path / "measured", **{SERVICES: both})), "known", 7000.0).rows(
        f"{SERVICES}.csv"
    )
    assert set(moved[moved["mode"] == "iptables-legacy"]["connect_p25_ns"]) == {10_000.0}
    with pytest.raises(InputError, match="no rows of mode none"):
        relative(read(written(tmp_path / "measured", **{SERVICES: table})), "known", 7000.0)


def test_every_table_carries_the_environment_and_units_in_its_names() -> None:
    assert ENVIRONMENT.keys() == {
        "env_label",
        "kernel",
        "cpu",
        "virtualised",
        "vcpus",
        "spectre_v2_mitigation",
    }
    for columns in TABLES.values():
        assert any(column.endswith(("_ns", "seconds")) for column in columns)
