//! Percentages as the API writes them: strings such as `"1%"` or `"0.5%"`, never floats.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

/// A share between 0 and 1000 percent with at most two decimals, kept as hundredths of a percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Percent {
    hundredths: u32,
}

/// Why a text is no percentage.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "{0:?} is not a percentage: write a number with at most two decimals and a percent sign, such as \"10%\""
)]
pub struct ParsePercentError(String);

impl Percent {
    /// A whole number of percent.
    #[must_use]
    pub const fn whole(percent: u32) -> Self {
        Self {
            hundredths: percent * 100,
        }
    }

    /// The share as a fraction: `"25%"` is 0.25.
    #[must_use]
    pub fn fraction(self) -> f64 {
        f64::from(self.hundredths) / 10_000.0
    }

    /// Parts in a thousand, rounded down: `"50%"` is 500.
    #[must_use]
    pub const fn permille(self) -> u32 {
        self.hundredths / 10
    }

    /// `max(1, ceil(share x count))`: how many of `count` nodes this share means.
    #[must_use]
    pub fn of_at_least_one(self, count: u32) -> u32 {
        let share = u64::from(self.hundredths) * u64::from(count);
        u32::try_from(share.div_ceil(10_000))
            .unwrap_or(u32::MAX)
            .max(1)
    }
}

impl FromStr for Percent {
    type Err = ParsePercentError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || ParsePercentError(text.to_owned());
        let number = text.strip_suffix('%').ok_or_else(refuse)?;
        let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
        let digits =
            |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || whole.len() > 4 || !digits(decimals) || decimals.len() > 2 {
            return Err(refuse());
        }
        let whole: u32 = whole.parse().map_err(|_| refuse())?;
        let hundredths: u32 = format!("{decimals:0<2}").parse().map_err(|_| refuse())?;
        if whole > 1000 {
            return Err(refuse());
        }
        Ok(Self {
            hundredths: whole * 100 + hundredths,
        })
    }
}

impl TryFrom<String> for Percent {
    type Error = ParsePercentError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Percent> for String {
    fn from(percent: Percent) -> Self {
        percent.to_string()
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.hundredths / 100, self.hundredths % 100);
        match rest {
            0 => write!(formatter, "{whole}%"),
            _ if rest % 10 == 0 => write!(formatter, "{whole}.{}%", rest / 10),
            _ => write!(formatter, "{whole}.{rest:02}%"),
        }
    }
}

impl JsonSchema for Percent {
    fn schema_name() -> Cow<'static, str> {
        "Percent".into()
    }

    fn inline_schema() -> bool {
        true
    }

    /// Fields narrow it: a rate, a share, an increase (`schema::rules`).
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        crate::schema::rules::percent(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_the_same_text() {
        for text in ["0%", "1%", "0.5%", "0.05%", "12.25%", "100%"] {
            assert_eq!(text.parse::<Percent>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn refuses_what_is_no_percentage() {
        for text in [
            "", "%", "5", "5.%", ".5%", "1.234%", "-1%", "1e2%", "5 %", "2000%",
        ] {
            assert!(text.parse::<Percent>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_share_of_nodes_is_at_least_one_and_rounds_up() {
        assert_eq!(Percent::whole(25).of_at_least_one(3), 1);
        assert_eq!(Percent::whole(25).of_at_least_one(5), 2);
        assert_eq!(Percent::whole(0).of_at_least_one(5), 1);
        assert_eq!(Percent::whole(100).of_at_least_one(3), 3);
    }
}
