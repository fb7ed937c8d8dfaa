use super::{Section, verdict};
use crate::plot::{self, Axis, Mark, Plot};
use crate::stats::{as_f64, largest, median};
use crate::tables::classify::{CLIENTS, Data, OURS, OURS_UNBATCHED, Sample};

const GOAL_RATIO: f64 = 1.5;
const GOAL_CLIENTS: usize = 8;

pub fn section(data: &Data) -> Section {
    let mut text = format!(
        "The same ONNX file, tokenizer library, {} thread{} of ONNX Runtime without spinning, and the same client. Ours: {}. Python: {}; a plain ASGI application, \
         one process, no batching, with the model in the event loop or in a thread. {} rounds of {} s each, in changing order; medians over the rounds.\n\n",
        data.threads,
        if data.threads == 1 { "" } else { "s" },
        data.via,
        data.peer_versions,
        data.rounds,
        data.turn_seconds
    );
    text += "| clients | server | requests/s | p50 | p99 | failed | ours / this, requests/s: median and range of the rounds |\n|---|---|---|---|---|---|---|\n";
    for clients in CLIENTS {
        for server in data.servers() {
            text += &row(data, clients, &server);
        }
    }
    text += &goal(data);
    if data.servers().iter().any(|server| server == OURS_UNBATCHED) {
        text += "\nThe engine runs up to 4 waiting texts of similar length together; \"batching off\" is an engine that works on one request at a time.\n";
    } else {
        text += "\nThe engine runs up to 4 waiting texts of similar length together.\n";
    }
    Section {
        title: "",
        text,
        plots: vec![("classify.svg", plot(data).svg())],
    }
}

fn row(data: &Data, clients: usize, server: &str) -> String {
    let samples = data.of(server, clients);
    let of = |value: fn(&Sample) -> f64| {
        median(
            &samples
                .iter()
                .map(|sample| value(sample))
                .collect::<Vec<_>>(),
        )
    };
    let ratios = ratios(data, clients, server);
    let ratio = match server == OURS {
        true => String::new(),
        false => format!(
            "{:.2} ({:.2} .. {:.2})",
            median(&ratios),
            crate::stats::smallest(&ratios),
            largest(&ratios)
        ),
    };
    format!(
        "| {clients} | {server} | {:.0} | {:.1} ms | {:.1} ms | {} | {ratio} |\n",
        of(|sample| sample.requests_per_second),
        of(|sample| sample.p50),
        of(|sample| sample.p99),
        samples.iter().map(|sample| sample.failed).sum::<usize>()
    )
}

/// Ours over another's requests a second, of each round.
fn ratios(data: &Data, clients: usize, server: &str) -> Vec<f64> {
    let (ours, theirs) = (data.of(OURS, clients), data.of(server, clients));
    let pairs = ours.iter().zip(theirs);
    pairs
        .map(|(ours, theirs)| ours.requests_per_second / theirs.requests_per_second.max(1e-9))
        .collect()
}

/// Against the better of the Python servers.
fn goal(data: &Data) -> String {
    let servers = data.servers();
    let python = servers.iter().filter(|server| server.starts_with("Python"));
    let ratio = python
        .map(|server| median(&ratios(data, GOAL_CLIENTS, server)))
        .fold(f64::INFINITY, f64::min);
    format!(
        "\nGoal: at least 1.5 times the better Python server at {GOAL_CLIENTS} clients. It is {ratio:.2} times: {}.\n",
        verdict(ratio.is_finite() && ratio >= GOAL_RATIO)
    )
}

fn plot(data: &Data) -> Plot {
    let servers = data.servers();
    let mut marks = Vec::new();
    let mut highest: f64 = 1.0;
    for (group, clients) in CLIENTS.into_iter().enumerate() {
        for (series, server) in servers.iter().enumerate() {
            let samples = data.of(server, clients);
            let rates: Vec<f64> = samples
                .iter()
                .map(|sample| sample.requests_per_second)
                .collect();
            highest = highest.max(largest(&rates));
            let place = (as_f64(series) + 0.5) / as_f64(servers.len()) - 0.5;
            let x = as_f64(group) + place * 0.8;
            let points = plot::column(x, 0.08, &rates);
            marks.push(Mark::Dots { series, points });
            let at = (x, median(&rates));
            marks.push(Mark::Stroke { series, at });
        }
    }
    let groups = CLIENTS.map(|clients| {
        if clients == 1 {
            "1 client".to_owned()
        } else {
            format!("{clients} clients")
        }
    });
    Plot {
        title: "Classifications a second: rounds and their median".to_owned(),
        x: Axis::names("", &groups.each_ref().map(String::as_str)),
        y: Axis::linear("requests/s", 0.0, highest),
        series: servers,
        marks,
    }
}
