"""Draws the records of a run: sequential.svg, concurrent.svg, in_flight.svg.

Alone: python3 bench/plot.py RECORDS.json DIR
"""

import json
import math
import pathlib
import sys

from cases import IN_FLIGHT, SIZES
from report import Figures, bytes_name
from server import PEERS
from svg import GRID, INK, Drawing

COLOURS = {"nffi": "#2f81f7", "nffi_spin": "#1f9d8a", "unix_socket": "#e0752d", "say": "#8b949e"}
PLACEMENTS = {"one_core": "one core", "two_cores": "two cores", "free": "free"}
LEFT = 64


def draw(records, folder):
    folder.mkdir(parents=True, exist_ok=True)
    figures = Figures(records)
    drawn = []
    for name, make in (("sequential", sequential), ("concurrent", concurrent), ("in_flight", in_flight)):
        if any(r["case"] == name for r in records):
            drawing = make(figures)
            drawing.write(folder / f"{name}.svg")
            drawn.append(folder / f"{name}.svg")
    return drawn


def legend(drawing, peers):
    drawing.legend(LEFT, 50, [(peer, COLOURS[peer]) for peer in peers])


def sequential(figures):
    """A panel for each placement; microseconds on one logarithmic scale."""
    peers, top, bottom, wide, gap = PEERS[:3], 92, 330, 240, 22
    panels = figures.placements
    drawing = Drawing(LEFT + len(panels) * (wide + gap), 390, "Sequential echo: microseconds a call")
    drawing.text(LEFT, 24, "Sequential echo: µs a call, by payload", 16, weight="600")
    legend(drawing, peers)
    values = [v for p in panels for peer in peers for s in SIZES if (v := figures.sequential(peer, p, s))]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))

    def y(value):
        return bottom - (math.log10(value) - low) / (high - low) * (bottom - top)

    for number, placement in enumerate(panels):
        left = LEFT + number * (wide + gap)
        step = wide / len(SIZES)
        drawing.text(left + wide / 2, top - 12, PLACEMENTS[placement], 13, "middle", weight="600")
        for power in range(low, high + 1):
            drawing.line(left, y(10 ** power), left + wide, y(10 ** power))
            if number == 0:
                drawing.text(left - 8, y(10 ** power) + 4, f"{10 ** power:,g}", anchor="end")
        for place, size in enumerate(SIZES):
            drawing.text(left + (place + 0.5) * step, bottom + 20, bytes_name(size), anchor="middle")
        for peer in peers:
            drawing.curve([(left + (place + 0.5) * step, y(value)) for place, size in enumerate(SIZES)
                           if (value := figures.sequential(peer, placement, size))], COLOURS[peer])
    drawing.text(18, (top + bottom) / 2, "µs a call (log scale)", anchor="middle", turn=-90)
    drawing.text(LEFT + (drawing.width - LEFT) / 2, bottom + 44, "payload, each way", anchor="middle")
    return drawing


def concurrent(figures):
    """Bars from zero: requests a second, by placement."""
    left, top, thick, gap, wide = 100, 84, 20, 26, 600
    groups = [p for p in figures.placements if figures.concurrent("say", p)]
    height = top + len(groups) * (len(PEERS) * thick + gap) + 34
    drawing = Drawing(left + wide + 40, height, "64 connections: requests a second")
    drawing.text(left, 24, "64 connections, one worker: requests a second", 16, weight="600")
    drawing.legend(left, 50, [(peer, COLOURS[peer]) for peer in PEERS])
    most = max(figures.concurrent(peer, p) or 0 for p in groups for peer in PEERS)
    step = nice_step(most, 5)
    end = math.ceil(most / step) * step
    bottom = height - 44
    for tick in range(0, int(end / step) + 1):
        x = left + tick * step / end * wide
        drawing.line(x, top - 8, x, bottom)
        drawing.text(x, bottom + 18, f"{tick * step:,.0f}", anchor="middle")
    drawing.text(left + wide / 2, bottom + 38, "requests/s", anchor="middle")
    y = top
    for placement in groups:
        drawing.text(left - 10, y + len(PEERS) * thick / 2 + 4, PLACEMENTS[placement], 13, "end", weight="600")
        for peer in PEERS:
            value = figures.concurrent(peer, placement)
            if value:
                width = value / end * wide
                drawing.bar(left, y + 1, width, thick - 3, COLOURS[peer])
                inside = width > wide * 0.8
                drawing.text(left + width + (-6 if inside else 6), y + 14, f"{value:,.0f}", 11,
                             "end" if inside else "start", "#ffffff" if inside else INK)
            y += thick
        y += gap
    return drawing


def in_flight(figures):
    """Cost of a call against the calls that wait meanwhile; the scale starts at zero."""
    top, bottom, wide = 60, 280, 460
    points = [(size, value) for size in IN_FLIGHT if (value := figures.in_flight(size, "us_per_call"))]
    drawing = Drawing(LEFT + wide + 40, 340, "Cost of a call with others in flight")
    drawing.text(LEFT, 24, "µs a call while others are in flight, one core, 16 B", 16, weight="600")
    step = nice_step(max(value for _, value in points), 4)
    end = step * math.ceil(max(value for _, value in points) * 1.15 / step)
    for tick in range(int(round(end / step)) + 1):
        y = bottom - tick * step / end * (bottom - top)
        drawing.line(LEFT, y, LEFT + wide, y, GRID)
        drawing.text(LEFT - 8, y + 4, f"{tick * step:g}", anchor="end")
    place = {size: LEFT + (number + 0.5) * wide / len(IN_FLIGHT) for number, size in enumerate(IN_FLIGHT)}
    drawing.curve([(place[size], bottom - value / end * (bottom - top)) for size, value in points], COLOURS["nffi"])
    for size, value in points:
        drawing.text(place[size], bottom - value / end * (bottom - top) - 10, f"{value:.2f}", anchor="middle")
        drawing.text(place[size], bottom + 20, f"{size:,}", anchor="middle")
    drawing.text(18, (top + bottom) / 2, "µs a call", anchor="middle", turn=-90)
    drawing.text(LEFT + wide / 2, bottom + 44, "Lua calls parked in flight", anchor="middle")
    return drawing


def nice_step(most, ticks):
    raw = most / ticks
    power = 10 ** math.floor(math.log10(raw))
    return next(power * n for n in (1, 2, 5, 10) if power * n >= raw)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python3 bench/plot.py RECORDS.json DIR")
    for file in draw(json.loads(pathlib.Path(sys.argv[1]).read_text()), pathlib.Path(sys.argv[2])):
        print(file)
