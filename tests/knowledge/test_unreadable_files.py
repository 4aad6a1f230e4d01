"""What stands under a fact file's name and can't be read as one: refused, and never waited for."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapterstore.errors import FactFileError
from adapterstore.knowledge.formats import MAXIMUM_BYTES, parse_fact_file, read_fact_file

FACT = "- {prompt: a, answer: b}\n"


def test_a_name_that_is_no_fact_files_is_not_even_opened(tmp_path: Path) -> None:
    with pytest.raises(FactFileError, match=r"x\.txt: not a fact file by its name"):
        read_fact_file(tmp_path / "x.txt")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FactFileError, match=r"x\.yaml: can't be read: No such file or directory"):
        read_fact_file(tmp_path / "x.yaml")


def test_a_folder(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").mkdir()
    with pytest.raises(FactFileError, match=r"x\.yaml: a folder, not a file"):
        read_fact_file(tmp_path / "x.yaml")


def test_a_fifo_that_nobody_writes_to(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.yaml")
    with pytest.raises(FactFileError, match=r"x\.yaml: not a regular file"):
        read_fact_file(tmp_path / "x.yaml")


def test_an_endless_device(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").symlink_to("/dev/zero")
    with pytest.raises(FactFileError, match=r"x\.yaml: not a regular file"):
        read_fact_file(tmp_path / "x.yaml")


def test_a_socket(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "x.yaml"))
        with pytest.raises(FactFileError, match=r"x\.yaml: can't be read"):
            read_fact_file(tmp_path / "x.yaml")


def test_a_path_with_a_nul_character() -> None:
    with pytest.raises(FactFileError, match="its name has a NUL character"):
        read_fact_file(Path("a\0.yaml"))


@pytest.fixture
def ordinary_user() -> Iterator[None]:
    """Give up root's right to read everything, where the tests have it."""
    was = os.geteuid()
    if was == 0:
        os.seteuid(65534)
    yield
    os.seteuid(was)


@pytest.fixture
def closed_file(tmp_path: Path) -> Path:
    path = tmp_path / "x.yaml"
    path.write_text(FACT)
    path.chmod(0)
    return path


@pytest.mark.usefixtures("closed_file", "ordinary_user")
def test_a_file_without_permission(closed_file: Path) -> None:
    with pytest.raises(FactFileError, match=r"x\.yaml: can't be read: Permission denied"):
        read_fact_file(closed_file)


def test_a_file_beyond_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    with path.open("wb") as file:
        file.truncate(MAXIMUM_BYTES + 1)
    with pytest.raises(FactFileError, match=r"x\.yaml: larger than 64 MiB; split it"):
        read_fact_file(path)
    with pytest.raises(FactFileError, match=r"x\.yaml: larger than 64 MiB; split it"):
        parse_fact_file(bytes(MAXIMUM_BYTES + 1), "x.yaml")


def test_a_good_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "2022-カザフスタンの首都.yaml"
    path.write_text(FACT)
    file = read_fact_file(path)
    assert (file.name, len(file.facts), file.source) == (str(path), 1, None)
