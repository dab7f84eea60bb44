"""The local cache: bounded, the least recently used goes first, shared by processes, and nothing half-written is read."""

import multiprocessing
import os
from pathlib import Path

import pytest

from statecast.fields.sources import StoreError, cache
from statecast.fields.sources.cache import GB, CacheOptions, ChunkCache


def opened(path: Path, size: int) -> ChunkCache:
    return ChunkCache.open(CacheOptions(path=str(path), size_gb=size / GB))


def bytes_in(path: Path) -> int:
    return sum(f.stat().st_size for f in path.rglob("*") if f.is_file() and f.name not in (cache.TOTAL, cache.LOCK))


def test_what_was_written_is_read_also_by_another_process(tmp_path):
    opened(tmp_path, 1000).write("a/b", b"content")
    assert bytes(opened(tmp_path, 1000).read("a/b")) == b"content"
    assert opened(tmp_path, 1000).read("a/c") is None


def test_what_was_not_used_for_longest_goes_first(tmp_path):
    kept = opened(tmp_path, 350)
    for number, name in enumerate(("a/1", "a/2", "a/3")):
        kept.write(name, b"x" * 96)
        os.utime(tmp_path / name, (number, number))
    kept.read("a/1")
    kept.write("a/4", b"x" * 96)
    assert [name for name in ("a/1", "a/2", "a/3", "a/4") if kept.read(name)] == ["a/1", "a/3", "a/4"]


def test_what_is_larger_than_the_cache_is_not_kept(tmp_path):
    kept = opened(tmp_path, 100)
    kept.write("a/1", b"x" * 97)
    assert kept.read("a/1") is None and bytes_in(tmp_path) == 0


def test_a_damaged_or_unfinished_file_is_not_read(tmp_path):
    kept = opened(tmp_path, 1000)
    kept.write("a/1", b"x" * 96)
    for damaged in (b"", b"abc", (tmp_path / "a/1").read_bytes()[:50], b"y" + (tmp_path / "a/1").read_bytes()[1:]):
        (tmp_path / "a/1").write_bytes(damaged)
        assert kept.read("a/1") is None


def test_unfinished_files_of_dead_processes_are_removed(tmp_path):
    kept = opened(tmp_path, 150)
    kept.write("a/1", b"x" * 96)
    left = tmp_path / "a" / f"2.abc{cache.UNFINISHED}"
    left.write_bytes(b"x" * 50)
    os.utime(left, (0, 0))
    kept.write("a/3", b"x" * 96)
    assert [f.name for f in (tmp_path / "a").iterdir()] == ["3"]


def test_a_total_that_a_dead_process_left_wrong_is_put_right(tmp_path):
    kept = opened(tmp_path, 1000)
    (tmp_path / cache.TOTAL).write_text("999")
    kept.write("a/1", b"x" * 96)
    assert (tmp_path / cache.TOTAL).read_text() == "100"
    (tmp_path / cache.TOTAL).write_text("")
    kept.write("a/2", b"x" * 96)
    assert (tmp_path / cache.TOTAL).read_text() == "200"


def _hammer(path: Path, first: int) -> None:
    kept = opened(path, 5000)
    for number in range(first, first + 60):
        name = f"a/{number % 40}"
        found = kept.read(name)
        if found is not None and set(bytes(found)) != {number % 40}:
            raise SystemExit(3)
        kept.write(name, bytes([number % 40]) * (200 + number % 7))
        if bytes_in_finished(path) > 5000:
            raise SystemExit(4)


def bytes_in_finished(path: Path) -> int:
    """Of files that no other process has removed meanwhile."""
    total = 0
    for entry in os.scandir(path / "a"):
        try:
            total += 0 if entry.name.endswith(cache.UNFINISHED) else entry.stat().st_size
        except FileNotFoundError:
            continue
    return total


def test_processes_that_share_a_cache_stay_within_its_size_and_read_whole_files(tmp_path):
    fork = multiprocessing.get_context("fork")
    workers = [fork.Process(target=_hammer, args=(tmp_path, 20 * n)) for n in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert int((tmp_path / cache.TOTAL).read_text()) == bytes_in(tmp_path) <= 5000


@pytest.mark.parametrize(
    ("path", "size_gb", "said"),
    [
        ("file", 1, "is a file, expected a directory. Name another."),
        ("file/below", 1, "can't be written (Not a directory). Name another."),
        ("/proc/cache", 1, "can't be written (No such file or directory). Name another."),
        ("cache", 900_000, "is more than the disk of "),
    ],
)
def test_a_cache_that_can_not_be_is_refused_in_one_line(tmp_path, monkeypatch, path, size_gb, said):
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    with pytest.raises(StoreError) as error:
        ChunkCache.open(CacheOptions(path=path, size_gb=size_gb))
    assert said in str(error.value) and str(error.value).startswith("data.cache.") and "\n" not in str(error.value)


def test_a_full_disk_is_told_and_leaves_nothing_half_written(tmp_path, monkeypatch):
    kept = opened(tmp_path, 1000)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(StoreError, match=r"\(No space left on device\). Free some space"):
        kept.write("a/1", b"x")
    assert not list((tmp_path / "a").iterdir())
