"""The readers of a storm: threads that dispatch watched keys in every way, and note what was possible meanwhile."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from threading import Event, Thread
from typing import Any

import numpy as np
from model import Key
from pair import frame, key_array
from storm_answers import Answer
from storm_check import Call
from storm_log import Writer

from vnasfast import dtypes

SIZES = (1, 33, 300, 2000, 6000, 20_000, 20_000)  # a large one leaves the writer alone with the GIL
NARROW = getattr(dtypes, "FLOW_KEY_IPV4", None)
SINGLE = 0.1  # of a reader's turns: packets dispatched one by one
N_SINGLE = 10


@dataclass
class Batch:
    """Keys that are dispatched in one call."""

    how: str
    indices: np.ndarray  # of the watched keys
    dispatch: Callable[..., np.ndarray]


class Keys:
    """The watched keys in every form in which they can be dispatched."""

    def __init__(self, keys: Sequence[Key], groups: Sequence[Sequence[int]]) -> None:
        self.keys = keys
        self.wide = key_array(keys)
        # Every key, and those of each script alone, which are hot while the script has its turn.
        self.groups = [np.arange(len(keys)), *(np.array(group) for group in groups)]
        # A frame does not say which process sent it.
        self.frames = [None if key.source_pid else frame(key) for key in keys]
        self.framed = np.array([index for index, each in enumerate(self.frames) if each is not None])
        self.framed_list = self.framed.tolist()
        self.narrow, self.narrowed = narrow_keys(keys)


def narrow_keys(keys: Sequence[Key]) -> tuple[Any, Any]:
    """Give FLOW_KEY_IPV4 keys, and which of the keys they are; (None, None) where the engine has no such keys."""
    if NARROW is None:
        return None, None
    narrowed = np.array(
        [
            index
            for index, key in enumerate(keys)
            if key.destination.version == 4 and key.source.version == 4 and not key.source_pid
        ]
    )
    array = np.zeros(len(narrowed), NARROW)
    for row, index in zip(array, narrowed, strict=True):
        for name in NARROW.names:
            value = getattr(keys[index], name)
            row[name] = list(value.packed) if name in ("source", "destination") else value
    return array, narrowed


class Reader:
    """A thread that dispatches until it is told to stop. Its calls are taken when it has stopped."""

    def __init__(self, writer: Writer, keys: Keys, seed: int) -> None:
        self.writer = writer
        self.machine = writer.machine
        self.keys = keys
        self.random = random.Random(seed)
        self.rng = np.random.default_rng(seed)
        self.calls: list[Call] = []
        self.error: BaseException | None = None
        # All made ahead: a reader that holds the GIL keeps the writer from writing.
        self.batches = [self.wide(size) for size in SIZES * 6]
        if keys.narrow is not None:
            self.batches += [self.ipv4(size) for size in SIZES * 3]
        self.batches += [self.frames(300) for _ in range(8)]

    def wide(self, size: int) -> Batch:
        indices = self.rng.choice(self.random.choice(self.keys.groups), size)
        keys = self.keys.wide[indices]
        return Batch("dispatch_batch", indices, partial(self.machine.dispatch_batch, keys))

    def ipv4(self, size: int) -> Batch:
        places = self.rng.integers(0, len(self.keys.narrow), size)
        keys = self.keys.narrow[places]
        indices = self.keys.narrowed[places]
        return Batch("dispatch_batch, IPv4 keys", indices, partial(self.machine.dispatch_batch, keys))

    def frames(self, size: int) -> Batch:
        indices = self.rng.choice(self.keys.framed, size)
        frames = [self.keys.frames[index] for index in indices.tolist()]
        lengths = np.array([len(each) for each in frames], np.uint32)
        offsets = np.cumsum(lengths, dtype=np.uint64) - lengths
        dispatch = partial(self.machine.dispatch_frames, b"".join(frames), offsets, lengths)
        return Batch("dispatch_frames", indices, dispatch)

    def begin(self, stop: Event, counting: bool) -> None:
        self.calls = []
        self.counting = counting
        self.thread = Thread(target=self.run, args=(stop,))
        self.thread.start()

    def end(self) -> list[Call]:
        self.thread.join()
        if self.error is not None:
            raise self.error
        return self.calls

    def run(self, stop: Event) -> None:
        try:
            while not stop.is_set():
                if self.random.random() < SINGLE:
                    self.one_by_one()
                else:
                    self.many(self.random.choice(self.batches))
        except BaseException as error:  # raised again by end()
            self.error = error

    def many(self, batch: Batch) -> None:
        counted = self.counting and self.random.random() < 0.5
        first = self.writer.done
        found = batch.dispatch(count=counted)
        last = self.writer.begun
        self.calls.append(Call(batch.how, first, last, batch.indices, found, counted=counted))

    def one_by_one(self) -> None:
        machine, writer = self.machine, self.writer
        for index in self.random.choices(self.keys.framed_list, k=N_SINGLE):
            data = self.keys.frames[index]
            first = writer.done
            found = machine.dispatch_id(data, count=self.counting)
            last = writer.begun
            self.note("dispatch_id", first, last, index, found, None)
            first = writer.done
            delivery = machine.dispatch(data, count=self.counting)
            last = writer.begun
            found = int(delivery.outcome) if delivery.socket is None else delivery.socket
            self.note("dispatch", first, last, index, found, Answer(found, delivery.vnas, delivery.pid))

    def note(self, how: str, first: int, last: int, index: int, found: int, delivery: Answer | None) -> None:
        arrays = np.array([index]), np.array([found], np.int32)
        self.calls.append(Call(how, first, last, *arrays, delivery, counted=self.counting))
