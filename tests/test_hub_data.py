"""Data sets of the Hub: the real loader over tiny files in the Hub's layout, in a folder and from a server."""

import http.server
import importlib.util
import json
import os
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import pytest

from llmguide_lib.tasks import HUB_DATASETS, Pair, hub_examples
from llmguide_lib.tasks.views import Classified, Summary

ROOT = Path(__file__).resolve().parent.parent
LINES = [
    " \n",
    " = A title = \n",
    " \n",
    " Text of it . \n",
    " = = A section = = \n",
    " More . \n",
    " = Another = \n",
    " End . \n",
]
ROWS = {
    "TinyStories": [{"text": " Once upon a time. "}, {"text": "The end."}],
    "WikiText": [{"text": line} for line in LINES],
    "SST-2": [{"idx": 0, "sentence": "a fine film ", "label": 1}, {"idx": 1, "sentence": "dull ", "label": 0}],
    "ChnSentiCorp": [{"text": "房间很干净", "label": 1}, {"text": "服务太差", "label": 0}],
    "OPUS-100": [{"translation": {"en": "Good day.", "zh": "你好。"}}, {"translation": {"en": "Yes.", "zh": "是。"}}],
    "CNN/DailyMail": [
        {"article": "Long.", "highlights": "Short.", "id": "1"},
        {"article": "B", "highlights": "b", "id": "2"},
    ],
}
EXAMPLES = {
    "TinyStories": ["Once upon a time.", "The end."],
    "WikiText": ["= A title = \n \n Text of it . \n = = A section = = \n More .", "= Another = \n End ."],
    "SST-2": [Classified("a fine film", 1), Classified("dull", 0)],
    "ChnSentiCorp": [Classified("房间很干净", 1), Classified("服务太差", 0)],
    "OPUS-100": [Pair("Good day.", "你好。", "OPUS-100"), Pair("Yes.", "是。", "OPUS-100")],
    "CNN/DailyMail": [Summary("Long.", "Short."), Summary("B", "b")],
}
needs_pyarrow = pytest.mark.skipif(
    importlib.util.find_spec("pyarrow") is None, reason="pyarrow is not installed; the extra hub has it"
)


def laid_out(root, name, split="train", shards=1, suffix="parquet"):
    """The rows of one split in files as on the Hub; the folder."""
    folder = root / HUB_DATASETS[name].folder
    folder.mkdir(parents=True, exist_ok=True)
    size = -(-len(ROWS[name]) // shards)
    for at in range(shards):
        file, rows = folder / f"{split}-{at:05}-of-{shards:05}-0a1b.{suffix}", ROWS[name][at * size : (at + 1) * size]
        if suffix == "parquet":
            import pyarrow.parquet

            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)
        else:
            file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return root


@needs_pyarrow
@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
@pytest.mark.parametrize("name", HUB_DATASETS)
def test_a_local_folder_in_the_hubs_layout_is_read(name, suffix, tmp_path):
    laid_out(tmp_path, name, "validation", shards=2, suffix=suffix)
    assert hub_examples(name, "validation", folder=tmp_path) == EXAMPLES[name]
    assert hub_examples(name, "validation", count=1, folder=str(tmp_path)) == EXAMPLES[name][:1]
    assert hub_examples(name, "validation", count=9, folder=tmp_path) == EXAMPLES[name]
    with pytest.raises(ValueError, match=rf"{name}: no files train\* in {tmp_path}"):
        hub_examples(name, "train", folder=tmp_path)


@needs_pyarrow
def test_files_with_other_rows_or_none_are_named(tmp_path):
    laid_out(tmp_path, "TinyStories")
    with pytest.raises(
        ValueError, match=r"SST-2: the rows of .*train-00000-of-00001.* are not those of stanfordnlp/ss"
    ):
        hub_examples("SST-2", folder=tmp_path)
    for file in (tmp_path / "data").iterdir():
        file.write_bytes(b"no parquet file")
    with pytest.raises(ValueError, match=r"file \(.*train-00000-of-00001.*parquet\) must be readable as parquet: "):
        hub_examples("TinyStories", folder=tmp_path)


def test_bad_arguments_are_named():
    with pytest.raises(
        ValueError, match=r"name \('IMDB'\) must be one of TinyStories, WikiText, SST-2, ChnSentiCorp, OP"
    ):
        hub_examples("IMDB")
    with pytest.raises(ValueError, match=r"split \('test'\) of SST-2 must be one of train, validation"):
        hub_examples("SST-2", "test")
    with pytest.raises(ValueError, match=r"count \(0\) must be at least 1"):
        hub_examples("SST-2", count=0)


