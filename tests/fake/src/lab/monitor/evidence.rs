//! What may be stored of the evidence: I8.

use std::collections::BTreeSet;

use serde_json::Value;
use smallfleet_core::evidence::EvidenceStore;
use smallfleet_operator::observe::EVIDENCE_KEY;
use smallfleet_protocol::v1;

use super::Monitor;

/// Units of an epoch, or of all: of latency stable and candidate, of errors stable and candidate.
type Units = [u64; 4];

/// The rollout of an epoch, and its units.
pub(super) type Reported = (String, Units);

impl Monitor {
    /// A router says this; it only ever adds to an epoch.
    pub(in crate::lab) fn reports(&mut self, report: &v1::Report) {
        for epoch in &report.epochs {
            let reported = (epoch.rollout_id.clone(), units(epoch));
            self.reported.insert(epoch.id, reported);
        }
    }

    /// No unit is stored that no router has reported, and none twice.
    pub(super) fn stored(&mut self, config_map: &Value) {
        let Some(text) = config_map["data"][EVIDENCE_KEY].as_str() else {
            return;
        };
        let store: EvidenceStore = serde_json::from_str(text).unwrap_or_default();
        let ids: BTreeSet<u64> = store.closed_ids.iter().copied().collect();
        self.must(ids.len() == store.closed_ids.len(), || {
            format!("I8: an epoch is stored twice: {:?}", store.closed_ids)
        });
        let mut most = Units::default();
        for id in ids {
            let reported = self.reported.get(&id);
            let reported = reported.filter(|(rollout, _)| *rollout == store.rollout);
            let units = reported.map(|(_, units)| *units);
            self.must(units.is_some(), || {
                format!("I8: epoch {id} is none of rollout {}", store.rollout)
            });
            add(&mut most, units.unwrap_or_default());
        }
        let kept = stored_units(&store);
        let fits = kept.iter().zip(&most).all(|(kept, most)| kept <= most);
        self.must(fits, || {
            format!("I8: {kept:?} units are stored, and {most:?} were reported")
        });
    }
}

fn add(sum: &mut Units, more: Units) {
    sum.iter_mut()
        .zip(more)
        .for_each(|(sum, more)| *sum += more);
}

fn units(epoch: &v1::Epoch) -> Units {
    let latency = epoch.latency.clone().unwrap_or_default();
    let errors = epoch.errors.unwrap_or_default();
    [
        latency.stable_units,
        latency.candidate_units,
        errors.stable_units,
        errors.candidate_units,
    ]
}

fn stored_units(store: &EvidenceStore) -> Units {
    let closed = &store.evidence.closed;
    let latency = closed.latency().map(|(_, _, counts)| counts.units());
    let errors = closed.errors().map(|(_, counts)| counts.units());
    let mut sum = Units::default();
    latency.for_each(|units| add(&mut sum, [units.stable, units.candidate, 0, 0]));
    errors.for_each(|units| add(&mut sum, [0, 0, units.stable, units.candidate]));
    sum
}
