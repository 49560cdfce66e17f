"""vLLM's engine, in processes of its own: started, told apart from its errors, ended.

Heavy and optional: nothing of vLLM is imported before an engine is started.
"""

import asyncio
import gc
import importlib
import importlib.util
import json
import logging
import os
import re
import shutil
import sys
import tempfile
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

import msgspec

from hiddenrisk.errors import UsageError
from hiddenrisk.models import weights
from hiddenrisk.models.watchdog import Watchdog, deaf

Library = Any
"""An optional package, or something of it: not there for a type checker to look at."""
INSTALL = 'pip install "hiddenrisk[vllm]"'
_LOOK_EVERY_S = 0.2
_ONE_AT_A_TIME = threading.Lock()
"""Two engines that start at once would each count the memory that the other takes."""
_QUIET = {
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_DO_NOT_TRACK": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "VLLM_WORKER_SHUTDOWN_TIMEOUT_SECONDS": "1",
    "TORCH_CPP_LOG_LEVEL": "ERROR",
    "PYTHONWARNINGS": "ignore",
}
"""Nobody is told of a run, nothing but us speaks on the terminal, and a worker that does not
end by itself (on a CPU none does) is not waited for."""
_ARGUMENTS, _ENGINE = "vllm.engine.arg_utils", "vllm.v1.engine.async_llm"
_SAMPLING, _PLATFORMS = "vllm.sampling_params", "vllm.platforms"
_METHOD = "VLLM_WORKER_MULTIPROC_METHOD"
_LEVEL, _LOGGING = "VLLM_LOGGING_LEVEL", "VLLM_LOGGING_CONFIG_PATH"
_RAISED = re.compile(r"(?:^|\s)([\w.]*(?:Error|Exception)): (.+)$")
_WRAPPERS = ("Engine core initialization failed", "WorkerProc initialization failed")
"""What says that something failed elsewhere."""
_SAID = 300
_ADVICE = {
    r"greater than the derived max_model_len": "The model's own window is smaller: write a "
    "smaller ?window, or leave it out",
    r"memory|KV cache|max_model_len|max seq len": "It does not fit: take more GPUs (?gpus=2), a "
    "shorter window (?window=8192), or another share of the memory (?memory=0.5 where something "
    "else is on the GPU)",
    r"rchitecture|model type": "This vLLM does not know the architecture: take a newer vLLM, or "
    "serve the model elsewhere and name its URL",
    r"model weights|safetensors": "Weights are read from safetensors only: convert the "
    "checkpoint, or take a revision that has them",
    r"okenizer": "Put the files of its tokenizer beside the weights",
    r"gated|40[134]|[Nn]ot [Ff]ound|local folder|offline|[Cc]onnect|[Rr]epo": "Check the name and "
    "?revision, accept its terms and set HF_TOKEN if it has any, or name a folder that has it: "
    "vllm//path/to/checkpoint",
}
"""What to do, by words of what an engine says when it does not start."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine is started with."""

    label: str
    """For messages."""
    model: str
    """A hub id or a folder."""
    revision: str | None = None
    dtype: str | None = None
    window: int | None = None
    """Tokens of prompt and reply together, at most; None for the model's own."""
    gpus: int = 1
    memory: float | None = None
    """Share of each GPU's memory (without a GPU, of the machine's) that the engine takes."""
    eager: bool = False
    """Not to compile: sooner there, and slower."""

    @property
    def arguments(self) -> dict[str, Any]:
        """For vLLM's `AsyncEngineArgs`."""
        folder = weights.folder_of(self.model)
        wanted: dict[str, Any] = {
            "model": str(folder or self.model),
            "revision": self.revision,
            "tokenizer_revision": self.revision,
            "tokenizer_mode": "hf",  # its own chat template, and no other package's rendering
            "trust_remote_code": False,
            "load_format": "safetensors",
            "dtype": self.dtype,
            "max_model_len": self.window,
            "tensor_parallel_size": self.gpus,
            # In children of this process, where that is a worker of Ray as well.
            "distributed_executor_backend": "mp" if self.gpus > 1 else None,
            "gpu_memory_utilization": self.memory,
            "enforce_eager": self.eager or None,
            "disable_log_stats": True,
            "use_tqdm_on_load": False,
        }
        return {name: value for name, value in wanted.items() if value is not None}