@pytest.mark.parametrize("module", ["pyarrow", "huggingface_hub"])
def test_a_missing_package_is_named_with_its_extra(module, monkeypatch):
    if module == "huggingface_hub" and importlib.util.find_spec("pyarrow") is None:
        pytest.skip("pyarrow is not installed and is asked for first")
    for name in (module, "pyarrow.dataset") if module == "pyarrow" else (module,):
        monkeypatch.setitem(sys.modules, name, None)
    name = module.replace("_", "-")
    with pytest.raises(ImportError, match=rf"{name} is not installed; run: pip install 'llmguide-lib\[hub\]'"):
        hub_examples("SST-2")


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of the Hub as one data set needs: the list of its files, and the files."""

    root, repository, asked = Path(), "", []

    def do_HEAD(self):  # noqa: N802  (the name that the base class calls)
        self.answer(with_body=False)

    def do_GET(self):  # noqa: N802
        self.answer(with_body=True)

    def answer(self, with_body):
        self.asked.append(self.path)
        files = [file.relative_to(self.root).as_posix() for file in sorted(self.root.rglob("*.parquet"))]
        api, path = f"/api/datasets/{self.repository}", self.path.partition("?")[0]
        kind, status = "application/json", 200
        if path == f"{api}/revision/main":
            info = {"id": self.repository, "sha": "f" * 40, "siblings": [{"rfilename": name} for name in files]}
            body = json.dumps(info).encode()
        elif path.startswith(f"{api}/tree/"):
            sizes = [(name, (self.root / name).stat().st_size) for name in files]
            body = json.dumps([{"type": "file", "path": n, "size": s, "oid": "0" * 40} for n, s in sizes]).encode()
        elif (name := path.rpartition(f"/resolve/{'f' * 40}/")[2]) in files:
            body, kind = (self.root / name).read_bytes(), "application/octet-stream"
        else:
            body, status = b"{}", 404
        self.send_response(status)
        headers = {
            "Content-Type": kind,
            "Content-Length": len(body),
            "ETag": f'"{zlib.crc32(body)}"',
            "X-Repo-Commit": "f" * 40,
        }
        for header, value in headers.items():
            self.send_header(header, str(value))
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, *_):
        pass


def asked_for(code, home, endpoint):
    """What a fresh process prints, which reads from this endpoint and caches at this home."""
    environment = {key: value for key, value in os.environ.items() if "proxy" not in key.lower()}
    environment |= {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"}
    environment |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    command = [sys.executable, "-W", "ignore", "-c", f"from llmguide_lib.tasks import *\n{code}"]
    return subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", cwd=home)


@needs_pyarrow
@pytest.mark.skipif(importlib.util.find_spec("huggingface_hub") is None, reason="huggingface_hub is not installed")
def test_files_come_from_the_endpoint_once_and_then_from_the_cache(tmp_path):
    laid_out(tmp_path / "hub", "OPUS-100", "test", shards=2)
    laid_out(tmp_path / "hub", "OPUS-100", "train")
    handler = type("OneSet", (Hub,), {"root": tmp_path / "hub", "repository": "Helsinki-NLP/opus-100", "asked": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    code = "print([p.chinese for p in hub_examples('OPUS-100', 'test')])"
    try:
        first = asked_for(code, tmp_path, endpoint)
    finally:
        server.shutdown()
        server.server_close()
    assert (first.stdout, first.returncode) == ("['你好。', '是。']\n", 0), first.stderr
    assert not any("train" in path for path in handler.asked), "a split that was not asked for is not fetched"
    assert asked_for(code, tmp_path, endpoint).stdout == first.stdout, "the server is gone, the cache is there"
    other = asked_for(code.replace("'test'", "'train'"), tmp_path, endpoint)
    assert "ValueError: Helsinki-NLP/opus-100 could not be fetched from" in other.stderr.strip().splitlines()[-1]
    lost = asked_for("hub_examples('SST-2')", tmp_path, endpoint)
    assert lost.stderr.strip().splitlines()[-1] == (
        f"ValueError: stanfordnlp/sst2 could not be fetched from {endpoint} (LocalEntryNotFoundError): connect to the "
        "network, set HF_ENDPOINT to a mirror, or pass a folder that has the files"
    )
