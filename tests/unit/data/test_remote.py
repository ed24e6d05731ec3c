"""Shards behind a web server that fails now and then: nothing wrong is read, and what does not pass is told."""

from __future__ import annotations

import base64
import json
import os
import pickle
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter

pytest.importorskip("fsspec", reason="the extra `remote` is not installed")
pytest.importorskip("aiohttp", reason="the extra `remote` is not installed")

from tests.unit.data.packs import content_of, pack, small_folder
from tests.unit.data.pictures import Jitter
from vit_cli.data import remote
from vit_cli.data.decode import BadImage
from vit_cli.data.fingerprint import fingerprint
from vit_cli.data.loader import TrainBatches, read_picture
from vit_cli.data.order import Order
from vit_cli.data.reduce import take_picture
from vit_cli.data.shards import Shards
from vit_cli.data.source import Source
from vit_cli.errors import DataError

pytestmark = pytest.mark.slow  # dozens of short ones that read and write files: too much for `make check`


Fault = Callable[["Handler"], bool]
"""Answers a request in a wrong way, and tells whether it did."""


class Handler(SimpleHTTPRequestHandler):
    """Gives files and parts of files, unless a fault comes first."""

    def do_GET(self) -> None:
        server: Server = self.server  # type: ignore[assignment]
        server.asked[self.path] += 1
        if server.fault is not None and server.fault(self):
            return
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        content = path.read_bytes()
        first, _, last = (self.headers.get("Range") or "").removeprefix("bytes=").partition("-")
        part = content[int(first or 0) : int(last) + 1 if last else None]
        self.send_response(206 if first else 200)
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    """A server of a folder; counts what it is asked for."""

    fault: Fault | None = None
    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        self.asked: Counter[str] = Counter()
        super().__init__(("127.0.0.1", 0), lambda *args: Handler(*args, directory=str(folder)))

    def handle_error(self, request: object, client: object) -> None:
        """Say nothing of connections that were dropped."""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A pack behind a web server, and little patience."""
    monkeypatch.setattr(remote, "WAITS", (0.01, 0.01, 0.01, 0.01))
    pack(small_folder(tmp_path / "p"), tmp_path / "web" / "pack")
    server = Server(tmp_path / "web")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def local(tmp_path: Path) -> list[bytes]:
    samples = Shards(path=str(tmp_path / "web" / "pack")).open()
    return [samples.read(index) for index in range(len(samples))]


def every(count: int, answer: Callable[[Handler], None]) -> Fault:
    """Let every n-th request fail."""
    numbers = iter(range(1, 10**9))
    lock = threading.Lock()

    def fault(handler: Handler) -> bool:
        with lock:
            number = next(numbers)
        if number % count:
            return False
        answer(handler)
        return True

    return fault


def refuse(handler: Handler) -> None:
    handler.send_error(503)


def hang_up(handler: Handler) -> None:
    handler.connection.close()


def stop_early(handler: Handler) -> None:
    handler.send_response(206)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b"x" * 100)
    handler.connection.close()


def give_less(handler: Handler) -> None:
    handler.send_response(206)
    handler.send_header("Content-Length", "10")
    handler.end_headers()
    handler.wfile.write(b"x" * 10)


FAULTS = {"503": refuse, "reset": hang_up, "cut": stop_early, "short": give_less}


@pytest.mark.case("S10")
@pytest.mark.parametrize("cached", [False, True])
def test_a_remote_pack_is_the_same_as_a_local_one(served: Server, tmp_path: Path, cached: bool) -> None:
    cache = tmp_path / "cache" if cached else None
    samples = Shards(path=f"{served.address}/pack", cache_dir=cache).open()
    assert [samples.read(index) for index in range(37)] == local(tmp_path)
    here = Shards(path=str(tmp_path / "web" / "pack")).open()
    assert [samples.key(index) for index in range(37)] == [here.key(index) for index in range(37)]
    assert fingerprint(samples) == fingerprint(here)
    assert samples.name(3) == f"{served.address}/pack/{here.name(3).rsplit('/pack/')[1]}"


def test_without_a_cache_only_the_pictures_themselves_are_read(served: Server, tmp_path: Path) -> None:
    before = content_of(tmp_path)
    samples = Shards(path=f"{served.address}/pack").open()
    served.asked.clear()
    samples.read(0)
    assert sum(served.asked.values()) == 1
    assert content_of(tmp_path) == before


def test_with_a_cache_each_shard_and_the_index_are_fetched_once(served: Server, tmp_path: Path) -> None:
    section = Shards(path=f"{served.address}/pack", cache_dir=tmp_path / "cache")
    for _ in range(2):
        samples = section.open()
        assert [samples.read(index) for index in range(37)] == local(tmp_path)
    counts = {path.rsplit("/")[-1]: count for path, count in served.asked.items()}
    assert counts.pop("index.json") == 2  # so that a pack that was replaced is seen
    assert set(counts.values()) == {1}
    assert len(counts) == 3 + len(samples.files)


def test_a_pack_that_was_replaced_is_not_read_from_the_cache_of_the_old_one(served: Server, tmp_path: Path) -> None:
    section = Shards(path=f"{served.address}/pack", cache_dir=tmp_path / "cache")
    before = [section.open().read(index) for index in range(37)]
    (tmp_path / "web" / "pack").rename(tmp_path / "old")
    pack(small_folder(tmp_path / "q"), tmp_path / "web" / "pack", seed=1)
    samples = section.open()
    now = [samples.read(index) for index in range(37)]
    assert now == local(tmp_path)
    assert now != before


@pytest.mark.case("S10")
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("cached", [False, True])
def test_a_server_that_fails_now_and_then_changes_nothing(
    served: Server, tmp_path: Path, fault: str, cached: bool
) -> None:
    served.fault = every(3, FAULTS[fault])
    samples = Shards(path=f"{served.address}/pack", cache_dir=tmp_path / "cache" if cached else None).open()
    assert [samples.read(index) for index in range(37)] == local(tmp_path)
    assert not list((tmp_path / "cache").rglob("*.part"))


@pytest.mark.slow
@pytest.mark.case("S10")
@pytest.mark.parametrize("fault", FAULTS)
def test_a_server_that_always_fails_is_told_with_its_address(served: Server, tmp_path: Path, fault: str) -> None:
    samples = Shards(path=f"{served.address}/pack").open()
    served.fault = every(1, FAULTS[fault])
    served.asked.clear()
    with pytest.raises(OSError, match=f"{served.address}/pack/shard-000000.tar: ") as failed:
        samples.read(0)
    assert failed.value.strerror
    assert sum(served.asked.values()) >= 5
    with pytest.raises(BadImage, match=f"unreadable: {served.address}/pack/shard-000000.tar: "):
        read_picture(samples, 0, 10**6)
    with pytest.raises(DataError, match=f"{served.address}/pack(/index.json is no index| can't be opened: )"):
        Shards(path=f"{served.address}/pack").open()


@pytest.mark.case("S10")
def test_attempts_are_not_multiplied_by_those_who_try_files_again(served: Server) -> None:
    samples = Shards(path=f"{served.address}/pack").open()
    served.fault = every(1, refuse)
    reading: list[Callable[[], object]] = [
        lambda: read_picture(samples, 0, 10**6),
        lambda: take_picture(samples, 0, None, 92, 10**6),
    ]
    for read in reading:
        served.asked.clear()
        with pytest.raises(BadImage, match=r"unreadable: .*503"):
            read()
        assert sum(served.asked.values()) == 1 + len(remote.WAITS)


@pytest.mark.parametrize("place", ["file", "file/cache", "cache"])
def test_a_cache_that_cannot_be_written_is_named(served: Server, tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("no folder")
    section = Shards(path=f"{served.address}/pack", cache_dir=tmp_path / place)
    if place != "cache":
        with pytest.raises(DataError, match=f"{tmp_path / place}/.* can't be written: Not a directory"):
            section.open()
        return
    samples = section.open()
    (folder,) = (tmp_path / "cache").iterdir()
    shutil.rmtree(folder)
    folder.write_text("no folder any more")
    served.asked.clear()
    with pytest.raises(DataError, match=f"{folder} can't be written: Not a directory"):
        samples.store.fetch(samples.files[0], 0, 10)
    assert not served.asked


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_cache_of_somebody_else_is_named(served: Server, tmp_path: Path) -> None:
    section = Shards(path=f"{served.address}/pack", cache_dir=tmp_path / "cache")
    for folder in (tmp_path / "cache", tmp_path / "cache" / "x"):
        folder.mkdir()
    (tmp_path / "cache").chmod(0o500)
    with pytest.raises(DataError, match=f"{tmp_path / 'cache'}/.* can't be written: Permission denied"):
        section.open()
    (tmp_path / "cache").chmod(0o700)
    section.open().read(0)
    for folder in (tmp_path / "cache").iterdir():
        folder.chmod(0o500)
    samples = section.open()
    assert samples.read(0) == local(tmp_path)[0]  # nothing is to be written
    with pytest.raises(DataError, match="can't be written: Permission denied"):
        samples.read(36)


@pytest.mark.case("S10")
def test_what_is_not_there_is_not_asked_for_again(served: Server, tmp_path: Path) -> None:
    samples = Shards(path=f"{served.address}/pack").open()
    for shard in (tmp_path / "web" / "pack").glob("*.tar"):
        shard.unlink()
    served.asked.clear()
    with pytest.raises(FileNotFoundError, match=r"shard-000000.tar is not there"):
        samples.read(0)
    assert sum(served.asked.values()) == 1
    with pytest.raises(DataError, match=r"no/index.json is not there"):
        Shards(path=f"{served.address}/no").open()


def test_a_server_without_parts_of_files_is_told(served: Server, tmp_path: Path) -> None:
    samples = Shards(path=f"{served.address}/pack").open()

    def give_all(handler: Handler) -> bool:
        del handler.headers["Range"]
        return False

    served.fault = give_all
    served.asked.clear()
    with pytest.raises(DataError, match=r"gives whole files only.*\n.*set cache_dir"):
        read_picture(samples, 0, 10**6)
    assert sum(served.asked.values()) == 1
    served.asked.clear()
    with pytest.raises(DataError, match=r"gives whole files only.*\n.*set cache_dir"):
        Shards(path=f"{served.address}/pack").open()
    assert not [path for path in served.asked if path.endswith(".tar")]
    cached = Shards(path=f"{served.address}/pack", cache_dir=tmp_path / "cache").open()
    assert cached.read(0) == local(tmp_path)[0]


@pytest.mark.case("S8")
def test_a_shard_with_a_flipped_bit_is_not_taken_into_the_cache(served: Server, tmp_path: Path) -> None:
    samples = Shards(path=f"{served.address}/pack", cache_dir=tmp_path / "cache").open()
    path = tmp_path / "web" / "pack" / "shard-000000.tar"
    content = bytearray(path.read_bytes())
    content[600] ^= 1
    path.write_bytes(content)
    with pytest.raises(OSError, match="another checksum"):
        samples.read(0)
    assert not list((tmp_path / "cache").rglob("shard*"))
    (tmp_path / "web" / "pack" / "keys.bin").write_bytes(bytes(8 * 37))
    with pytest.raises(DataError, match=r"keys.bin does not belong to its index"):
        Shards(path=f"{served.address}/pack").open()


@pytest.mark.parametrize("file", ["../secret.tar", "/etc/passwd", "a/b.tar", ".hidden"])
def test_an_index_from_afar_names_no_other_places(served: Server, tmp_path: Path, file: str) -> None:
    path = tmp_path / "web" / "pack" / "index.json"
    index = json.loads(path.read_text())
    index["shards"][0]["file"] = file
    path.write_text(json.dumps(index))
    with pytest.raises(DataError, match="which does not lie beside it"):
        Shards(path=f"{served.address}/pack", cache_dir=tmp_path / "cache").open()


@pytest.mark.slow
def test_many_who_fetch_at_once_get_whole_shards(served: Server, tmp_path: Path) -> None:
    expected = local(tmp_path)
    opened = [Shards(path=f"{served.address}/pack", cache_dir=tmp_path / "cache").open() for _ in range(4)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda i: opened[i % 4].read(i // 4), range(4 * 37)))
    assert found == [expected[i // 4] for i in range(4 * 37)]
    assert not list((tmp_path / "cache").rglob("*.part"))


@pytest.mark.slow
@pytest.mark.parametrize("cached", [False, True])
def test_workers_read_from_afar(served: Server, tmp_path: Path, cached: bool) -> None:
    """Each process has connections of its own; those of its parent are of no use after a fork."""
    near = Shards(path=str(tmp_path / "web" / "pack")).open()
    far = Shards(path=f"{served.address}/pack", cache_dir=tmp_path / "cache" if cached else None).open()
    far.read(0)
    batches = [
        list(TrainBatches(samples, Order(37, 3, 10), Jitter(), steps=range(4), workers=2)) for samples in (near, far)
    ]
    for one, other in zip(*batches, strict=True):
        assert torch.equal(one.images, other.images)


def test_an_opened_source_can_be_pickled(served: Server, tmp_path: Path) -> None:
    samples = Shards(path=f"{served.address}/pack", cache_dir=tmp_path / "cache").open()
    samples.read(0)
    state = pickle.dumps(samples)
    assert len(state) < 3000
    again = pickle.loads(state)
    assert again.read(36) == samples.read(36)
    np.testing.assert_array_equal(again.labels, samples.labels)


def test_a_large_index_needs_a_cache(served: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "LARGEST_TABLES", 24 * 37 - 1)
    with pytest.raises(DataError, match="set cache_dir"):
        Shards(path=f"{served.address}/pack").open()


def test_an_address_with_a_password_is_refused_without_showing_it() -> None:
    with pytest.raises(ValueError, match="no user and password") as refused:
        TypeAdapter(Source).validate_python({"name": "shards", "path": "https://me:hunter2@host/pack"})
    (problem,) = refused.value.errors()  # type: ignore[attr-defined]
    assert "hunter2" not in problem["msg"]


def test_passwords_come_from_netrc(served: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password hunter2\n")
    netrc.chmod(0o600)
    expected = "Basic " + base64.b64encode(b"me:hunter2").decode()

    def ask_for_password(handler: Handler) -> bool:
        if handler.headers.get("Authorization") == expected:
            return False
        handler.send_error(401)
        return True

    served.fault = ask_for_password
    with pytest.raises(DataError, match="401"):
        Shards(path=f"{served.address}/pack").open()
    assert sum(served.asked.values()) == 1  # asking again would not help
    monkeypatch.setenv("NETRC", str(netrc))
    assert Shards(path=f"{served.address}/pack").open().read(0) == local(tmp_path)[0]


def test_signatures_of_addresses_that_a_server_led_to_are_not_shown(served: Server) -> None:
    samples = Shards(path=f"{served.address}/pack").open()

    def lead_away(handler: Handler) -> bool:
        if "?" in handler.path:
            handler.send_error(403)
            return True
        handler.send_response(302)
        handler.send_header("Location", f"{handler.path}?signature=hunter2")
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return True

    served.fault = lead_away
    with pytest.raises(OSError, match="403") as failed:
        samples.read(0)
    assert "hunter2" not in str(failed.value)


def test_a_protocol_whose_package_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        import s3fs  # noqa: F401

        pytest.skip("s3fs is installed")
    except ImportError:
        with pytest.raises(DataError, match="need the package s3fs"):
            Shards(path="s3://bucket/pack").open()


def test_packs_lie_in_any_file_system_of_fsspec(served: Server, tmp_path: Path) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.put(str(tmp_path / "web" / "pack"), "/vit-test-pack", recursive=True)
    try:
        samples = Shards(path="memory://vit-test-pack", cache_dir=tmp_path / "cache").open()
        assert [samples.read(index) for index in range(37)] == local(tmp_path)
    finally:
        memory.rm("/vit-test-pack", recursive=True)
