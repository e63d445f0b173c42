"""What is no dump, or a damaged one: an error that says where and what to do, never a traceback."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodeportsim.errors import InputError
from nodeportsim.kubeproxy.dump import Tool, read_dump, usable
from nodeportsim.kubeproxy.dump_rows import packets

FOLDER = Path(__file__).parents[1] / "golden" / "dumps"
TOOLS: dict[str, Tool] = {".iptables-save": "iptables-save", ".nft": "nft", ".txt": "ipvsadm"}
DUMPS = sorted(path for path in FOLDER.iterdir() if path.suffix in TOOLS)
SAVED = (FOLDER / "1x3.iptables-save").read_text()
NFT = (FOLDER / "1x3.nft").read_text()


@pytest.mark.parametrize(
    ("tool", "text", "words"),
    [
        ("iptables-save", "", "d:1:1: is empty"),
        ("iptables-save", "# only a comment\n", "iptables-save > FILE"),
        ("nft", "<!DOCTYPE html>\n<html>", "is an HTML page, not of nft"),
        ("nft", '{"nftables": []}', "is JSON, not of nft"),
        ("nft", SAVED, "--from-iptables-save"),
        ("iptables-save", NFT, "--from-nft"),
        ("ipvsadm", "-A -t 10.0.0.1:80 -s rr\n", "is ipvsadm-save"),
        ("iptables-save", "Chain INPUT (policy ACCEPT)\n", "listing of iptables -L"),
        ("iptables-save", SAVED.rpartition("COMMIT")[0], "its COMMIT is missing"),
        ("iptables-save", "*nat\n:A - [0:0]\nhello\nCOMMIT\n", "d:3:1: is no line of iptables-save here"),
        ("iptables-save", "*nat\n:A - [0:0]\n-A B -j A\nCOMMIT\n", "d:3:1: appends to no chain"),
        ("iptables-save", "*nat\n:A - [0:0]\n-A A -d ::1/128 -j A\nCOMMIT\n", "IPv6 is not read"),
        ("iptables-save", "*nat\n:A - [0:0]\n-A A -j KUBE-SVC-X\nCOMMIT\n", "a chain the dump does not hold"),
        ("iptables-save", "*nat\n:A - [0:0]\nCOMMIT\n", "holds no KUBE-SERVICES chain of mode iptables"),
        ("nft", "table ip other {\n}\n", "holds no table ip kube-proxy"),
        ("nft", NFT.replace(". tcp . 80 :", ". tcp . http :"), "holds a damaged address or port"),
        ("nft", NFT.rstrip().removesuffix("}"), "its } is missing"),
        ("ipvsadm", "TCP  10.0.0.1:80 rr\nhello\n", "d:2:1: is no line of ipvsadm -Ln"),
    ],
)
def test_what_cannot_be_read_is_said_with_place_and_next_step(tool: Tool, text: str, words: str) -> None:
    with pytest.raises(InputError) as error:
        read_dump(tool, text, "d")
    assert words in str(error.value)
    assert error.value.hint


def test_chains_that_jump_in_a_circle_are_refused() -> None:
    text = SAVED.replace(":KUBE-MARK-MASQ", ":a - [0:0]\n:KUBE-MARK-MASQ", 1)
    text = text.replace("-A PREROUTING", "-A PREROUTING -j a\n-A a -j a\n-A PREROUTING", 1)
    dump = read_dump("iptables-save", text, "d")
    with pytest.raises(InputError, match="jump in a circle"):
        dump.follow(dump.view.ports[0], "podip")


def follow_all(tool: Tool, text: str) -> None:
    dump = read_dump(tool, text, "d")
    for port in dump.view.ports:
        for packet in packets(port):
            for rank in range(1, max(len(usable(port, packet)), 1) + 1):
                dump.follow(port, packet, endpoint=rank)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(DUMPS), st.data())
def test_a_damaged_dump_gives_a_walk_or_an_error_of_ours(path: Path, data: st.DataObject) -> None:
    lines = path.read_text().splitlines(keepends=True)
    for _ in range(data.draw(st.integers(1, 3))):
        n = data.draw(st.integers(0, len(lines) - 1))
        line = lines[n]
        cut = data.draw(st.integers(0, len(line)))
        junk = data.draw(
            st.sampled_from(["", "", "-", "!", "{", "}", '"', " ", "0", "/", ":", "é", "-d", " . "])
        )
        end = data.draw(st.integers(cut, len(line)))
        lines[n] = line[:cut] + junk + line[end:]
    with suppress(InputError):
        follow_all(TOOLS[path.suffix], "".join(lines))


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(DUMPS), st.data())
def test_a_dump_cut_anywhere_gives_a_walk_or_an_error_of_ours(path: Path, data: st.DataObject) -> None:
    text = path.read_text()
    with suppress(InputError):
        follow_all(TOOLS[path.suffix], text[: data.draw(st.integers(0, len(text)))])
