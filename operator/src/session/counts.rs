//! A router's counters, checked: from the wire to the terms of the statistics.

use smallfleet_analysis::AnalysisError;
use smallfleet_analysis::counts::{ArmCounts, BinaryCounts, Counts, LatencyCounts};
use smallfleet_protocol::v1;

/// What the routers of a rollout were told to count; nothing else fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// Index of the thresholds in use; earlier ones are in epochs that have not matured yet.
    pub(super) freeze: u32,
    pub(super) thresholds: usize,
    pub(super) factors: usize,
}

/// Why counters are left out.
#[derive(Debug, thiserror::Error)]
pub(super) enum CountsError {
    #[error("a share of {0} permille or a freeze of index {1} is none")]
    Cell(u32, u32),
    #[error("counts of {found} thresholds and factors do not fit {told:?}")]
    NotTold { found: String, told: Told },
    #[error("more than {0} epochs of one router")]
    TooMany(usize),
    #[error(transparent)]
    Analysis(#[from] AnalysisError),
}

/// Counts of one epoch, in the cell that it belongs to. `told` is not known before a grant with thresholds was published.
pub(super) fn counts(epoch: &v1::Epoch, told: Option<Told>) -> Result<Counts, CountsError> {
    let (share, freeze) = (epoch.candidate_traffic_permille, epoch.freeze);
    let cell = || CountsError::Cell(share, freeze);
    let permille = u16::try_from(share).map_err(|_| cell())?;
    let mut total = Counts::default();
    let counted = |latency: &&v1::LatencyCounts| !latency.stable.is_empty();
    if let Some(latency) = epoch.latency.as_ref().filter(counted) {
        if let Some(told) = told {
            check(latency, freeze, told)?;
        }
        let freeze = u16::try_from(freeze).map_err(|_| cell())?;
        total.add_latency(permille, freeze, &table(latency)?)?;
    }
    if let Some(errors) = &epoch.errors {
        let units = ArmCounts {
            stable: errors.stable_units,
            candidate: errors.candidate_units,
        };
        let events = ArmCounts {
            stable: errors.stable,
            candidate: errors.candidate,
        };
        total.add_errors(permille, &BinaryCounts::new(units, events)?)?;
    }
    Ok(total)
}

/// One epoch of another shape would make the sum of all unusable.
fn check(latency: &v1::LatencyCounts, freeze: u32, told: Told) -> Result<(), CountsError> {
    let (stable, candidate) = (latency.stable.len(), latency.candidate.len());
    let fits = stable == told.thresholds
        && candidate == told.thresholds * told.factors
        && freeze <= told.freeze;
    if fits {
        return Ok(());
    }
    Err(CountsError::NotTold {
        found: format!("{stable} and {candidate} (freeze {freeze})"),
        told,
    })
}

fn table(latency: &v1::LatencyCounts) -> Result<LatencyCounts, AnalysisError> {
    let factors = latency.candidate.len() / latency.stable.len().max(1);
    let units = ArmCounts {
        stable: latency.stable_units,
        candidate: latency.candidate_units,
    };
    let rows = latency.candidate.chunks(factors.max(1));
    let rows = rows.map(<[u64]>::to_vec).collect();
    LatencyCounts::new(units, latency.stable.clone(), rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLD: Told = Told {
        freeze: 1,
        thresholds: 2,
        factors: 2,
    };

    fn epoch(freeze: u32, stable: &[u64], candidate: &[u64]) -> v1::Epoch {
        v1::Epoch {
            candidate_traffic_permille: 500,
            freeze,
            latency: Some(v1::LatencyCounts {
                stable_units: 10,
                candidate_units: 9,
                stable: stable.to_vec(),
                candidate: candidate.to_vec(),
            }),
            ..v1::Epoch::default()
        }
    }

    #[test]
    fn a_table_keeps_thresholds_and_factors_apart() {
        let counts = counts(&epoch(0, &[3, 1], &[5, 4, 2, 1]), Some(TOLD)).unwrap();
        let (permille, freeze, cell) = counts.latency().next().unwrap();
        assert_eq!((permille, freeze), (500, 0));
        assert_eq!(
            (cell.events(0, 1).stable, cell.events(0, 1).candidate),
            (3, 4)
        );
        assert_eq!(
            (cell.events(1, 0).stable, cell.events(1, 0).candidate),
            (1, 2)
        );
    }

    #[test]
    fn counts_that_nobody_asked_for_are_refused() {
        for bad in [
            epoch(2, &[3, 1], &[5, 4, 2, 1]),
            epoch(0, &[3], &[5, 4]),
            epoch(0, &[3, 1], &[5, 4, 2]),
            epoch(0, &[3, 1], &[5, 4, 2, 100]),
        ] {
            assert!(counts(&bad, Some(TOLD)).is_err(), "{bad:?}");
        }
        let mut all = epoch(0, &[], &[]);
        all.candidate_traffic_permille = 1_001;
        all.errors = Some(v1::ErrorCounts::default());
        assert!(counts(&all, None).is_err());
    }
}
