use super::{Section, verdict};
use crate::plot::{self, Axis, Mark, Plot};
use crate::stats::{as_f64, largest, median, quantile, smallest};
use crate::tables::router::{Data, Round, Situation, Turn};

const GOAL_MILLISECONDS: f64 = 0.3;

pub fn section(data: &Data) -> Section {
    let mut text = format!(
        "The model `{}` in an engine process, asked through a router process and asked directly, with the TLS client that the router itself uses. \
         Loopback, no cluster. {} rounds a row; a round is a turn of {} ms of each, in alternating order. \"Added\" is the difference of the p50 within a round: \
         median, quartiles and range over the rounds.\n\n",
        data.model, data.rounds, data.turn_milliseconds
    );
    text += "| clients | direct p50 | through the router p50 | added: median | quartiles | range | direct p99 | through the router p99 | failed | goal: <= 0.3 ms |\n|---|---|---|---|---|---|---|---|---|---|\n";
    for situation in &data.situations {
        text += &row(situation);
    }
    text += "\nAsked as fast as they are answered, 16 clients keep the engine's one thread busy all the time: what they wait for is the queue of 15 others, and any work beside the engine \
             (client, router) takes from the same cores. The last row asks at half of what the engine can do. Points on the edges of the plot lie beyond them.\n";
    Section {
        title: "",
        text,
        plots: vec![("router.svg", plot(data).svg())],
    }
}

fn row(situation: &Situation) -> String {
    let of =
        |value: fn(&Round) -> f64| median(&situation.rounds.iter().map(value).collect::<Vec<_>>());
    let added = situation.added();
    let failed = |turn: fn(&Round) -> &Turn| {
        situation
            .rounds
            .iter()
            .map(|round| turn(round).failed)
            .sum::<usize>()
    };
    format!(
        "| {} | {:.2} ms | {:.2} ms | **{:.3} ms** | {:.3} .. {:.3} | {:.3} .. {:.3} | {:.2} ms | {:.2} ms | {} | {} |\n",
        situation.name(),
        of(|round| round.direct.p50),
        of(|round| round.routed.p50),
        median(&added),
        quantile(&added, 0.25),
        quantile(&added, 0.75),
        smallest(&added),
        largest(&added),
        of(|round| round.direct.p99),
        of(|round| round.routed.p99),
        failed(|round| &round.direct) + failed(|round| &round.routed),
        verdict(median(&added) <= GOAL_MILLISECONDS)
    )
}

/// The middle nine tenths of the rounds decide how far the axis goes: one disturbed round must not hide the others.
fn plot(data: &Data) -> Plot {
    let all: Vec<f64> = data.situations.iter().flat_map(Situation::added).collect();
    let (low, high) = (quantile(&all, 0.05), quantile(&all, 0.95));
    let mut marks = vec![Mark::LimitY {
        at: GOAL_MILLISECONDS,
        label: "goal".to_owned(),
    }];
    let names: Vec<String> = data.situations.iter().map(Situation::name).collect();
    for (index, situation) in data.situations.iter().enumerate() {
        let added = situation.added();
        marks.push(Mark::Dots {
            series: 0,
            points: plot::column(as_f64(index), 0.5, &added),
        });
        marks.push(Mark::Stroke {
            series: 1,
            at: (as_f64(index), median(&added)),
        });
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    Plot {
        title: "What the router adds to the p50".to_owned(),
        x: Axis::names("", &names),
        y: Axis::linear("milliseconds", low.min(0.0), high.max(GOAL_MILLISECONDS)),
        series: vec!["one round".to_owned(), "median".to_owned()],
        marks,
    }
}
