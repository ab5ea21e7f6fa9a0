"""Ranks of a process group: who takes part, who is late, and one error for all of them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import torch
import torch.distributed as dist

BEAT = 1.0  # seconds between two signs of life
LONGEST_LOOK = 10.0  # seconds between two looks at who is missing
UNKNOWN = -1  # number of signs of life, before the first look
SHORTEST_PAUSE, LONGEST_PAUSE = 0.0002, 0.25  # seconds between two looks at whether all are there
GROWTH = 1.2  # of the pause: nobody waits longer than was needed by more than a fifth
LAST_WORDS = 5.0  # seconds in which those who saw a collective fail report
NAMESPACE = "helpers.distributed"  # of our keys in the store of the group


class StoppedElsewhere(RuntimeError):
    """Another rank has failed, so that there is no use in going on."""

    def __init__(self, message: str = "another rank has failed and does not say why") -> None:
        super().__init__(message)


class RanksMissingError(RuntimeError):
    """Ranks do not arrive, or broke off.

    Attributes
    ----------
    missing : list of int
        Which; empty where nobody knows.
    """

    def __init__(self, message: str, missing: list[int]) -> None:
        super().__init__(message)
        self.missing = missing


@dataclass(frozen=True)
class Ranks:
    """The processes that work together, seen from one of them.

    Attributes
    ----------
    rank : int
        Number of this process among them, from 0.
    n_ranks : int
        How many there are.
    group : ProcessGroup or None
        None in a single process.
    device : torch.device
        Where tensors have to be for the collectives of the group.
    """

    rank: int
    n_ranks: int
    group: Any
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this process speaks for all of them."""
        return self.rank == 0

    def gather(self, value: Any) -> list[Any]:
        """What each rank hands in, on every rank."""
        values = [None] * self.n_ranks
        if self.n_ranks == 1:
            return [value]
        dist.all_gather_object(values, value, group=self.group)
        return values

    def from_first(self, value: Any) -> Any:
        """What the first rank hands in, on every rank."""
        values = [value]
        if self.n_ranks > 1:
            dist.broadcast_object_list(values, group=self.group, group_src=0)
        return values[0]


def find_ranks(group: Any = None) -> Ranks:
    """The ranks of a group, of the default group if there is one, or a single process.

    Parameters
    ----------
    group : ProcessGroup, optional

    Returns
    -------
    Ranks

    Raises
    ------
    TypeError, ValueError
        If `group` is no group, or one that this process does not belong to.
    """
    initialised = dist.is_available() and dist.is_initialized()
    if group is None:
        if not initialised:
            return Ranks(0, 1, None, torch.device("cpu"))
        group = dist.group.WORLD
    elif group is dist.GroupMember.NON_GROUP_MEMBER:
        raise ValueError("group: expected a group that this process belongs to, got another")
    elif not isinstance(group, dist.ProcessGroup):
        raise TypeError(
            f"group: expected a group of torch.distributed or None, got {type(group).__name__}"
        )
    elif not initialised or dist.get_rank(group) < 0:
        raise ValueError("group: expected a group that this process belongs to, got another")
    return Ranks(dist.get_rank(group), dist.get_world_size(group), group, _device_of(group))


def _device_of(group: Any) -> torch.device:
    """Where the collectives of a group work: NCCL on a GPU, gloo on the CPU."""
    if "gloo" in str(dist.get_backend_config(group)):
        return torch.device("cpu")
    return torch.device("cuda", local_rank())


