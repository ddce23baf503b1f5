"""What a spiking network costs beside the network that it was made from: operations, energy, memory traffic.

Energies of operations at 45 nm are those of Horowitz, "Computing's energy problem", ISSCC 2014. They are of arithmetic
alone: what a chip spends on moving data is estimated beside them, and usually far more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from flownet.spiking.ledger import Row, count

_MICROJOULE = 1e-6  # of a picojoule


@dataclass(frozen=True, kw_only=True)
class Technology:
    """What operations cost.

    Args:
        name: of the numbers that are computed with.
        mac_pj: of a multiply-accumulate, picojoules.
        add_pj: of an addition.
        number_bytes: that a number takes.
        byte_pj: of a byte that is read or written; by default spikingjelly's.
    """

    name: str
    mac_pj: float
    add_pj: float
    number_bytes: int
    byte_pj: float = 24.96

    @property
    def break_even(self) -> float:
        """Spikes per neuron at which additions cost what the multiplications that they replace would."""
        return self.mac_pj / self.add_pj


FLOAT_45NM = Technology(name="45 nm, float32", mac_pj=4.6, add_pj=0.9, number_bytes=4)
INT8_45NM = Technology(name="45 nm, int8", mac_pj=0.23, add_pj=0.03, number_bytes=1)
TECHNOLOGIES = (FLOAT_45NM, INT8_45NM)


def energy_uj(row: Row, technology: Technology) -> float:
    """Arithmetic of a layer, microjoules: every multiplication as one with accumulation, every update as an addition.

    Ordinary networks have no updates: their activations cost nothing here, as everywhere in the literature.
    """
    multiplied = row.graded_macs + row.analog_macs + row.products
    return (multiplied * technology.mac_pj + (row.additions + row.updates) * technology.add_pj) * _MICROJOULE


def traffic_bytes(row: Row, technology: Technology) -> float:
    """Bytes that a layer moves if nothing is reused: an upper bound, of either network.

    A multiply-accumulate reads a weight and a value, a product two values; an addition reads a weight, and reads and
    writes a potential; so does an update, without the weight.
    """
    multiplied = row.graded_macs + row.analog_macs + row.products
    return technology.number_bytes * (2 * multiplied + 3 * row.additions + 2 * row.updates)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """An ordinary and a spiking network on the same input; `print` it for a table.

    Args:
        ordinary, spiking: layer -> what it does.
        technologies: to price it in.
    """

    ordinary: Mapping[str, Row]
    spiking: Mapping[str, Row]
    technologies: tuple[Technology, ...] = TECHNOLOGIES

    @property
    def spikes_per_neuron(self) -> float:
        """Spikes per neuron and window, over all layers; 0 without neurons."""
        neurons = sum(row.neurons for row in self.spiking.values())
        return sum(row.spikes for row in self.spiking.values()) / neurons if neurons else 0.0

    def energy_uj(self, technology: Technology) -> tuple[float, float]:
        """Of the ordinary and the spiking network, microjoules of arithmetic."""
        ordinary, spiking = (
            sum(energy_uj(row, technology) for row in rows.values()) for rows in (self.ordinary, self.spiking)
        )
        return ordinary, spiking

    def rows(self) -> list[dict[str, float | str]]:
        """A row per layer, then "total": counts, and energy in each technology, for reports."""
        names = list(dict.fromkeys([*self.spiking, *self.ordinary]))
        pairs = [(name, self.ordinary.get(name, Row()), self.spiking.get(name, Row())) for name in names]
        pairs.append(("total", _total(self.ordinary), _total(self.spiking)))
        return [self._row(*pair) for pair in pairs]

    def _row(self, name: str, ordinary: Row, spiking: Row) -> dict[str, float | str]:
        row: dict[str, float | str] = {
            "layer": name,
            "macs": ordinary.analog_macs + ordinary.graded_macs + ordinary.products,
            "additions": spiking.additions,
            "graded_macs": spiking.graded_macs,
            "analog_macs": spiking.analog_macs,
            "products": spiking.products,
            "updates": spiking.updates,
            "spikes": spiking.spikes,
            "spikes_per_neuron": spiking.spikes / spiking.neurons if spiking.neurons else 0.0,
        }
        for technology in self.technologies:
            row[f"ordinary_uj ({technology.name})"] = energy_uj(ordinary, technology)
            row[f"spiking_uj ({technology.name})"] = energy_uj(spiking, technology)
            row[f"ordinary_bytes ({technology.name})"] = traffic_bytes(ordinary, technology)
            row[f"spiking_bytes ({technology.name})"] = traffic_bytes(spiking, technology)
        return row

    def __str__(self) -> str:
        heads = ("MACs", "additions", "graded", "analog", "products", "updates", "spikes/n.")
        keys = ("macs", "additions", "graded_macs", "analog_macs", "products", "updates", "spikes_per_neuron")
        rows = self.rows()
        width = max(12, *(len(str(row["layer"])) for row in rows))
        lines = [f"{'layer':<{width}}" + "".join(f"{head:>12}" for head in heads)]
        for row in rows:
            cells = [f"{row[key]:>12.3f}" if key == "spikes_per_neuron" else _scaled(row[key]) for key in keys]
            lines.append(f"{row['layer']:<{width}}" + "".join(cells))
        lines += [self._priced(technology, rows[-1]) for technology in self.technologies]
        lines.append("MACs: of the ordinary network; all others of the spiking one. graded: multiplied events; analog: "
                     "what stayed as it was.")  # fmt: skip
        lines.append("Memory: every operand moved, nothing reused; an upper bound, not part of the energy.")
        return "\n".join(lines)

    def _priced(self, technology: Technology, total: Mapping[str, float | str]) -> str:
        ordinary, spiking = self.energy_uj(technology)
        moved = [float(total[f"{which}_bytes ({technology.name})"]) for which in ("ordinary", "spiking")]
        memory = [each * technology.byte_pj * _MICROJOULE for each in moved]
        share = spiking / ordinary if ordinary else float("nan")
        return (f"{technology.name}: ordinary {ordinary:.4g} uJ, spiking {spiking:.4g} uJ ({share:.2f} x); "
                f"{self.spikes_per_neuron:.2f} spikes per neuron, break-even {technology.break_even:.1f}; "
                f"memory {memory[0]:.4g} and {memory[1]:.4g} uJ")  # fmt: skip


def compare(
    ordinary: nn.Module, spiking: nn.Module, *inputs: Tensor, technologies: tuple[Technology, ...] = TECHNOLOGIES
) -> Comparison:
    """Counts both networks on the same inputs; batches are counted in all, not per sample.

    Args:
        ordinary: the network in evaluation mode.
        spiking: what `convert.convert` made of it.
        inputs: of both.
        technologies: to price the counts in.
    """
    return Comparison(ordinary=count(ordinary, *inputs), spiking=count(spiking, *inputs), technologies=technologies)


def _total(rows: Mapping[str, Row]) -> Row:
    names = Row.__dataclass_fields__
    return Row(**{name: sum(getattr(row, name) for row in rows.values()) for name in names})


def _scaled(value: float | str) -> str:
    number = float(value)
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= unit:
            return f"{number / unit:>11.3f}{name}"
    return f"{number:>12.0f}"
