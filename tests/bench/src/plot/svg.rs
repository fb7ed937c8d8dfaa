//! The text of an SVG file.

use std::fmt::Write;

use super::Axis;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 380.0;
/// Edges of the area that the axes enclose.
const LEFT: f64 = 72.0;
const RIGHT: f64 = WIDTH - 24.0;
const TOP: f64 = 72.0;
const BOTTOM: f64 = HEIGHT - 56.0;
/// Text and lines: a grey that stands out from white and from black.
const INK: &str = "#7d8590";
const SERIES: [&str; 4] = ["#3b82d6", "#d9730d", "#2f9e63", "#9065d6"];

/// A picture in the making.
pub(super) struct Svg<'a> {
    text: String,
    x: &'a Axis,
    y: &'a Axis,
}

impl<'a> Svg<'a> {
    pub(super) fn new(title: &str, x: &'a Axis, y: &'a Axis) -> Self {
        let text = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
             font-family=\"system-ui, 'DejaVu Sans', sans-serif\" font-size=\"13\" fill=\"{INK}\">\n"
        );
        let mut svg = Self { text, x, y };
        svg.words(
            LEFT,
            24.0,
            "start",
            "font-size=\"16\" font-weight=\"600\"",
            title,
        );
        svg.axes();
        svg
    }

    pub(super) fn finish(mut self) -> String {
        self.text += "</svg>\n";
        self.text
    }

    fn axes(&mut self) {
        for (at, label) in self.x.ticks() {
            let x = self.at_x(at);
            if self.x.has_grid() {
                self.rule((x, TOP), (x, BOTTOM), "stroke-opacity=\"0.25\"");
            }
            self.words(x, BOTTOM + 20.0, "middle", "", &label);
        }
        for (at, label) in self.y.ticks() {
            let y = self.at_y(at);
            self.rule((LEFT, y), (RIGHT, y), "stroke-opacity=\"0.25\"");
            self.words(LEFT - 8.0, y + 4.0, "end", "", &label);
        }
        self.rule((LEFT, TOP), (LEFT, BOTTOM), "");
        self.rule((LEFT, BOTTOM), (RIGHT, BOTTOM), "");
        let (x_label, y_label) = (self.x.label.clone(), self.y.label.clone());
        self.words(
            f64::midpoint(LEFT, RIGHT),
            HEIGHT - 12.0,
            "middle",
            "",
            &x_label,
        );
        let (x, y) = (18.0, f64::midpoint(TOP, BOTTOM));
        let turned = format!("transform=\"rotate(-90 {x} {y})\"");
        self.words(x, y, "middle", &turned, &y_label);
    }

    /// One line of names below the title.
    pub(super) fn legend(&mut self, series: &[String]) {
        /// Wider than the widest usual letter on average.
        const LETTER: f64 = 7.4;
        let mut x = LEFT;
        for (number, name) in series.iter().enumerate() {
            self.circle(number, (x + 5.0, 46.0), 5.0);
            self.words(x + 16.0, 50.0, "start", "", name);
            x += 36.0 + LETTER * crate::stats::as_f64(name.chars().count());
        }
    }

    pub(super) fn dots(&mut self, series: usize, points: &[(f64, f64)]) {
        for (x, y) in points {
            self.circle(series, (self.at_x(*x), self.at_y(*y)), 3.5);
        }
    }

    pub(super) fn line(&mut self, series: usize, points: &[(f64, f64)]) {
        let mut list = String::new();
        for (x, y) in points {
            let _ = write!(list, "{:.1},{:.1} ", self.at_x(*x), self.at_y(*y));
        }
        let (color, list) = (color(series), list.trim_end());
        let _ = writeln!(
            self.text,
            "<polyline points=\"{list}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"2\"/>"
        );
    }

    pub(super) fn stroke(&mut self, series: usize, (x, y): (f64, f64)) {
        let (x, y, color) = (self.at_x(x), self.at_y(y), color(series));
        let _ = writeln!(
            self.text,
            "<path d=\"M {:.1} {y:.1} H {:.1}\" stroke=\"{color}\" stroke-width=\"4\"/>",
            x - 18.0,
            x + 18.0
        );
    }

    pub(super) fn limit_x(&mut self, at: f64, label: &str) {
        let x = self.at_x(at);
        self.rule(
            (x, TOP),
            (x, BOTTOM),
            "stroke-width=\"2\" stroke-dasharray=\"6 4\"",
        );
        self.words(x - 6.0, TOP - 6.0, "end", "", label);
    }

    pub(super) fn limit_y(&mut self, at: f64, label: &str) {
        let y = self.at_y(at);
        self.rule(
            (LEFT, y),
            (RIGHT, y),
            "stroke-width=\"2\" stroke-dasharray=\"6 4\"",
        );
        self.words(RIGHT, y - 6.0, "end", "", label);
    }

    pub(super) fn shaded(&mut self, x: (f64, f64), y: (f64, f64), label: &str) {
        let (left, right) = (self.at_x(x.0), self.at_x(x.1));
        let (low, high) = (self.at_y(y.0), self.at_y(y.1));
        let _ = writeln!(
            self.text,
            "<rect x=\"{left:.1}\" y=\"{high:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill-opacity=\"0.25\"/>",
            right - left,
            (low - high).max(3.0)
        );
        let middle = f64::midpoint(low, high) + 4.0;
        self.words(right + 6.0, middle, "start", "", label);
    }

    fn circle(&mut self, series: usize, (x, y): (f64, f64), radius: f64) {
        let color = color(series);
        let _ = writeln!(
            self.text,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\" fill=\"{color}\" fill-opacity=\"0.75\"/>"
        );
    }

    fn rule(&mut self, from: (f64, f64), to: (f64, f64), style: &str) {
        let _ = writeln!(
            self.text,
            "<path d=\"M {:.1} {:.1} L {:.1} {:.1}\" stroke=\"{INK}\" {style}/>",
            from.0, from.1, to.0, to.1
        );
    }

    fn words(&mut self, x: f64, y: f64, anchor: &str, style: &str, words: &str) {
        let words = words
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;");
        let _ = writeln!(
            self.text,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" {style}>{words}</text>"
        );
    }

    fn at_x(&self, value: f64) -> f64 {
        LEFT + (RIGHT - LEFT) * self.x.place(value)
    }

    fn at_y(&self, value: f64) -> f64 {
        BOTTOM - (BOTTOM - TOP) * self.y.place(value)
    }
}

fn color(series: usize) -> &'static str {
    SERIES[series % SERIES.len()]
}
