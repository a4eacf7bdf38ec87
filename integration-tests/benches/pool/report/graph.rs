//! Lines in panels beside one another, as SVG that can be read on a light and on a dark page.

use std::fmt::Write;

use super::written::number;

/// Panels with one scale of values.
pub(crate) struct Graph<'a> {
    /// What the values are.
    pub(crate) title: &'a str,
    /// From left to right.
    pub(crate) panels: &'a [Panel],
}

/// Lines against something that grows by factors.
pub(crate) struct Panel {
    /// What it grows with.
    pub(crate) title: String,
    /// The marks below, which say where it begins and ends.
    pub(crate) ticks: Vec<(f64, String)>,
    /// The lines: as many as there are [`MARKS`].
    pub(crate) series: Vec<Series>,
}

/// A line.
pub(crate) struct Series {
    /// What it is.
    pub(crate) name: String,
    /// Its points, from left to right.
    pub(crate) points: Vec<(f64, f64)>,
}

const PANEL_WIDTH: f64 = 420.0;
const HEIGHT: f64 = 330.0;
/// Of the field of a panel within it.
const LEFT: f64 = 48.0;
const RIGHT: f64 = 396.0;
const TOP: f64 = 84.0;
const BOTTOM: f64 = 292.0;

/// Colours alone do not tell lines apart for everybody, so each has marks of its own.
const MARKS: [fn(f64, f64) -> String; 3] = [circle, square, triangle];

/// Colours on light, and on dark.
const STYLE: &str = "\
<style>
text { font: 13px system-ui, sans-serif; fill: #333 }
.title { font-weight: 600 }
.grid { stroke: #ddd }
.line { fill: none; stroke-width: 2 }
.s0 { stroke: #1f6fc4 } .m0 { fill: #1f6fc4 }
.s1 { stroke: #c2500f } .m1 { fill: #c2500f }
.s2 { stroke: #1a8a4c } .m2 { fill: #1a8a4c }
@media (prefers-color-scheme: dark) {
text { fill: #ddd }
.grid { stroke: #444 }
.s0 { stroke: #6db3f8 } .m0 { fill: #6db3f8 }
.s1 { stroke: #f59a5d } .m1 { fill: #f59a5d }
.s2 { stroke: #58c98a } .m2 { fill: #58c98a }
}
</style>
";

impl Graph<'_> {
    /// As a file.
    pub(crate) fn svg(&self) -> String {
        let width = PANEL_WIDTH * self.panels.len() as f64;
        let values = self.panels.iter().flat_map(|panel| &panel.series);
        let values = values.flat_map(|series| &series.points).map(|(_, value)| *value);
        let step = step(values.fold(0.0, f64::max));
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {HEIGHT}\" \
             width=\"{width}\" height=\"{HEIGHT}\" role=\"img\">\n<title>{}</title>\n{STYLE}",
            self.title
        );
        for (index, panel) in self.panels.iter().enumerate() {
            let _ = writeln!(svg, "<g transform=\"translate({} 0)\">", PANEL_WIDTH * index as f64);
            let title = &panel.title;
            let _ = writeln!(svg, "<text class=\"title\" x=\"{LEFT}\" y=\"22\">{title}</text>");
            panel.draw(&mut svg, step);
            svg += "</g>\n";
        }
        svg + "</svg>\n"
    }
}

/// The distance of the lines of a grid: a round number, five of which are at least the largest
/// value.
fn step(largest: f64) -> f64 {
    let wanted = (largest / 5.0).max(1e-3);
    let power = 10_f64.powf(wanted.log10().floor());
    let factors = [1.0, 2.0, 2.5, 5.0, 10.0];
    factors.into_iter().map(|factor| factor * power).find(|step| *step >= wanted).unwrap_or(wanted)
}

impl Panel {
    fn draw(&self, svg: &mut String, step: f64) {
        let (first, last) = match self.ticks[..] {
            [(first, _), .., (last, _)] => (first.ln(), last.ln()),
            _ => return,
        };
        let x = |at: f64| LEFT + (at.ln() - first) / (last - first) * (RIGHT - LEFT);
        let y = |value: f64| BOTTOM - value / (5.0 * step) * (BOTTOM - TOP);
        for line in 0..=5 {
            let value = step * f64::from(line);
            let at = y(value);
            let _ = writeln!(
                svg,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
                 <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 8.0,
                at + 4.0,
                tick(value),
            );
        }
        for (at, name) in &self.ticks {
            let _ = writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{name}</text>",
                x(*at),
                BOTTOM + 20.0
            );
        }
        let mut legend = LEFT;
        for (index, (series, mark)) in self.series.iter().zip(MARKS).enumerate() {
            let points = series.points.iter().map(|(at, value)| (x(*at), y(*value)));
            let line: Vec<_> = points.clone().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
            let line = line.join(" ");
            let _ = writeln!(svg, "<polyline class=\"line s{index}\" points=\"{line}\"/>");
            let marks: String = points.map(|(x, y)| mark(x, y)).collect();
            let _ = writeln!(svg, "<g class=\"m{index}\">{marks}{}</g>", mark(legend + 4.0, 46.0));
            let _ = writeln!(svg, "<text x=\"{}\" y=\"50\">{}</text>", legend + 14.0, series.name);
            // About the width of its letters.
            legend += 30.0 + 7.2 * series.name.len() as f64;
        }
    }
}

/// A round number, without digits that say nothing.
fn tick(value: f64) -> String {
    let text = number(value);
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

fn circle(x: f64, y: f64) -> String {
    format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"/>")
}

fn square(x: f64, y: f64) -> String {
    format!("<rect x=\"{:.1}\" y=\"{:.1}\" width=\"8\" height=\"8\"/>", x - 4.0, y - 4.0)
}

fn triangle(x: f64, y: f64) -> String {
    let (left, right, top, bottom) = (x - 5.0, x + 5.0, y - 5.0, y + 4.0);
    format!("<path d=\"M{x:.1} {top:.1} L{right:.1} {bottom:.1} L{left:.1} {bottom:.1}Z\"/>")
}
