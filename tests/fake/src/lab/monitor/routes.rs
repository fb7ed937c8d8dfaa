//! What a router may be told: I2 to I4.

use std::time::Duration;

use smallfleet_crds::status::{RolloutState, SmallModelStatus};
use smallfleet_protocol::v1::route::Kind;
use smallfleet_runtime_core::route::{Grant, Instruction, Route};
use tokio::time::Instant;

use super::{Monitor, is_open};
use crate::lab::mailbox::Mailbox;

/// A message is read within this time.
const ON_ITS_WAY: Duration = Duration::from_millis(1500);

/// RolloutID, sequence, permille.
pub(super) type Exposure = (String, u64, u32);

impl Monitor {
    /// A router took a route.
    pub(in crate::lab) fn took(&mut self, node: &str, route: &Route, leaders: usize) {
        match &route.instruction {
            Instruction::Cut => self.ends(&route.rollout_id),
            Instruction::Withdraw => {}
            Instruction::Grant(grant) => {
                self.granted(node, route, grant);
                self.not_cut(node, route, leaders);
            }
        }
        let leader = self.leaders.entry(node.to_owned()).or_default();
        *leader = route.leader_epoch.max(*leader);
    }

    /// I3: status allowed it before. I2: for the current leader, of the revision on trial, to a candidate beside the router.
    fn granted(&mut self, node: &str, route: &Route, grant: &Grant) {
        let told: Exposure = (
            route.rollout_id.clone(),
            route.sequence,
            u32::from(grant.permille),
        );
        let allowed = self.allowed.get(&told).cloned();
        self.must(allowed.is_some(), || {
            format!("I3: {node} is granted {told:?}, which was never persisted")
        });
        let revision = &grant.candidate.revision;
        self.must(allowed.is_none_or(|allowed| allowed == *revision), || {
            format!("I2: {node} is granted {told:?} for revision {revision}")
        });
        let address = grant.candidate.address.ip().to_string();
        let candidate = self.candidates.get(&address).cloned();
        let beside = (node.to_owned(), route.rollout_id.clone());
        self.must(candidate.as_ref() == Some(&beside), || {
            format!("I2: {node} is granted {told:?} at {address}, where {candidate:?} is")
        });
        let newest = self.leaders.get(node).copied().unwrap_or_default();
        let leader = route.leader_epoch;
        self.must(leader >= newest, || {
            format!("I2: {node} is granted {told:?} by leader {leader} after leader {newest}")
        });
    }

    /// I4: a cut is never undone. A grant may have been on its way; where two lead, the older one may not know yet, and its routes end
    /// with their leases.
    fn not_cut(&mut self, node: &str, route: &Route, leaders: usize) {
        let id = &route.rollout_id;
        let cut = self.cut.get(id).map(Instant::elapsed);
        let late = cut.is_some_and(|cut| cut > ON_ITS_WAY);
        self.must(!late || leaders > 1, || {
            format!("I4: {node} is granted {id}, which was cut {cut:?} ago")
        });
    }

    /// I3: lowering, the routers are told before status is written. A promotion alone is written first.
    pub(super) fn lowered(&mut self, by: &str, id: &str, now: &SmallModelStatus) {
        let rollout = now.rollout.as_ref().filter(|rollout| rollout.id == id);
        if rollout.is_some_and(|rollout| rollout.state == RolloutState::Promoting) {
            return;
        }
        let open = rollout.filter(|rollout| is_open(rollout.state));
        let keeps = |node: &String| {
            open.is_some_and(|rollout| {
                rollout.candidate_traffic_permille > 0 && rollout.granted.contains(node)
            })
        };
        let ends = |kind| kind == Kind::Cut || (open.is_some() && kind == Kind::Withdraw);
        let untold = self.routing.iter().filter(|(node, (held, _))| {
            // Where another leader has its stream, or nobody, its lease ends the route.
            let mailbox = self.mailboxes.get(*node).filter(|(leader, _)| leader == by);
            let told = |(_, mailbox): &(String, Mailbox)| mailbox.holds(id, ends);
            held == id && !keeps(node) && !mailbox.is_none_or(told)
        });
        let untold: Vec<_> = untold.map(|(node, _)| node.clone()).collect();
        self.must(untold.is_empty(), || {
            format!("I3: status ends or lowers {id}, and the routers on {untold:?} were not told")
        });
    }
}
