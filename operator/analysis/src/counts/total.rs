use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{ArmCounts, BinaryCounts, LatencyCounts};
use crate::AnalysisError;

/// Candidate share in permille and index of the frozen thresholds.
type LatencyKey = (u16, u16);

/// Cumulative counts of a rollout, or of one epoch of one router: what is added up to make the evidence.
///
/// Cells are never mixed: units tossed with different shares, or counted with different thresholds, stay apart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Raw", into = "Raw")]
pub struct Counts {
    latency: BTreeMap<LatencyKey, LatencyCounts>,
    errors: BTreeMap<u16, BinaryCounts>,
    escalations: BTreeMap<u16, BinaryCounts>,
}

/// Latency counts of one candidate share and one freeze.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LatencyCell {
    /// Probability of the candidate at the coin, in permille.
    pub pi_permille: u16,
    /// Index into the rollout's list of frozen thresholds.
    pub freeze: u16,
    /// The counts.
    pub counts: LatencyCounts,
}

/// Errors or escalations of one candidate share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BinaryCell {
    /// Probability of the candidate at the coin, in permille.
    pub pi_permille: u16,
    /// The counts.
    pub counts: BinaryCounts,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Raw {
    latency: Vec<LatencyCell>,
    errors: Vec<BinaryCell>,
    escalations: Vec<BinaryCell>,
}

impl TryFrom<Raw> for Counts {
    type Error = AnalysisError;

    fn try_from(raw: Raw) -> Result<Self, AnalysisError> {
        let mut counts = Self::default();
        for cell in &raw.latency {
            counts.add_latency(cell.pi_permille, cell.freeze, &cell.counts)?;
        }
        for cell in &raw.errors {
            counts.add_errors(cell.pi_permille, &cell.counts)?;
        }
        for cell in &raw.escalations {
            counts.add_escalations(cell.pi_permille, &cell.counts)?;
        }
        Ok(counts)
    }
}

impl From<Counts> for Raw {
    fn from(counts: Counts) -> Self {
        let binary = |cells: BTreeMap<u16, BinaryCounts>| {
            cells
                .into_iter()
                .map(|(pi_permille, counts)| BinaryCell {
                    pi_permille,
                    counts,
                })
                .collect()
        };
        Self {
            latency: counts
                .latency
                .into_iter()
                .map(|((pi_permille, freeze), counts)| LatencyCell {
                    pi_permille,
                    freeze,
                    counts,
                })
                .collect(),
            errors: binary(counts.errors),
            escalations: binary(counts.escalations),
        }
    }
}

impl Counts {
    /// Adds latency counts to their cell. Counts of another shape than the cell's are refused.
    pub fn add_latency(
        &mut self,
        pi_permille: u16,
        freeze: u16,
        counts: &LatencyCounts,
    ) -> Result<(), AnalysisError> {
        check_share(pi_permille)?;
        match self.latency.get_mut(&(pi_permille, freeze)) {
            Some(cell) => {
                counts.expect_shape(cell.shape())?;
                cell.add(counts);
            }
            None => {
                self.latency.insert((pi_permille, freeze), counts.clone());
            }
        }
        Ok(())
    }

    /// Adds error counts to their cell. Routers count errors whether or not they are an objective: the
    /// sample-ratio check reads the units of these cells.
    pub fn add_errors(
        &mut self,
        pi_permille: u16,
        counts: &BinaryCounts,
    ) -> Result<(), AnalysisError> {
        check_share(pi_permille)?;
        self.errors.entry(pi_permille).or_default().add(counts);
        Ok(())
    }

    /// Adds escalation counts to their cell.
    pub fn add_escalations(
        &mut self,
        pi_permille: u16,
        counts: &BinaryCounts,
    ) -> Result<(), AnalysisError> {
        check_share(pi_permille)?;
        self.escalations.entry(pi_permille).or_default().add(counts);
        Ok(())
    }

    /// Adds another router's or epoch's counts; nothing is added when their shapes differ.
    pub fn merge(&mut self, other: &Self) -> Result<(), AnalysisError> {
        for (key, counts) in &other.latency {
            if let Some(cell) = self.latency.get(key) {
                counts.expect_shape(cell.shape())?;
            }
        }
        for ((pi, freeze), counts) in &other.latency {
            self.add_latency(*pi, *freeze, counts)?;
        }
        for (pi, counts) in &other.errors {
            self.add_errors(*pi, counts)?;
        }
        for (pi, counts) in &other.escalations {
            self.add_escalations(*pi, counts)?;
        }
        Ok(())
    }

    /// What was counted after `earlier`, a copy of these counts at an earlier look.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let binary = |now: &BTreeMap<u16, BinaryCounts>, before: &BTreeMap<u16, BinaryCounts>| {
            let since = |pi: &u16, now: &BinaryCounts| {
                before.get(pi).map_or(*now, |before| now.since(before))
            };
            now.iter()
                .map(|(pi, counts)| (*pi, since(pi, counts)))
                .collect()
        };
        let latency = |key: &LatencyKey, now: &LatencyCounts| match earlier.latency.get(key) {
            Some(before) if before.shape() == now.shape() => now.since(before),
            _ => now.clone(),
        };
        Self {
            latency: self
                .latency
                .iter()
                .map(|(key, counts)| (*key, latency(key, counts)))
                .collect(),
            errors: binary(&self.errors, &earlier.errors),
            escalations: binary(&self.escalations, &earlier.escalations),
        }
    }

    /// All counts times `factor`: what they would be later if everything went on in proportion (for forecasts).
    #[must_use]
    pub fn scaled(&self, factor: f64) -> Self {
        let binary = |cells: &BTreeMap<u16, BinaryCounts>| {
            cells
                .iter()
                .map(|(pi, counts)| (*pi, counts.scaled(factor)))
                .collect()
        };
        Self {
            latency: self
                .latency
                .iter()
                .map(|(key, counts)| (*key, counts.scaled(factor)))
                .collect(),
            errors: binary(&self.errors),
            escalations: binary(&self.escalations),
        }
    }

    /// Latency cells in the order of their keys: candidate share in permille, freeze index, counts.
    pub fn latency(&self) -> impl Iterator<Item = (u16, u16, &LatencyCounts)> {
        self.latency
            .iter()
            .map(|((pi, freeze), counts)| (*pi, *freeze, counts))
    }

    /// Error cells: candidate share in permille, counts.
    pub fn errors(&self) -> impl Iterator<Item = (u16, &BinaryCounts)> {
        self.errors.iter().map(|(pi, counts)| (*pi, counts))
    }

    /// Escalation cells: candidate share in permille, counts.
    pub fn escalations(&self) -> impl Iterator<Item = (u16, &BinaryCounts)> {
        self.escalations.iter().map(|(pi, counts)| (*pi, counts))
    }

    /// Matured units that a coin decided, from the error cells (cells of share 0 and 1 hold none).
    #[must_use]
    pub fn units(&self) -> ArmCounts {
        self.errors()
            .filter(|(pi, _)| (1..1000).contains(pi))
            .fold(ArmCounts::default(), |sum, (_, counts)| {
                sum.saturating_add(counts.units())
            })
    }
}

fn check_share(pi_permille: u16) -> Result<(), AnalysisError> {
    if pi_permille > 1000 {
        Err(AnalysisError::ShareAboveOne(pi_permille))
    } else {
        Ok(())
    }
}
