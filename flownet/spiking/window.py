"""The inner clock: a window of micro-steps, in which a part of a network runs on spikes.

A spiking network has two clocks, which are never merged. The outer one counts event slices, and is where recurrent
states live. The inner one counts the micro-steps of one window, in which each value of one slice is carried by spikes;
at its start all membranes are reset. Micro-steps are folded into the batch, time first: [t N, ...]. So modules that
know nothing of time run unchanged, and only neurons unfold it.

Two forms, never mixed:
    mean: inputs and biases arrive at every micro-step, a spike is worth the threshold, the mean over steps is read.
    sum: inputs and biases arrive once, a spike is worth a quantum, the sum is read once everything has settled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from flownet.spiking.arrivals import Graded, Spikes, along_channels, mark
from flownet.spiking.guard import Guard
from flownet.spiking.neurons import Neuron, State

Form = Literal["mean", "sum"]
# Micro-steps are run together up to so many numbers of input.
_NUMBERS = 1 << 20


class Clock:
    """Where a window stands; shared by everything that unfolds time.

    Args:
        steps: micro-steps that are folded into the batch now.
        first: whether these are the window's first.
        inside: whether a neuron is at work, which may use functions that a network may not.
    """

    def __init__(self) -> None:
        self.steps = 1
        self.first = True
        self.inside = False
        self._members: list[Timed] = []

    def join(self, member: Timed) -> None:
        """One more that has a state."""
        self._members.append(member)

    def start(self) -> None:
        """A new window: all states are forgotten."""
        for member in self._members:
            member.restart()

    def tick(self, steps: int, *, first: bool) -> None:
        """The next micro-steps."""
        self.steps, self.first = steps, first
        for member in self._members:
            member.rewind()

    @property
    def settled(self) -> bool:
        """Whether all would stay silent as long as nothing arrives."""
        return all(member.settled for member in self._members)


class Timed(nn.Module):
    """A neuron in a network whose batch holds micro-steps: unfolds them, and keeps its state from chunk to chunk.

    A module that is called several times in one forward pass has as many states.
    """

    def __init__(self, neuron: Neuron, clock: Clock) -> None:
        super().__init__()
        self.neuron = neuron
        self._clock = clock
        self._states: list[State] = []
        self._call = 0
        clock.join(self)

    def restart(self) -> None:
        """Forgets its states."""
        self._states = []

    def rewind(self) -> None:
        """The network runs from its start again."""
        self._call = 0

    @property
    def settled(self) -> bool:
        """Whether it would stay silent as long as nothing arrives."""
        return all(self.neuron.settled(state) for state in self._states)

    @property
    def clock(self) -> Clock:
        """The one that it follows."""
        return self._clock

    def forward(
        self,
        x: Tensor,  # [t N, ...]
    ) -> Tensor:
        """Spikes [t N, ...]."""
        currents = in_steps(x, self._clock.steps)
        self._clock.inside = True
        try:
            if self._call == len(self._states):
                self._states.append(self.neuron.start(currents[0]))
            spikes, self._states[self._call] = self.neuron.advance(currents, self._states[self._call])
            how = self.neuron.mark()
        finally:
            self._clock.inside = False
        self._call += 1
        return mark(spikes.flatten(0, 1), how)


class Once(nn.Module):
    """An affine layer whose bias arrives at the first micro-step only: its sum over a window has the bias once."""

    def __init__(self, layer: nn.Module, bias: Tensor, clock: Clock) -> None:
        super().__init__()
        self.layer = layer
        self.register_buffer("bias", bias.detach().clone())
        self.bias: Tensor
        self._clock = clock

    def forward(
        self,
        x: Tensor,  # [t N, ...]
    ) -> Tensor:
        """The layer without its bias, which the first micro-step gets."""
        y: Tensor = self.layer(x)
        if not self._clock.first:
            return y
        steps = in_steps(y, self._clock.steps)
        bias = self.bias if isinstance(self.layer, nn.Linear) else along_channels(self.bias, steps[0])
        return torch.cat([steps[:1] + bias, steps[1:]]).flatten(0, 1)


class Feed(Protocol):
    """How a value reaches a window: `length` micro-steps bring something, and a chunk is [count N, ...]."""

    @property
    def length(self) -> int:
        """Micro-steps after which nothing arrives any more."""
        ...

    def chunk(self, start: int, count: int) -> Tensor:
        """What arrives at the micro-steps from `start` on."""
        ...


class Constant:
    """The value at every micro-step."""

    length = 1

    def __init__(self, value: Tensor) -> None:
        self.value = value

    def chunk(self, start: int, count: int) -> Tensor:
        """Repeated; what is on a line and stays is multiplied once."""
        repeated = self.value.expand(count, *self.value.shape).flatten(0, 1)
        return mark(repeated.clone(), Graded(batch=len(self.value), fresh=start == 0))


class AtOnce:
    """The value at the first micro-step, then nothing."""

    length = 1

    def __init__(self, value: Tensor) -> None:
        self.value = value

    def chunk(self, start: int, count: int) -> Tensor:
        """The value, if it is the first chunk, and zeros."""
        silent = self.value.new_zeros(count, *self.value.shape)
        if start == 0:
            silent[0] = self.value
        return mark(silent.flatten(0, 1), Graded(batch=len(self.value), fresh=start == 0))


class Unary:
    """A multiple of a quantum as that many spikes of its sign, one per micro-step: what a settled neuron hands over."""

    def __init__(self, value: Tensor, quantum: Tensor) -> None:
        self.quantum = quantum
        self._counts = (value / along_channels(quantum, value)).round()
        self.length = max(1, int(self._counts.abs().max())) if value.numel() else 1

    def chunk(self, start: int, count: int) -> Tensor:
        """A spike where the count is not used up."""
        steps = torch.arange(start, start + count, device=self._counts.device).reshape(-1, *[1] * self._counts.ndim)
        spikes = self._counts.sign() * (steps < self._counts.abs())
        return mark((along_channels(self.quantum, self._counts) * spikes).flatten(0, 1), Spikes(self.quantum))


class Windows:
    """Runs parts of a network for a window each, in one form and for so many micro-steps.

    Args:
        form: "mean" or "sum": see the module.
        steps: micro-steps of a window. None, of sums only: until everything has settled.
        delay: micro-steps at the start that a mean leaves out, of a window that has four more (Bu et al., "Inference-
            Scale Complexity in ANN-SNN Conversion", 2024: local threshold balancing).
        guarded: refuse functions that only neurons can stand for, in the first window.

    Raises:
        ValueError: fewer than one micro-step, or none given for means.
    """

    def __init__(self, form: Form, steps: int | None, *, delay: int = 0, guarded: bool = True) -> None:
        if (steps is None and form == "mean") or (steps is not None and steps < 1) or delay < 0:
            raise ValueError(f"expected 1 or more steps (None only for sums) and a delay of 0 or more, got {steps} "
                             f"and {delay}")  # fmt: skip
        self.form: Form = form
        self.steps = steps
        self.delay = delay
        self.clock = Clock()
        #: The longest window since this was last set to 0, micro-steps.
        self.longest = 0
        self._guarded = guarded

    def feed(self, value: Tensor, quantum: Tensor | None = None) -> Feed:
        """A value as this form takes it; sums take multiples of a quantum as spikes."""
        if self.form == "mean":
            return Constant(value)
        return AtOnce(value) if quantum is None else Unary(value, quantum)

    def run(self, body: Callable[..., Any], *feeds: Feed) -> Any:
        """What a window of `steps` gives: tensors [N, ...] in the form that the body returns them."""
        if self.steps is not None:
            return self.trace(body, *feeds, steps=[self.steps])[0]
        self.clock.start()
        start, total = 0, None
        # Longer chunks would run on after everything has settled.
        while start < max(feed.length for feed in feeds) or not self.clock.settled:
            total = added(total, self._chunk(body, feeds, start, 1))
            start += 1
        self.longest = max(self.longest, start)
        return total

    def trace(self, body: Callable[..., Any], *feeds: Feed, steps: Sequence[int]) -> list[Any]:
        """What windows of several lengths give, from one run of the longest.

        Raises:
            ValueError: no length, or one below 1.
        """
        if not steps or min(steps) < 1:
            raise ValueError(f"expected lengths of 1 or more micro-steps, got {list(steps)}")
        begins = {length: min(self.delay, max(length - 4, 0)) if self.form == "mean" else 0 for length in steps}
        sums = self._sums(body, feeds, sorted({*begins, *begins.values()} - {0}))
        self.longest = max(self.longest, max(steps))
        if self.form == "sum":
            return [sums[length] for length in steps]
        return [
            mapped(sums[end] if begin == 0 else difference(sums[end], sums[begin]), lambda x, n=end - begin: x / n)
            for end, begin in ((length, begins[length]) for length in steps)
        ]

    def _sums(self, body: Callable[..., Any], feeds: Sequence[Feed], ends: Sequence[int]) -> dict[int, Any]:
        """The sums over micro-steps up to each of the ends."""
        self.clock.start()
        most = max(1, _NUMBERS // max(1, sum(feed.chunk(0, 1).numel() for feed in feeds)))
        sums, start, total = {}, 0, None
        for end in ends:
            while start < end:
                count = min(most, end - start)
                total = added(total, self._chunk(body, feeds, start, count))
                start += count
            sums[end] = total
        return sums

    def _chunk(self, body: Callable[..., Any], feeds: Sequence[Feed], start: int, count: int) -> Any:
        """The sum over some micro-steps of what the body returns."""
        self.clock.tick(count, first=start == 0)
        arriving = [feed.chunk(start, count) for feed in feeds]
        if self._guarded:
            with Guard(self.clock):
                found = body(*arriving)
            self._guarded = False
        else:
            found = body(*arriving)
        return mapped(found, lambda x: in_steps(x, count).sum(0))


def in_steps(
    x: Tensor,  # [t N, ...]
    steps: int,
) -> Tensor:
    """Micro-steps unfolded from the batch: [t, N, ...]."""
    return x.reshape(steps, len(x) // steps, *x.shape[1:])


def mapped(output: Any, function: Callable[..., Tensor], *others: Any) -> Any:
    """A function of the tensors in nested tuples, lists and dictionaries, in the same form.

    Raises:
        TypeError: something else is among them.
    """
    if isinstance(output, Tensor):
        return function(output, *others)
    if isinstance(output, dict):
        return {key: mapped(each, function, *(other[key] for other in others)) for key, each in output.items()}
    if isinstance(output, tuple | list):
        found = [mapped(each, function, *(other[i] for other in others)) for i, each in enumerate(output)]
        return tuple(found) if isinstance(output, tuple) else found
    raise TypeError(f"expected tensors, or tuples, lists or dictionaries of them, got {type(output).__name__}")


def added(total: Any, more: Any) -> Any:
    """Sums, tensor by tensor; None is nothing yet."""
    return more if total is None else mapped(total, torch.add, more)


def difference(total: Any, less: Any) -> Any:
    """Differences, tensor by tensor."""
    return mapped(total, torch.sub, less)
