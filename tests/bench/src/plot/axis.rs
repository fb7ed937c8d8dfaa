//! Axes: from values to a share of the length, and where the ticks are.

/// One axis with its label.
#[derive(Clone, Debug)]
pub struct Axis {
    pub label: String,
    scale: Scale,
}

#[derive(Clone, Debug)]
enum Scale {
    Linear {
        from: f64,
        to: f64,
    },
    /// Equal ratios are equally far apart.
    Logarithmic {
        from: f64,
        to: f64,
    },
    /// Names at 0, 1, 2, ...
    Names(Vec<String>),
}

impl Axis {
    /// From `from` to `to` or a little further, to a round number.
    pub fn linear(label: &str, from: f64, to: f64) -> Self {
        let to = if to > from { to } else { from + 1.0 };
        let step = round_step(to - from);
        let scale = Scale::Linear {
            from: (from / step).floor() * step,
            to: (to / step).ceil() * step,
        };
        Self {
            label: label.to_owned(),
            scale,
        }
    }

    /// Both ends above 0.
    pub fn logarithmic(label: &str, from: f64, to: f64) -> Self {
        let from = from.max(f64::MIN_POSITIVE);
        let scale = Scale::Logarithmic {
            from,
            to: to.max(from * 2.0),
        };
        Self {
            label: label.to_owned(),
            scale,
        }
    }

    pub fn names(label: &str, names: &[&str]) -> Self {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Self {
            label: label.to_owned(),
            scale: Scale::Names(names),
        }
    }

    /// Share of the length, 0 to 1; values beyond an end are drawn at the end.
    pub(super) fn place(&self, value: f64) -> f64 {
        let share = match &self.scale {
            Scale::Linear { from, to } => (value - from) / (to - from),
            Scale::Logarithmic { from, to } => (value.max(*from) / from).ln() / (to / from).ln(),
            Scale::Names(names) => (value + 0.5) / crate::stats::as_f64(names.len().max(1)),
        };
        share.clamp(0.0, 1.0)
    }

    /// Where the ticks are, in the axis' units, and what is written there.
    pub(super) fn ticks(&self) -> Vec<(f64, String)> {
        match &self.scale {
            Scale::Linear { from, to } => linear_ticks(*from, *to),
            Scale::Logarithmic { from, to } => logarithmic_ticks(*from, *to),
            Scale::Names(names) => {
                let numbered = names.iter().enumerate();
                numbered
                    .map(|(index, name)| (crate::stats::as_f64(index), name.clone()))
                    .collect()
            }
        }
    }

    pub(super) fn has_grid(&self) -> bool {
        !matches!(self.scale, Scale::Names(_))
    }
}

/// 1, 2 or 5 times a power of ten, so that about five steps make the length.
fn round_step(length: f64) -> f64 {
    let rough = length / 5.0;
    let power = 10_f64.powf(rough.log10().floor());
    let times = [1.0, 2.0, 5.0, 10.0];
    let fits = times.iter().find(|times| **times * power >= rough * 0.999);
    fits.unwrap_or(&10.0) * power
}

fn linear_ticks(from: f64, to: f64) -> Vec<(f64, String)> {
    let step = round_step(to - from);
    let mut ticks = Vec::new();
    let mut at = from;
    while at <= to + step * 0.01 {
        ticks.push((at, number(at, step)));
        at += step;
    }
    ticks
}

fn logarithmic_ticks(from: f64, to: f64) -> Vec<(f64, String)> {
    let mut ticks = Vec::new();
    let mut power = 10_f64.powf(from.log10().floor());
    while power <= to {
        for times in [1.0, 2.0, 5.0] {
            let at = times * power;
            if at >= from * 0.999 && at <= to * 1.001 {
                ticks.push((at, number(at, at)));
            }
        }
        power *= 10.0;
    }
    ticks
}

/// With as many decimals as a step of this size needs.
fn number(value: f64, step: f64) -> String {
    let value = if value.abs() < step * 1e-6 {
        0.0
    } else {
        value
    };
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let decimals = (-step.log10().floor()).clamp(0.0, 6.0) as usize;
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<String> {
        axis.ticks().into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn ticks_are_round_numbers() {
        assert_eq!(
            labels(&Axis::linear("", 0.0, 93.0)),
            ["0", "20", "40", "60", "80", "100"]
        );
        assert_eq!(
            labels(&Axis::linear("", -0.1, 0.32)),
            ["-0.1", "0.0", "0.1", "0.2", "0.3", "0.4"]
        );
        assert_eq!(
            labels(&Axis::logarithmic("", 20.0, 500.0)),
            ["20", "50", "100", "200", "500"]
        );
    }

    #[test]
    fn values_keep_their_order_and_stay_inside() {
        let axis = Axis::logarithmic("", 10.0, 1000.0);
        assert!((axis.place(100.0) - 0.5).abs() < 1e-9);
        assert_eq!((axis.place(0.0), axis.place(1e9)), (0.0, 1.0));
        assert_eq!(Axis::names("", &["a", "b"]).place(1.0), 0.75);
    }
}
