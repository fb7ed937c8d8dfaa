//! The bridge, the cables of the nodes, and the rule that nothing leaves the machine.

use std::path::Path;
use std::process::Command;

use crate::address::{BRIDGE, BRIDGE_ADDRESS, BRIDGE_PREFIX, NODES_MAX, NodeId, SERVICE_NETWORK};
use crate::command::{on_path, output, output_with_input};
use crate::error::Result;
use crate::firewall;
use crate::host::Host;

/// nftables table of ours in the root namespace.
const TABLE: &str = "smallfleet-cluster";

/// Makes the bridge and the rules.
pub(crate) fn make_bridge(host: &Host, nodes: impl Iterator<Item = NodeId>) -> Result<()> {
    let mut batch = format!(
        "link add {BRIDGE} type bridge\n\
         addr add {BRIDGE_ADDRESS}/{BRIDGE_PREFIX} dev {BRIDGE}\n\
         link set {BRIDGE} up\n"
    );
    for node in nodes {
        let (network, address) = (node.pod_network(), node.address());
        batch.push_str(&format!(
            "route replace {network} via {address} dev {BRIDGE}\n"
        ));
    }
    output_with_input(Command::new("ip").args(["-batch", "-"]), &batch)?;
    keep_inside()?;
    if host.bridge_passes_iptables {
        firewall::let_bridge_pass()?;
    }
    Ok(())
}

/// Nodes have no default route, so nothing of theirs is forwarded anyway; this holds even if a pod
/// with the rights to do so adds one.
fn keep_inside() -> Result<()> {
    let rules = format!(
        "table inet {TABLE} {{\n\
           chain forward {{\n\
             type filter hook forward priority -10; policy accept;\n\
             iifname \"{BRIDGE}\" oifname != \"{BRIDGE}\" drop\n\
             oifname \"{BRIDGE}\" iifname != \"{BRIDGE}\" drop\n\
           }}\n\
         }}\n"
    );
    output_with_input(Command::new("nft").args(["--file", "-"]), &rules)?;
    Ok(())
}

/// Plugs a node in: one end of the cable in the root namespace, the other as `eth0` in the namespace
/// of process `holder`, with routes to the Services and to the other nodes' pods.
pub(crate) fn plug_in(node: NodeId, all: impl Iterator<Item = NodeId>, holder: i32) -> Result<()> {
    let cable = node.cable();
    remove_links(std::slice::from_ref(&cable));
    let outside = format!(
        "link add {cable} type veth peer name eth0 netns {holder}\n\
         link set {cable} master {BRIDGE}\n\
         link set {cable} up\n"
    );
    output_with_input(Command::new("ip").args(["-batch", "-"]), &outside)?;
    let mut inside = format!(
        "link set lo up\n\
         addr add {}/{BRIDGE_PREFIX} dev eth0\n\
         link set eth0 up\n\
         route replace {SERVICE_NETWORK} via {BRIDGE_ADDRESS}\n",
        node.address()
    );
    for other in all.filter(|other| *other != node) {
        let (network, address) = (other.pod_network(), other.address());
        inside.push_str(&format!("route replace {network} via {address}\n"));
    }
    let target = format!("--target={holder}");
    let mut enter = Command::new("nsenter");
    enter.args([&target, "--net", "--", "ip", "-batch", "-"]);
    output_with_input(&mut enter, &inside)?;
    let forward = "echo 1 > /proc/sys/net/ipv4/ip_forward";
    output(Command::new("nsenter").args([&target, "--net", "--", "sh", "-c", forward]))?;
    Ok(())
}

/// Pulls the cable of a node (a partition), or plugs it in again.
pub(crate) fn set_cable(node: NodeId, up: bool) -> Result<()> {
    let state = if up { "up" } else { "down" };
    output(Command::new("ip").args(["link", "set", &node.cable(), state]))?;
    Ok(())
}

/// Removes what exists of the bridge, the cables and the rules.
pub(crate) fn remove() -> Result<()> {
    remove_links(&links_left());
    if table_is_there() {
        output(Command::new("nft").args(["delete", "table", "inet", TABLE]))?;
    }
    firewall::remove_rules()
}

/// Links that are not there are no error: a cable goes away on its own, a moment after the last process
/// of its namespace.
fn remove_links(links: &[String]) {
    for link in links {
        let _ = output(Command::new("ip").args(["link", "delete", link]));
    }
}

/// What of the network is still there.
pub(crate) fn left() -> Vec<String> {
    let mut left: Vec<String> = links_left()
        .iter()
        .map(|link| format!("link {link}"))
        .collect();
    if table_is_there() {
        left.push(format!("nftables table inet {TABLE}"));
    }
    left.extend(firewall::left());
    left
}

fn links_left() -> Vec<String> {
    let cables = NodeId::first(NODES_MAX).map(NodeId::cable);
    let all = cables.chain([BRIDGE.to_owned()]);
    all.filter(|link| Path::new("/sys/class/net").join(link).exists())
        .collect()
}

fn table_is_there() -> bool {
    on_path("nft") && output(Command::new("nft").args(["list", "table", "inet", TABLE])).is_ok()
}
