use super::{Section, verdict};
use crate::stats::median;
use crate::tables::rest::Data;
use crate::usage::Memory;

pub fn section(data: &Data) -> Section {
    let mut text = format!(
        "{} minutes with one SmallModel on {} nodes, {} requests/s on each, and nothing to change. The operator's requests are counted by FlowSchemas that match its account.\n\n",
        data.minutes,
        data.pods.len(),
        data.rate
    );
    text += &operator(data);
    text += "\n| each stable pod | memory: median of the pods |\n|---|---|\n";
    let routers: Vec<Memory> = data.pods.iter().map(|pod| pod.router).collect();
    let engines: Vec<Memory> = data.pods.iter().map(|pod| pod.engine).collect();
    text += &format!("| router | {} |\n", memory(&middle(&routers)));
    text += &format!(
        "| engine with `good` (23 MB of weights) | {} |\n",
        memory(&middle(&engines))
    );
    text += "\nWorking set is what the kubelet counts against the limit; anonymous pages cannot be dropped by the kernel; resident pages include those of files.\n";
    text += &others(data);
    Section {
        title: "",
        text,
        plots: Vec::new(),
    }
}

fn operator(data: &Data) -> String {
    let writes = verdict(data.writes == 0);
    let rows = [
        (
            "writes but those of its Lease",
            data.writes.to_string(),
            format!("0: {writes}"),
        ),
        (
            "writes of its Lease",
            data.lease_writes.to_string(),
            String::new(),
        ),
        (
            "reads (a watch counts when it begins)",
            data.reads.to_string(),
            String::new(),
        ),
        (
            "CPU, thousandths of a core",
            format!("{:.1}", data.operator_millicores),
            String::new(),
        ),
        ("memory", memory(&data.operator_memory), String::new()),
    ];
    let mut text = "| operator | in the time watched | goal |\n|---|---|---|\n".to_owned();
    for (name, value, goal) in rows {
        text += &format!("| {name} | {value} | {goal} |\n");
    }
    text
}

fn memory(memory: &Memory) -> String {
    format!(
        "working set {:.1} MiB, anonymous {:.1} MiB, resident {:.1} MiB",
        memory.working_set, memory.anonymous, memory.resident
    )
}

fn middle(all: &[Memory]) -> Memory {
    let of = |value: fn(&Memory) -> f64| median(&all.iter().map(value).collect::<Vec<_>>());
    Memory {
        working_set: of(|memory| memory.working_set),
        anonymous: of(|memory| memory.anonymous),
        resident: of(|memory| memory.resident),
    }
}

/// Writes of everybody, for who wants to see that nothing hides behind another account.
fn others(data: &Data) -> String {
    let kinds = data
        .all_writes
        .iter()
        .map(|(kind, count)| format!("{kind} {count}"));
    format!(
        "\nWrites of everybody in the cluster meanwhile (kubelets, controllers): {}.\n",
        kinds.collect::<Vec<_>>().join(", ")
    )
}
