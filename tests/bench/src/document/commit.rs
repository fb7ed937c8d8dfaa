use super::Section;
use crate::plot::{self, Axis, Mark, Plot};
use crate::stats::{largest, median, smallest};
use crate::tables::commit::{Data, Run};

pub fn section(data: &Data) -> Section {
    let mut text = format!(
        "From the start of `kubectl apply` of a new SmallModel until a pod on each of the {} nodes has answered a request, and until status says Ready. All nodes share this \
         machine's cores: they load their model at the same time.\n\n",
        data.nodes
    );
    text += "| the nodes have the model's image | runs | serving: median (range) | Ready in status: median (range) |\n|---|---|---|---|\n";
    for (name, is_pulled) in [("yes", false), ("no, they pull 24 MB", true)] {
        let runs = data.runs.iter().filter(|run| run.is_pulled == is_pulled);
        let runs: Vec<&Run> = runs.collect();
        text += &format!(
            "| {name} | {} | {} | {} |\n",
            runs.len(),
            spread(&runs, |run| run.serving_seconds),
            spread(&runs, |run| run.ready_seconds)
        );
    }
    Section {
        title: "",
        text,
        plots: vec![("commit.svg", plot(data).svg())],
    }
}

fn spread(runs: &[&Run], value: fn(&Run) -> f64) -> String {
    let values: Vec<f64> = runs.iter().map(|run| value(run)).collect();
    format!(
        "{:.1} s ({:.1}-{:.1})",
        median(&values),
        smallest(&values),
        largest(&values)
    )
}

fn plot(data: &Data) -> Plot {
    let of = |value: fn(&Run) -> f64| data.runs.iter().map(value).collect::<Vec<_>>();
    let (serving, ready) = (of(|run| run.serving_seconds), of(|run| run.ready_seconds));
    let end = largest(&serving).max(largest(&ready));
    let dots = |series, x, values: &[f64]| Mark::Dots {
        series,
        points: plot::column(x, 0.3, values),
    };
    Plot {
        title: "Seconds from `kubectl apply`".to_owned(),
        x: Axis::names("", &["serving on every node", "Ready in status"]),
        y: Axis::linear("seconds", 0.0, end),
        series: vec!["serving".to_owned(), "Ready".to_owned()],
        marks: vec![dots(0, 0.0, &serving), dots(1, 1.0, &ready)],
    }
}