class Engine:
    """A running engine."""

    def __init__(self, settings: Settings, library: Library, log: "_Log", dog: Watchdog) -> None:
        self.library = library
        """An `AsyncLLM`."""
        self.sampling: Library = sys.modules[_SAMPLING]
        self.window = int(library.model_config.max_model_len)
        self.defaults: dict[str, Any] = library.model_config.get_diff_sampling_param()
        """What the model's generation_config.json says of sampling."""
        self.fingerprint = _fingerprint(settings, library)
        self._label = settings.label
        self._log = log
        self._dog = dog

    def died(self, error: BaseException) -> UsageError:
        """What to say when the engine's processes are gone."""
        said = self._log.cause() or first_line(error)
        return UsageError(
            f"the engine of {self._label} died ({said}). What was finished is kept, and the same "
            f"command resumes. {_advice(said)}"
        )

    async def close(self) -> None:
        """End the engine's processes."""
        await asyncio.to_thread(self.library.shutdown)
        await asyncio.to_thread(self._dog.end)
        self._log.close()
        del self.library
        gc.collect()  # it would shut itself down again when Python ends, and fail


async def start(settings: Settings) -> Engine:
    """Load the weights and start the engine; takes from seconds to many minutes.

    Raises:
        UsageError: vLLM is not installed, or does not start with this model on this machine.
    """
    if importlib.util.find_spec("vllm") is None:
        raise UsageError(f"{settings.label} needs vLLM, on a machine with a GPU: {INSTALL}")
    if folder := weights.folder_of(settings.model):
        weights.check(folder, settings.label)
    log, dog = _Log(), Watchdog()
    building = asyncio.ensure_future(_built(settings, log))
    try:
        while not building.done():
            await asyncio.wait({building}, timeout=_LOOK_EVERY_S)
            dog.look()
        return Engine(settings, building.result(), log, dog)
    except BaseException as error:
        await _drop(building, dog)
        cause = log.cause()
        log.close()
        if isinstance(error, UsageError) or not isinstance(error, Exception):
            raise
        raise _not_started(settings, error, cause) from error


async def _drop(building: "asyncio.Future[Library]", dog: Watchdog) -> None:
    """End what was started so far, however far that was."""
    while not building.done():
        dog.look()
        dog.terminate()  # without its processes the engine gives up at once
        await asyncio.wait({building}, timeout=_LOOK_EVERY_S)
    if building.exception() is None:
        await asyncio.to_thread(building.result().shutdown)
    await asyncio.to_thread(dog.end)


async def _built(settings: Settings, log: "_Log") -> Library:
    """An `AsyncLLM` whose processes are up, made beside the loop.

    vLLM is loaded in a call of its own: errors that its imports catch and keep hold on to all
    that the call which made them gives back.
    """
    await asyncio.to_thread(_load, log)
    return await asyncio.to_thread(_build, settings, log)


def _load(log: "_Log") -> None:
    with _ONE_AT_A_TIME, _environment(log):
        try:
            for name in (_ARGUMENTS, _ENGINE, _SAMPLING, _PLATFORMS):
                importlib.import_module(name)
        except (ImportError, RuntimeError, OSError) as error:
            raise UsageError(
                f"vLLM cannot be loaded here ({first_line(error)}); install it again, with the "
                f"torch that it asks for: {INSTALL}"
            ) from error


def _build(settings: Settings, log: "_Log") -> Library:
    offline = weights.folder_of(settings.model) is not None
    with _ONE_AT_A_TIME, _environment(log, offline=offline), log.taken(), deaf():
        wanted = settings.arguments
        if sys.modules[_PLATFORMS].current_platform.is_cpu():
            # There a prompt that is read in pieces ends the engine, where its call has a seed:
            # torch's generator for CPUs cannot be set back (seen with 0.32.0).
            wanted["enable_chunked_prefill"] = False
        arguments = sys.modules[_ARGUMENTS].AsyncEngineArgs(**wanted)
        return sys.modules[_ENGINE].AsyncLLM.from_engine_args(arguments)


