"""Several processes that train as one: they meet, agree before the first step, and none waits for ever for another.

Every process runs the same program over the devices of all of them. The first one, number 0, prints and writes; what it
has read or found out the others are told (`once`). Outside of `join` a process is alone, and everything here is free.

What is exchanged here is small and goes through the coordinator of `jax.distributed`, which process 0 runs: it works
while devices are busy, and before they are looked at.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

import numpy as np

from jaxnn import errors
from jaxnn.devices.watch import Watch
from jaxnn.errors import Error, InputError, PeerError

T = TypeVar("T")
Arrays = dict[str, np.ndarray]  # by name
MEET = 300  # seconds within which all processes come
HEARTBEAT = 60  # seconds after which jax.distributed itself gives a process up; `watch` does so before
FOREVER = 10**9  # milliseconds: who waits for too long is found by `watch`
BLOCK = 2**26  # bytes that are broadcast at once
PLACES = (  # what may differ: the digest of the data says what they are
    *("config.name", "config.data.name", "config.data.dir", "config.data.validation", "data.name"),
)


class Processes(NamedTuple):
    """Those that train as one: which of them this is, how many there are, and the store that they share."""

    rank: int
    count: int
    store: Any  # the client of the coordinator: key_value_set, key_value_dir_get, wait_at_barrier, ...
    clock: Any  # the stopwatch of the run, which is told of the time that is spent here
    exchanges: list[int]  # how many there have been: every process takes part in all, in the same order


_joined: list[Processes] = []  # none, or one: this process is a part of


def leads() -> bool:
    """Whether this process is the one that prints and writes."""
    return not _joined or _joined[-1].rank == 0


def exchange(value: str) -> list[str]:
    """What each process gives, by rank. All of them call this, in the same order."""
    if not _joined:
        return [value]
    rank, count, store, clock, exchanges = _joined[-1]
    number, before = exchanges[0], clock.part
    exchanges[0] += 1
    clock("agreement")
    store.key_value_set(f"jaxnn/exchange/{number}/{rank}", value)
    store.wait_at_barrier(f"jaxnn/exchange/{number}", FOREVER)
    given = {int(key.rpartition("/")[2]): each for key, each in store.key_value_dir_get(f"jaxnn/exchange/{number}/")}
    if number:  # every process has read those before this one
        store.key_value_delete(f"jaxnn/exchange/{number - 1}/{rank}")
    clock(before)
    return [given[each] for each in range(count)]


def greatest(number: T) -> T:
    """The greatest of the numbers that the processes give."""
    return max(json.loads(each) for each in exchange(json.dumps(number))) if _joined else number


def once(call: Callable[[], tuple[Any, Arrays]]) -> tuple[Any, Arrays]:
    """What `call` returns in process 0, in every process; an `Error` of it is raised in every one.

    Files are read in this way that may be on the disk of process 0 alone.

    Args:
      call: what JSON can hold, and arrays by name.
    """
    if not _joined:
        return call()
    answer, leaves = None, Arrays()
    if leads():
        try:
            answer, leaves = call()
            text = json.dumps([None, answer, [[name, a.dtype.name, a.shape] for name, a in leaves.items()]])
        except Error as error:
            text = json.dumps([type(error).__name__, str(error), []])
    kind, answer, described = json.loads(exchange(text if leads() else "")[0])
    if kind:
        raise errors.of(kind, answer)
    mine = lambda name, dtype, shape: leaves.get(name, np.zeros(shape, dtype))
    return answer, {name: _broadcast(np.asarray(mine(name, dtype, shape))) for name, dtype, shape in described}


def _broadcast(array: np.ndarray) -> np.ndarray:
    """That of process 0, over the devices, as bytes: these are added up, and nothing is rounded."""
    from jax.experimental import multihost_utils

    content = np.frombuffer(array.tobytes(), np.uint8)
    parts = np.array_split(content, -(-content.size // BLOCK)) if content.size else []
    whole = b"".join(multihost_utils.broadcast_one_to_all(part).tobytes() for part in parts)
    return np.frombuffer(whole, array.dtype).reshape(array.shape)


def has_whole(values: Any) -> bool:
    """Whether this process has every array of a pytree whole."""
    import jax

    return all(a.is_fully_addressable or a.is_fully_replicated for a in jax.tree.leaves(values))


def gathered(values: Any) -> Any:
    """A pytree of arrays, each as this process can read it: what is split over several, on the host. All call this."""
    if not _joined:
        return values
    import jax
    from jax.experimental.multihost_utils import process_allgather

    whole = lambda a: np.asarray(a) if has_whole(a) else process_allgather(a, tiled=True)
    return jax.tree.map(whole, values)


def agreed(about: dict[str, Any]) -> dict[str, Any]:
    """What all processes agree on: none was given other flags or data than process 0, or runs other versions.

    Args:
      about: what the run is, as its config.json says (`identity.describe`); where the data are may differ.

    Raises `InputError` in every process, which names one of these, its value and that of process 0.
    """
    if not _joined:
        return about
    mine = {name: text for name, text in _flat(about) if name not in PLACES}
    digests = exchange(hashlib.sha256(json.dumps(mine).encode()).hexdigest())
    if len(set(digests)) == 1:
        return about
    first, *others = (json.loads(text) for text in exchange(json.dumps(mine)))
    rank, other = next((rank, other) for rank, other in enumerate(others, 1) if other != first)
    differ = [name for name in {**first, **other} if first.get(name) != other.get(name)]
    name = "data.digest" if differ[0].startswith("data.") and "data.digest" in differ else differ[0]
    shown = f"--{name.removeprefix('config.')}" if name.startswith("config.") else name
    what, had = (values.get(name, "nothing")[:60] for values in (other, first))
    cure = "start all with the same flags, data and versions"
    raise InputError(f"{shown}={what}: is that of process {rank}, and process 0 has {had}; {cure}")


def _flat(values: dict[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    """`{"optim": {"lr": 0.1}}` -> `("optim.lr", "0.1")`; long values as the beginning of their digest."""
    for name, value in values.items():
        if isinstance(value, dict) and all(isinstance(key, str) for key in value):
            yield from _flat(value, f"{path}{name}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value)
            yield path + name, text if len(text) <= 100 else hashlib.sha256(text.encode()).hexdigest()


def initialise(coordinator: str | None, processes: int | None, process_id: int | None) -> None:
    """Meet the other processes, before JAX looks at its devices. Raises `InputError` or `PeerError`."""
    import jax

    if coordinator and process_id == 0:
        _refuse_port_in_use(coordinator)
    given: Any = {"cluster_detection_method": "deactivate"} if coordinator else {}
    given |= {"coordinator_address": coordinator, "num_processes": processes, "process_id": process_id}
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.config.update("jax_enable_preemption_service", False)  # it would take SIGTERM, which the run answers itself
    late = threading.Timer(MEET, _not_met, (f"--coordinator={coordinator}" if coordinator else "--distributed",))
    late.daemon = True
    late.start()
    try:
        jax.distributed.initialize(
            **given, heartbeat_timeout_seconds=HEARTBEAT, initialization_timeout=MEET + HEARTBEAT
        )
    except (ValueError, TypeError) as reason:
        cure = "name --coordinator HOST:PORT --processes N --process_id I"
        raise InputError(f"--distributed: found no cluster ({reason}); {cure}") from None
    finally:
        late.cancel()


def _not_met(who: str) -> None:
    """End this process: after its own timeout JAX would abort it, with a stack."""
    cure = "start all of them, with an address that all reach and a port that no other program has"
    os.write(2, f"error: {who}: the processes have not met within {MEET} s; {cure}\n".encode())
    os._exit(PeerError.exit_code)


def _refuse_port_in_use(coordinator: str) -> None:
    """Refuse a port that is another's: the service of jax.distributed would end this process without a reason."""
    port = int(coordinator.rpartition(":")[2])
    kind = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
    try:
        with socket.socket(kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # one that has just been left is free
            if kind == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            probe.bind(("", port))
    except OSError as reason:
        raise InputError(f"--coordinator={coordinator}: port {port}: {reason.strerror}; name another port") from None


def _open_door(coordinator: str) -> socket.socket | None:
    """A socket at which the system answers for as long as this process lives; None where there cannot be one."""
    host, _, port = coordinator.rpartition(":")
    try:
        family, kind, _, _, address = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as probe:
            probe.connect(address)  # nothing is sent: the system says from which of its addresses it would be
            return socket.create_server((probe.getsockname()[0], 0), family=family, backlog=128)
    except OSError:
        return None


def _is_gone(door: str) -> bool:
    """Whether the system says that no process listens there any more."""
    host, _, port = door.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False


@contextlib.contextmanager
def join(clock: Any, stop: Any) -> Iterator[None]:
    """Be one of several processes inside: with the others watched, and an error of one told to all.

    Processes but the first print nothing inside. At the end they leave together.

    Args:
      clock: the stopwatch of the run, by which its parts are watched.
      stop: asked before each chunk of steps, for all of the processes (`process.Stop`).
    """
    import jax
    from jax._src.distributed import global_state  # what jax.distributed has made; it has no public name

    assert global_state.process_id is not None and global_state.num_processes is not None
    mine = Processes(global_state.process_id, global_state.num_processes, global_state.client, clock, [0])
    watch = Watch(mine.rank, mine.count, mine.store, clock, _is_gone)
    if door := _open_door(global_state.coordinator_address or ""):
        host, port, *_ = door.getsockname()
        mine.store.key_value_set(f"jaxnn/door/{mine.rank}", f"{host}:{port}")
    _joined.append(mine)
    stop.agreed = greatest
    watch.start()
    try:
        with contextlib.ExitStack() as quiet:
            if mine.rank:
                nowhere = quiet.enter_context(open(os.devnull, "w", encoding="utf-8"))
                os.dup2(nowhere.fileno(), 1)  # gloo prints without asking Python
                quiet.enter_context(contextlib.redirect_stderr(nowhere))
            yield
        exchange("")  # process 0 may have more to do
    except Exception as reason:
        error = reason if isinstance(reason, Error) else watch.cause(reason)
        watch.tell(error or reason)
        if error:
            raise error from None
        raise
    finally:
        _joined.remove(mine)
    watch.stop()
    if door:
        door.close()
    jax.distributed.shutdown()