def local_rank() -> int:
    """Number of this process on its machine, as torchrun tells it; chooses its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def agree(error: Exception | None, ranks: Ranks) -> None:
    """Raise on every rank the error of the first rank that has one.

    Parameters
    ----------
    error : Exception or None
        Of this rank.
    ranks : Ranks
        Every one of them has to call this.
    """
    raise_first(ranks.gather(None if error is None else portable(error)), error)


def raise_first(errors: Iterable[Exception | None], own: Exception | None = None) -> None:
    """Raise the first error of all ranks; None if there is none."""
    found = [error for error in errors if error is not None]
    # Who was only stopped knows less than who found the fault.
    for error in sorted(found, key=lambda error: isinstance(error, StoppedElsewhere)):
        raise error from (None if str(own) == str(error) else own)


def portable(error: Exception) -> Exception:
    """The same error in a type that every rank knows."""
    if isinstance(error, OSError) and error.errno is not None:
        return OSError(error.errno, error.strerror, error.filename)
    for kind in (StoppedElsewhere, TypeError, ValueError, FloatingPointError, MemoryError):
        if isinstance(error, kind):
            return kind(str(error))
    return RuntimeError(f"{type(error).__name__}: {error}")


class RollCall:
    """Who has come how far, written into the store of the group.

    `monitored_barrier` of torch.distributed would do for ranks that take equally long. It counts
    from the first to arrive, though, so that a rank which is still reading looks like one that
    hangs; it exists for gloo alone, and only its first rank learns who is missing. In the store
    every rank leaves signs of life, and every rank can read them.

    Parameters
    ----------
    ranks : Ranks
        Every one of them makes one of these, at the same place in the programme.
    timeout : float
        Seconds after which a rank that has given no sign of life is missed.
    store : dist.Store, optional
        Where they write, if nobody has written there before; by default a place of its own in the
        store of the group.
    """

    def __init__(self, ranks: Ranks, timeout: float, store: dist.Store | None = None) -> None:
        self.ranks = ranks
        self.timeout = timeout
        self._beaten = 0.0
        self._store: Any = store
        if store is None and ranks.n_ranks > 1:
            place = dist.PrefixStore(NAMESPACE, ranks.group.get_group_store())
            self._store = dist.PrefixStore(self._new_name(place), place)

    def _new_name(self, place: dist.Store) -> str:
        """A name that no roll-call had: torchrun may go on with the store of killed workers."""
        ranks, name, error = self.ranks, "", None
        try:
            name = ranks.from_first(uuid4().hex)
        except RuntimeError as found:
            error = found
        with _store_is_there():
            own = place.add(f"calls/{ranks.rank}", 1)  # that have come to an end, good or bad
            if error is None:
                return name
            late = self._silent(lambda rank: place.add(f"calls/{rank}", 0) >= own)
        who = f"{_named(late)} did not arrive" if late else "the connection broke"
        raise RanksMissingError(
            f"{who} when the ranks were to call each other: {_first_line(error)}", late
        ) from error

    def beat(self) -> None:
        """Give a sign of life, at most one a second; StoppedElsewhere if another rank failed."""
        if self._store is None or time.monotonic() - self._beaten < BEAT:
            return
        self._beaten = time.monotonic()
        with _store_is_there():
            self._store.add(f"beats/{self.ranks.rank}", 1)
            if self._store.check(["failed"]):
                raise StoppedElsewhere

    def fail(self) -> None:
        """Let the other ranks know at their next sign of life that they can stop."""
        if self._store is not None:
            with suppress(dist.DistNetworkError):  # the error of this rank comes before that
                self._store.set("failed", str(self.ranks.rank))

    def wait_for_all(self, stage: str) -> None:
        """Return once every rank has called this; RuntimeError names those that are missing."""
        if self._store is None:
            return
        store, n_ranks = self._store, self.ranks.n_ranks
        heard = {rank: (UNKNOWN, time.monotonic()) for rank in range(n_ranks)}
        look = min(self.timeout / 4, LONGEST_LOOK)
        with _store_is_there():
            store.set(f"{stage}/{self.ranks.rank}", "here")
            if store.add(f"{stage}/arrived", 1) == n_ranks:
                store.set(f"{stage}/all", "here")
            while not self._comes(f"{stage}/all", look):
                self._refuse_late(stage, heard)

    def _refuse_late(self, stage: str, heard: dict[int, tuple[int, float]]) -> None:
        """Raise an error if a rank has not arrived, and has given no sign of life for too long.

        `heard` holds of each rank how many signs there were, and since when.
        """
        now = time.monotonic()
        for rank, (known, since) in list(heard.items()):
            if self._store.check([f"{stage}/{rank}"]):
                del heard[rank]
                continue
            beats = self._store.add(f"beats/{rank}", 0)
            heard[rank] = (beats, since if known in (UNKNOWN, beats) else now)
        late = [rank for rank, (_, since) in heard.items() if now - since >= self.timeout]
        if late:
            raise RanksMissingError(
                f"{_named(late)} did not arrive: no sign of life for {self.timeout:g} s, "
                f"while others waited for all to have {stage}",
                late,
            )

    @contextmanager
    def together(self, stage: str) -> Iterator[None]:
        """Collectives in which all ranks take part; RuntimeError names those that broke off."""
        self.wait_for_all(stage)
        try:
            yield
        except RuntimeError as error:
            if self._store is None:
                raise
            with _store_is_there():
                broken = self._broken(stage, error)
            raise broken from error

    def _broken(self, stage: str, error: RuntimeError) -> RanksMissingError:
        """Who did not see that a collective has failed, and so is why."""
        self._store.set(f"{stage}/broken/{self.ranks.rank}", "here")
        silent = self._silent(lambda rank: self._store.check([f"{stage}/broken/{rank}"]))
        who = f"{_named(silent)} broke off" if silent else "the connection broke"
        return RanksMissingError(
            f"{who} while the ranks exchanged what they had {stage}: {_first_line(error)}", silent
        )

    def _silent(self, has_come: Callable[[int], bool]) -> list[int]:
        """Ranks that do not come while others have their last words."""
        end = time.monotonic() + LAST_WORDS
        while True:
            silent = [rank for rank in range(self.ranks.n_ranks) if not has_come(rank)]
            if not silent or time.monotonic() > end:
                return silent
            time.sleep(0.05)

    def _comes(self, key: str, patience: float) -> bool:
        """Whether a key is set before the patience is at its end.

        `wait` of the store would do, but writes lines into the log each time that it gives up.
        """
        end, pause = time.monotonic() + patience, SHORTEST_PAUSE
        while not self._store.check([key]):
            if time.monotonic() > end:
                return False
            time.sleep(pause)
            pause = min(GROWTH * pause, LONGEST_PAUSE)
        return True


@contextmanager
def _store_is_there() -> Iterator[None]:
    """Let an error say that the store of the group does not answer any more."""
    try:
        yield
    except dist.DistNetworkError as error:
        raise RanksMissingError(
            "the process that keeps the ranks together is gone: rank 0, or its torchrun", [0]
        ) from error


def _first_line(error: Exception) -> str:
    """An error of a backend, without its stack."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def _named(ranks: list[int]) -> str:
    """Ranks in words."""
    if len(ranks) == 1:
        return f"rank {ranks[0]}"
    shown = ", ".join(map(str, ranks[:8]))
    return f"ranks {shown}" + (f" and {len(ranks) - 8} more" if len(ranks) > 8 else "")
