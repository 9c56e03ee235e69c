"""What HTTP costs beside another server in Python: llama-cpp-python's, with a model that costs next
to nothing. CPU time, since the clock tells more of what else a machine does. `-s` shows it.
"""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.server.conftest import KEYS, Served, wait_for

from .conftest import python_of

pytestmark = [pytest.mark.clients, pytest.mark.timeout(1800)]
ROUNDS, TOKENS = 5, 128
TICK = os.sysconf("SC_CLK_TCK")
# what must not come: the peer's end of a text; ours is told to ignore it
ASK = {"prompt": "a b c", "max_tokens": TOKENS, "temperature": 1.0, "stream": True}
MAKE = """
import sys, gguf, numpy as np
w = gguf.GGUFWriter(sys.argv[1], "llama")
vocab, width, inner, layers, heads = 512, 64, 128, 2, 4
w.add_context_length(2048); w.add_embedding_length(width); w.add_block_count(layers)
w.add_feed_forward_length(inner); w.add_head_count(heads); w.add_head_count_kv(heads)
w.add_layer_norm_rms_eps(1e-5); w.add_rope_dimension_count(width // heads); w.add_vocab_size(vocab)
tokens = [b"<unk>", b"<s>", b"</s>"] + [b"<0x%02X>" % i for i in range(256)]
tokens += [b"t%d" % i for i in range(vocab - len(tokens))]
w.add_tokenizer_model("llama"); w.add_token_list(tokens)
w.add_token_scores([0.0] * vocab); w.add_token_types([2, 3, 3] + [6] * 256 + [1] * (vocab - 259))
w.add_bos_token_id(1); w.add_eos_token_id(2); w.add_unk_token_id(0)
dice = np.random.default_rng(1)
def put(name, *shape):
    value = np.ones(shape) if len(shape) == 1 else dice.normal(0, 0.05, shape)
    w.add_tensor(name, value.astype(np.float32))
put("token_embd.weight", vocab, width); put("output_norm.weight", width)
put("output.weight", vocab, width)
for i in range(layers):
    put(f"blk.{i}.attn_norm.weight", width); put(f"blk.{i}.ffn_norm.weight", width)
    for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
        put(f"blk.{i}.{name}.weight", width, width)
    put(f"blk.{i}.ffn_gate.weight", inner, width); put(f"blk.{i}.ffn_up.weight", inner, width)
    put(f"blk.{i}.ffn_down.weight", width, inner)
w.write_header_to_file(); w.write_kv_data_to_file(); w.write_tensors_to_file(); w.close()
"""
ALONE = """
import sys, time, llama_cpp
model = llama_cpp.Llama(sys.argv[1], n_ctx=2048, n_threads=1, verbose=False)
for _ in range(int(sys.argv[2]) + 1):
    begun = time.process_time()
    told = model("a b c", max_tokens=int(sys.argv[3]), temperature=1.0, stream=True,
                 logit_bias={2: -100})
    count = sum(1 for _ in told)
    print((time.process_time() - begun) / count)
"""


def seconds(pid: int) -> float:
    """CPU time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def cost(pid: int, url: str, key: str, **more: object) -> float:
    """CPU seconds of a process for each token that is streamed, the median of rounds."""

    def one(client: httpx.Client) -> float:
        before, count = seconds(pid), 0
        with client.stream("POST", f"{url}/v1/completions", json={**ASK, **more}) as answer:
            assert answer.status_code == 200, answer.read()
            count = sum(line.startswith("data: {") for line in answer.iter_lines())
        assert count >= TOKENS / 2
        return (seconds(pid) - before) / TOKENS

    with httpx.Client(headers={"authorization": f"Bearer {key}"}, timeout=120) as client:
        return statistics.median([one(client) for _ in range(ROUNDS + 1)][1:])


@pytest.fixture(scope="module")
def peer() -> Path:
    return python_of("llama-cpp", "llama-cpp-python[server]==0.3.36", "gguf")


@pytest.fixture
def running(peer: Path, tmp_path: Path) -> Iterator[tuple[int, str, Callable[[], list[float]]]]:
    """The peer's server: its process, address, and what its library alone costs a token."""
    model = tmp_path / "tiny.gguf"
    subprocess.run([peer, "-c", MAKE, model], check=True, capture_output=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    flags = ["--model", model, "--port", str(port), "--n_ctx", "2048", "--n_threads", "1"]
    with subprocess.Popen(
        [peer, "-m", "llama_cpp.server", *flags],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        url = f"http://127.0.0.1:{port}"

        def is_there() -> bool:
            try:
                return httpx.get(f"{url}/v1/models").is_success
            except httpx.TransportError:
                return False

        def alone() -> list[float]:
            words = [peer, "-c", ALONE, model, str(ROUNDS), str(TOKENS)]
            told = subprocess.run(words, check=True, capture_output=True, text=True).stdout
            return [float(line) for line in told.split()][1:]

        try:
            wait_for(is_there, 60)
            yield process.pid, url, alone
        finally:
            process.kill()


def test_http_beside_llama_cpp(
    served: Served, running: tuple[int, str, Callable[[], list[float]]]
) -> None:
    pid, url, alone = running
    theirs = cost(pid, url, "any", logit_bias={"2": -100})
    library = statistics.median(alone())
    # the engine is another process, so that this one's time is that of HTTP
    ours = cost(served.process.pid, served.url, KEYS["ann"], ignore_eos=True)
    shown = [f"{1000 * s:.2f}" for s in (ours, theirs - library, theirs, library)]
    print("CPU ms a token for HTTP: flashling {}, llama-cpp-python {} ({} of {})".format(*shown))
    assert ours > 0 and theirs > 0 and library > 0
