//! The host's own iptables, where it filters bridged frames and may drop those between the nodes, as on
//! a machine with docker. Where it lets everything pass it is not touched: a first call of iptables
//! would leave a table behind.

use std::process::Command;

use crate::address::BRIDGE;
use crate::command::{on_path, output};
use crate::error::Result;

/// The two kinds of iptables keep their rules apart; a machine may have either or both in use.
const KINDS: [Kind; 2] = [
    Kind {
        program: "iptables-nft",
        filters: nft_filters,
    },
    Kind {
        program: "iptables-legacy",
        filters: legacy_filters,
    },
];

struct Kind {
    program: &'static str,
    /// Whether it has a filter table already.
    filters: fn() -> bool,
}

/// The rule that lets frames between the nodes pass.
const RULE: [&str; 7] = ["FORWARD", "-i", BRIDGE, "-o", BRIDGE, "-j", "ACCEPT"];

impl Kind {
    fn call(&self, action: &str, rule: &[&str]) -> Result<String> {
        output(
            Command::new(self.program)
                .args(["--wait", action])
                .args(rule),
        )
    }

    fn in_use(&self) -> bool {
        on_path(self.program) && (self.filters)()
    }

    fn may_drop(&self) -> Result<bool> {
        let listed = self.call("-S", &["FORWARD"])?;
        Ok(listed.lines().any(|line| line != "-P FORWARD ACCEPT"))
    }

    fn has_rule(&self) -> bool {
        self.call("-C", &RULE).is_ok()
    }
}

pub(crate) fn let_bridge_pass() -> Result<()> {
    for kind in KINDS.iter().filter(|kind| kind.in_use()) {
        if kind.may_drop()? {
            kind.call("-I", &RULE)?;
        }
    }
    Ok(())
}

pub(crate) fn remove_rules() -> Result<()> {
    for kind in KINDS.iter().filter(|kind| kind.in_use()) {
        while kind.has_rule() {
            kind.call("-D", &RULE)?;
        }
    }
    Ok(())
}

/// Rules of ours that are still there.
pub(crate) fn left() -> Vec<String> {
    let with_rule = KINDS.iter().filter(|kind| kind.in_use() && kind.has_rule());
    with_rule
        .map(|kind| format!("{} rule {}", kind.program, RULE.join(" ")))
        .collect()
}

fn nft_filters() -> bool {
    on_path("nft")
        && output(Command::new("nft").args(["list", "chain", "ip", "filter", "FORWARD"])).is_ok()
}

fn legacy_filters() -> bool {
    let tables = std::fs::read_to_string("/proc/net/ip_tables_names").unwrap_or_default();
    tables.lines().any(|table| table == "filter")
}