@contextmanager
def _environment(log: "_Log", *, offline: bool = False) -> Generator[None]:
    """The environment that the engine's processes are born into; afterwards it is as before."""
    wanted = {**_QUIET, **log.environment}
    if _METHOD not in os.environ:
        wanted[_METHOD] = "spawn"  # a fork would share the signals and sockets of a run
    if offline:  # of the engine's processes; here it would hold for a model from the hub as well
        wanted["HF_HUB_OFFLINE"] = "1"
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


class _Log:
    """Where the engine's processes write, so that the cause of a failure can be told.

    Where the user sets VLLM_LOGGING_LEVEL, they write to the terminal, as vLLM does.
    """

    def __init__(self) -> None:
        self.environment: dict[str, str] = {}
        self._folder: Path | None = None
        if os.environ.keys() & {_LEVEL, _LOGGING}:
            return
        logging.getLogger("vllm").addHandler(logging.NullHandler())  # before vLLM has set its own
        self._folder = Path(tempfile.mkdtemp(prefix="hiddenrisk-vllm-"))
        file = {"class": "logging.FileHandler", "filename": str(self._folder / "log")}
        config = {
            "version": 1,
            "disable_existing_loggers": False,
            "handlers": {"file": file},
            "loggers": {"vllm": {"handlers": ["file"], "level": "WARNING", "propagate": False}},
        }
        path = self._folder / "config.json"
        path.write_text(json.dumps(config))
        self.environment = {_LOGGING: str(path)}

    @contextmanager
    def taken(self) -> Generator[None]:
        """What is started meanwhile writes its output here; what we say goes where it did.

        Libraries print, and Python prints the traceback of a child that fails: a child can be
        given other files than ours only while ours are those.
        """
        if self._folder is None:
            yield
            return
        python = {1: sys.stdout, 2: sys.stderr}
        kept = {number: os.dup(number) for number in python}
        with (self._folder / "log").open("ab") as log:
            for number in kept:
                os.dup2(log.fileno(), number)
        sys.stdout, sys.stderr = (_moved(python[n], n, os.dup(kept[n])) for n in (1, 2))
        try:
            yield
        finally:
            for number, place in kept.items():
                os.dup2(place, number)
                os.close(place)
            sys.stdout, sys.stderr = python[1], python[2]

    def cause(self) -> str:
        """The first error that is not about another one; empty where nothing was written."""
        if self._folder is None:
            return ""
        try:
            lines = (self._folder / "log").read_text(errors="replace").splitlines()
        except OSError:
            return ""
        found = (match for match in map(_RAISED.search, lines) if match)
        return next((m[0].strip()[:_SAID] for m in found if not m[2].startswith(_WRAPPERS)), "")

    def close(self) -> None:
        """Remove it."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def _moved(stream: TextIO, number: int, place: int) -> TextIO:
    """A stream of Python's that goes on writing where it did, now under another number."""
    with suppress(OSError, ValueError):  # a notebook's has no number
        if stream.fileno() == number:
            stream.flush()
            return os.fdopen(place, "w", buffering=1, encoding=stream.encoding, errors="replace")
    os.close(place)
    return stream


def _fingerprint(settings: Settings, library: Library) -> str | None:
    """Which weights these are: a digest of a folder, the commit of a hub's repository."""
    if folder := weights.folder_of(settings.model):
        return weights.fingerprint_of(folder)
    commit = getattr(library.model_config.hf_config, "_commit_hash", None)
    return commit if isinstance(commit, str) else settings.revision


def first_line(error: BaseException) -> str:
    """What an error says, in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # Pydantic says how many errors there are, then where, then what.
    told = next((line for line in lines if line.startswith("Value error, ")), None)
    text = told or (lines[0] if lines else type(error).__name__)
    return text.removeprefix("Value error, ").partition(" [type=")[0][:_SAID]


def _not_started(settings: Settings, error: Exception, cause: str) -> UsageError:
    said = first_line(error)
    if cause and said.startswith(_WRAPPERS):
        said = cause
    first = re.split(r"\.(?:\s|$)", said, maxsplit=1)[0]  # what follows is vLLM's own advice
    return UsageError(f"{settings.label} does not start ({first}). {_advice(said)}")


def _advice(said: str) -> str:
    found = (advice for words, advice in _ADVICE.items() if re.search(words, said))
    return next(found, "VLLM_LOGGING_LEVEL=INFO shows the engine's own log")
