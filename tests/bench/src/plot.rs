//! Plots as SVG: dots, steps and limits on two axes. Only middle tones on no background, so that they can be read in light and
//! dark mode.

mod axis;
mod svg;

pub use axis::Axis;

use svg::Svg;

/// What is seen.
#[derive(Clone, Debug)]
pub struct Plot {
    pub title: String,
    pub x: Axis,
    pub y: Axis,
    /// Names in the legend; a mark's colour is the number of its series.
    pub series: Vec<String>,
    pub marks: Vec<Mark>,
}

/// Something drawn; positions are in the units of the axes.
#[derive(Clone, Debug)]
pub enum Mark {
    Dots {
        series: usize,
        points: Vec<(f64, f64)>,
    },
    /// Joined by straight lines.
    Line {
        series: usize,
        points: Vec<(f64, f64)>,
    },
    /// A short horizontal stroke, such as a median.
    Stroke { series: usize, at: (f64, f64) },
    /// A dashed line across the plot at this x.
    LimitX { at: f64, label: String },
    /// A dashed line across the plot at this y.
    LimitY { at: f64, label: String },
    /// A grey box, such as a range that was predicted: x from and to, y from and to.
    Box {
        x: (f64, f64),
        y: (f64, f64),
        label: String,
    },
}

/// Share of the values that are at most x, as a line with steps. `until` is where the line ends on the right.
pub fn cumulative(values: &[f64], until: f64) -> Vec<(f64, f64)> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let share = |count| crate::stats::as_f64(count) / crate::stats::as_f64(sorted.len());
    let mut points = Vec::new();
    for (index, value) in sorted.iter().enumerate() {
        points.push((*value, share(index)));
        points.push((*value, share(index + 1)));
    }
    if let Some(last) = sorted.last() {
        points.push((until.max(*last), 1.0));
    }
    points
}

/// Values in a column around x, spread so that equal ones are seen apart.
pub fn column(x: f64, width: f64, values: &[f64]) -> Vec<(f64, f64)> {
    /// The golden ratio's fraction: consecutive multiples are far apart.
    const SPREAD: f64 = 0.618_034;
    let place = |index| ((crate::stats::as_f64(index) * SPREAD).fract() - 0.5) * width;
    let values = values.iter().enumerate();
    values
        .map(|(index, value)| (x + place(index), *value))
        .collect()
}

impl Plot {
    /// The picture, as the text of an SVG file.
    pub fn svg(&self) -> String {
        let mut svg = Svg::new(&self.title, &self.x, &self.y);
        svg.legend(&self.series);
        for mark in &self.marks {
            match mark {
                Mark::Dots { series, points } => svg.dots(*series, points),
                Mark::Line { series, points } => svg.line(*series, points),
                Mark::Stroke { series, at } => svg.stroke(*series, *at),
                Mark::LimitX { at, label } => svg.limit_x(*at, label),
                Mark::LimitY { at, label } => svg.limit_y(*at, label),
                Mark::Box { x, y, label } => svg.shaded(*x, *y, label),
            }
        }
        svg.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cumulative_line_goes_from_nothing_to_all() {
        let points = cumulative(&[3.0, 1.0], 5.0);
        assert_eq!(
            points,
            [(1.0, 0.0), (1.0, 0.5), (3.0, 0.5), (3.0, 1.0), (5.0, 1.0)]
        );
        assert!(cumulative(&[], 5.0).is_empty());
    }

    #[test]
    fn a_plot_is_xml_that_holds_its_texts() {
        let plot = Plot {
            title: "a < b".to_owned(),
            x: Axis::names("server", &["ours", "theirs"]),
            y: Axis::linear("requests/s", 0.0, 100.0),
            series: vec!["1 client".to_owned()],
            marks: vec![
                Mark::Dots {
                    series: 0,
                    points: column(0.0, 0.3, &[10.0, 20.0]),
                },
                Mark::LimitY {
                    at: 50.0,
                    label: "goal".to_owned(),
                },
            ],
        };
        let svg = plot.svg();
        for text in ["a &lt; b", "theirs", "requests/s", "1 client", "goal"] {
            assert!(svg.contains(text), "{text} is missing in {svg}");
        }
        assert!(svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"));
    }
}
