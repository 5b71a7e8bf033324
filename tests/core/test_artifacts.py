"""Files that a stage's folder is known by: whatever is damaged in them is one line."""

import json
from pathlib import Path

import pytest

from rarft.core.artifacts import read_manifest
from rarft.core.errors import InputError

GOOD = {"stage": "x", "fingerprint": "f", "digest": "d", "results": {}, "files": {"a": [1, 2, "s"]}, "more": 1}
DAMAGE = [
    b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000, b"{}", b'{"stage": NaN}',
    *(json.dumps(GOOD | change).encode() for change in (
        {"stage": []}, {"results": 3}, {"files": {"a": 1}}, {"files": []}, {"identity": "x"}, {"ledger": 1},
    )),
]  # fmt: skip


def test_a_manifest_of_another_version_is_read(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps(GOOD))
    assert read_manifest(tmp_path)["more"] == 1


@pytest.mark.parametrize("text", DAMAGE, ids=range(len(DAMAGE)))
def test_a_damaged_manifest_is_told_in_one_line(text: bytes, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes(text)
    with pytest.raises(InputError, match=r"manifest\.json: damaged .*; make the folder again") as told:
        read_manifest(tmp_path)
    assert len(str(told.value).splitlines()) == 1
