"""The master secret's file is read only where nobody else can read it, and keys are those of the SDK."""

from pathlib import Path

import pytest

from stayhand.errors import ConfigurationError
from stayhand.signing import point_key
from streams.keyring import MAX_SECRET_BYTES, KeyRing, load_secret

MASTER = b"m" * 32


def secret_file(folder: Path, content: bytes, mode: int = 0o600) -> Path:
    path = folder / "master"
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_keys_are_derived_as_the_sdk_derives_them_and_differ_by_point_and_key_id() -> None:
    ring = KeyRing(MASTER)
    assert ring.key("gateway", "k1") == point_key(MASTER, "gateway", "k1") == ring.key("gateway", "k1")
    assert len({ring.key(point, key_id) for point in "ab" for key_id in "ab"}) == 4
    assert not ring.unsigned


def test_an_unsigned_ring_has_no_keys() -> None:
    assert KeyRing(None).unsigned
    with pytest.raises(ConfigurationError, match="unsigned"):
        KeyRing(None).key("gateway", "k1")


def test_a_ring_shows_neither_secret_nor_key() -> None:
    ring = KeyRing(MASTER)
    assert not hasattr(ring, "__dict__")
    assert MASTER.decode() not in repr(ring) + repr(ring.key)


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_the_line_end_that_an_editor_adds_is_no_part_of_the_secret(tmp_path: Path, end: bytes) -> None:
    assert load_secret(secret_file(tmp_path, MASTER + end)) == MASTER


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601, 0o644])
def test_a_file_that_others_can_reach_is_refused_with_the_command_that_mends_it(tmp_path: Path, mode: int) -> None:
    path = secret_file(tmp_path, MASTER, mode)
    with pytest.raises(ConfigurationError, match=f"chmod 600 {path}"):
        load_secret(path)


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_file_of_its_owner_alone_is_read(tmp_path: Path, mode: int) -> None:
    assert load_secret(secret_file(tmp_path, MASTER, mode)) == MASTER


@pytest.mark.parametrize(
    ("content", "told"), [(b"m" * 31 + b"\n", "openssl rand"), (b"m" * (MAX_SECRET_BYTES + 1), "more than 4096")]
)
def test_a_secret_of_the_wrong_size_is_refused(tmp_path: Path, content: bytes, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told) as raised:
        load_secret(secret_file(tmp_path, content))
    assert "\n" not in str(raised.value)
    assert "mmm" not in str(raised.value)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        load_secret(tmp_path / "absent")
    with pytest.raises(ConfigurationError, match="not a regular file"):
        load_secret(tmp_path)


def test_a_short_secret_makes_no_ring() -> None:
    with pytest.raises(ConfigurationError, match="less than 32"):
        KeyRing(b"short")
