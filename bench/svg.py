"""A few shapes, enough for plots. Colours are readable on white and on black, and nothing is filled behind them."""

from xml.sax.saxutils import escape

INK, GRID = "#7d8590", "#7d859055"
FONT = "font-family='system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif'"


class Drawing:
    def __init__(self, width, height, title):
        self.parts = [
            f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' width='{width}' "
            f"height='{height}' role='img' {FONT}>", f"<title>{escape(title)}</title>"]
        self.width, self.height = width, height

    def text(self, x, y, words, size=12, anchor="start", colour=INK, weight="normal", turn=0):
        turned = f" transform='rotate({turn} {x:.1f} {y:.1f})'" if turn else ""
        self.parts.append(f"<text x='{x:.1f}' y='{y:.1f}' font-size='{size}' text-anchor='{anchor}' fill='{colour}' "
                          f"font-weight='{weight}'{turned}>{escape(words)}</text>")

    def line(self, x1, y1, x2, y2, colour=GRID, width=1):
        self.parts.append(f"<line x1='{x1:.1f}' y1='{y1:.1f}' x2='{x2:.1f}' y2='{y2:.1f}' stroke='{colour}' "
                          f"stroke-width='{width}'/>")

    def bar(self, x, y, width, height, colour):
        self.parts.append(f"<rect x='{x:.1f}' y='{y:.1f}' width='{max(width, 1):.1f}' height='{height:.1f}' rx='2' "
                          f"fill='{colour}'/>")

    def curve(self, points, colour):
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.parts.append(f"<polyline points='{path}' fill='none' stroke='{colour}' stroke-width='2'/>")
        for x, y in points:
            self.parts.append(f"<circle cx='{x:.1f}' cy='{y:.1f}' r='3.5' fill='{colour}'/>")

    def legend(self, x, y, entries):
        """entries: (label, colour), in one row."""
        for label, colour in entries:
            self.bar(x, y - 9, 10, 10, colour)
            self.text(x + 15, y, label)
            x += 35 + 7 * len(label)

    def write(self, path):
        path.write_text("\n".join(self.parts) + "\n</svg>\n")
