//! `make demo`: the main job from nothing to a refused revision, and a chat, told as a story with the real objects and commands.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use smallfleet_crds::status::{Refused, RolloutState};
use smallfleet_e2e::app::{self, App};
use smallfleet_e2e::fleet::{self, Fleet};
use smallfleet_e2e::lab::Lab;
use smallfleet_e2e::load::{Record, median_microseconds};
use smallfleet_e2e::manifest::Manifest;
use smallfleet_e2e::story::Story;

const MODEL: &str = "intent";
const CHAT: &str = "chat";
const NAMESPACE: &str = "shop";
const NODES: usize = 3;
/// Requests a second that the application on each node sends.
const RATE: f64 = 20.0;
/// Nodes and least seconds of each step.
const STEPS: &[(&str, u32)] = &[("1", 20), ("100%", 30)];

#[tokio::main]
async fn main() -> Result<()> {
    let mut story = Story::default();
    let mut lab = Lab::open()?;
    lab.shell.show = true;
    let fleet = install(&mut story, &mut lab).await?;
    let application = serve(&mut story, &lab, &fleet).await?;
    promote(&mut story, &lab, &fleet, &application).await?;
    roll_back(&mut story, &lab, &fleet, &application).await?;
    refuse(&mut story, &lab, &fleet, &application).await?;
    totals(&mut story, &lab, &application).await?;
    chat(&mut story, &lab, &fleet).await?;
    story.figure("seconds in all", story.seconds());
    Ok(())
}

async fn install(story: &mut Story, lab: &mut Lab) -> Result<Fleet> {
    story.chapter("Three nodes, and Smallfleet installed with helm");
    lab.shell.run("kubectl get nodes")?;
    story.say("Pushing the images of operator, runtime, application and models to the cluster's registry ...");
    lab.push_images()?;
    lab.shell.run(&lab.helm_install())?;
    lab.shell.run("kubectl get pods -n smallfleet-system")?;
    lab.namespace(NAMESPACE).await
}

/// Asks for one of the classifier's images.
fn ask_for(lab: &Lab, image: &str) -> Result<()> {
    let manifest = Manifest {
        name: MODEL,
        namespace: NAMESPACE,
        image: lab.image(image),
        dataset: lab.image("dataset"),
        steps: STEPS,
        memory: "512Mi",
        ..Manifest::default()
    };
    apply(lab, &manifest)
}

fn apply(lab: &Lab, manifest: &Manifest<'_>) -> Result<()> {
    let yaml = manifest.yaml();
    println!("  {}.yaml:", manifest.name);
    yaml.lines().for_each(|line| println!("    {line}"));
    lab.shell
        .run_with_input("kubectl apply -f -", &yaml)
        .map(drop)
}

/// An application of this model on each node.
fn application(lab: &Lab, fleet: &Fleet, model: &str, rate: f64) -> App {
    App {
        model: model.to_owned(),
        fleet: fleet.clone(),
        image: lab.image("load").to_owned(),
        requests: lab.image("requests").to_owned(),
        address: None,
        rate,
        chat_tokens: None,
    }
}

async fn serve(story: &mut Story, lab: &Lab, fleet: &Fleet) -> Result<App> {
    story.chapter("`good` is served on every node");
    ask_for(lab, "good")?;
    fleet
        .wait(MODEL, "ready", Duration::from_secs(180), fleet::ready)
        .await?;
    lab.shell
        .run(&format!("kubectl get smallmodel -n {NAMESPACE}"))?;
    lab.shell
        .run(&format!("kubectl get pods -n {NAMESPACE} -o wide"))?;

    story.chapter(format!(
        "An application on each node asks its own node, {RATE} requests a second"
    ));
    let application = application(lab, fleet, MODEL, RATE);
    application.start(&lab.shell, NODES).await?;
    let answered = application
        .answered_by_own_node(Duration::from_secs(8))
        .await?;
    for (node, by) in app::answered_by(&answered) {
        let requests: usize = by.values().sum();
        story.say(format!(
            "asked on {node}: {requests} requests, answered by {by:?}"
        ));
    }
    Ok(application)
}

async fn promote(story: &mut Story, lab: &Lab, fleet: &Fleet, application: &App) -> Result<()> {
    story.chapter("`better` arrives as a canary: one node, then all, then promoted");
    let before = application.all_records().await?.len();
    ask_for(lab, "better")?;
    let stable = fleet.status(MODEL).await?.stable;
    let status = fleet
        .wait(MODEL, "promoted", Duration::from_secs(400), |status| {
            fleet::ready(status) && status.stable != stable && status.last_rollout.is_some()
        })
        .await?;
    let outcome = status.last_rollout.unwrap_or_default();
    ensure!(
        outcome.outcome == "Promoted",
        "{}: {}",
        outcome.outcome,
        outcome.summary
    );
    story.say(&outcome.summary);
    show_arms(story, &application.all_records().await?[before..]);
    lab.shell
        .run(&format!("kubectl get smallmodel -n {NAMESPACE}"))
        .map(drop)
}

async fn roll_back(story: &mut Story, lab: &Lab, fleet: &Fleet, application: &App) -> Result<()> {
    story.chapter("`slow` arrives as a canary and is rolled back on latency");
    let before = application.all_records().await?.len();
    ask_for(lab, "slow")?;
    let refused = wait_refused(fleet).await?;
    ensure!(
        refused.objective == "latency",
        "refused for {}, not latency: {}",
        refused.objective,
        refused.effect
    );
    let decision = decided_milliseconds(&refused)?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let records = application.all_records().await?;
    let records = &records[before..];
    story.say(format!("{}: {}", refused.reason, refused.effect));
    show_arms(story, records);
    show_times(story, records, decision);
    lab.shell
        .run(&format!(
            "kubectl smallfleet explain {MODEL} -n {NAMESPACE}"
        ))
        .map(drop)
}

/// When the operator decided, before it told anyone: milliseconds since the Unix epoch.
fn decided_milliseconds(refused: &Refused) -> Result<u64> {
    let at = refused.at.as_ref().context("a refusal has a time")?;
    u64::try_from(at.0.as_millisecond()).context("a refusal from before 1970")
}

async fn wait_refused(fleet: &Fleet) -> Result<Refused> {
    let known = fleet.status(MODEL).await?.refused.len();
    let status = fleet
        .wait(MODEL, "refused", Duration::from_secs(400), |status| {
            status.refused.len() > known && fleet::state(status) == Some(RolloutState::RolledBack)
        })
        .await?;
    Ok(status.refused.into_iter().next().unwrap_or_default())
}

fn show_arms(story: &Story, records: &[Record]) {
    for arm in ["stable", "candidate"] {
        let of_arm: Vec<Record> = records
            .iter()
            .filter(|record| record.arm == arm)
            .cloned()
            .collect();
        let right = of_arm.iter().filter(|record| record.right).count();
        #[allow(clippy::cast_precision_loss)]
        let p50 = median_microseconds(&of_arm) as f64 / 1000.0;
        let share = 100 * right / of_arm.len().max(1);
        story.figure(
            arm,
            format!(
                "{} requests, p50 {p50:.1} ms, {share} % right",
                of_arm.len()
            ),
        );
    }
}

fn show_times(story: &Story, records: &[Record], decision: u64) {
    let candidates = || records.iter().filter(|record| record.arm == "candidate");
    let sent = || candidates().map(|record| record.sent_milliseconds);
    let first = sent().min().unwrap_or(decision);
    let last = sent().max().unwrap_or(decision);
    let seen = records
        .iter()
        .filter(|record| (first..decision).contains(&record.done_milliseconds()))
        .count();
    story.figure("detection, requests since the first canary answer", seen);
    story.figure(
        "detection, seconds",
        format!("{:.1}", seconds_between(first, decision)),
    );
    let (gap, side) = if last < decision {
        (seconds_between(last, decision), "before")
    } else {
        (seconds_between(decision, last), "after")
    };
    story.figure(
        "last candidate request",
        format!("{gap:.3} s {side} the decision"),
    );
}

#[allow(clippy::cast_precision_loss)]
fn seconds_between(from_milliseconds: u64, to_milliseconds: u64) -> f64 {
    to_milliseconds.saturating_sub(from_milliseconds) as f64 / 1000.0
}

async fn refuse(story: &mut Story, lab: &Lab, fleet: &Fleet, application: &App) -> Result<()> {
    story.chapter("`worse` is refused at the accuracy gate, before any traffic");
    let before = application.all_records().await?.len();
    ask_for(lab, "worse")?;
    let refused = wait_refused(fleet).await?;
    ensure!(
        refused.reason == "GateFailed",
        "refused as {}: {}",
        refused.reason,
        refused.effect
    );
    story.say(format!("{}: {}", refused.reason, refused.effect));
    let records = application.all_records().await?;
    let reached = records[before..]
        .iter()
        .filter(|record| record.revision == refused.revision)
        .count();
    story.figure("requests that `worse` answered", reached);
    ensure!(reached == 0, "a refused revision answered requests");
    lab.shell
        .run(&format!("kubectl get smallmodel -n {NAMESPACE}"))
        .map(drop)
}

async fn totals(story: &mut Story, lab: &Lab, application: &App) -> Result<()> {
    story.chapter("The sum");
    let records = application.all_records().await?;
    let failed = app::failed(&records);
    for ((arm, revision), count) in app::by_arm(&records) {
        story.figure(format!("{arm} {revision}"), count);
    }
    story.figure("requests", records.len());
    story.figure("failed requests", failed.len());
    failed
        .iter()
        .take(5)
        .for_each(|record| story.say(format!("{record:?}")));
    application.stop(&lab.shell)?;
    ensure!(failed.is_empty(), "{} requests failed", failed.len());
    Ok(())
}

async fn chat(story: &mut Story, lab: &Lab, fleet: &Fleet) -> Result<()> {
    story.chapter(
        "A text generator on every node: an application asks its own, and the answer streams",
    );
    let manifest = Manifest {
        name: CHAT,
        namespace: NAMESPACE,
        image: lab.image("smollm2"),
        steps: STEPS,
        memory: "1Gi",
        chat: true,
        ..Manifest::default()
    };
    apply(lab, &manifest)?;
    fleet
        .wait(CHAT, "ready", Duration::from_secs(180), fleet::ready)
        .await?;
    let application = App {
        chat_tokens: Some(8),
        // One question of each at the start; the next would come after this story.
        ..application(lab, fleet, CHAT, 0.001)
    };
    application.start(&lab.shell, NODES).await?;
    let ask = format!(
        "kubectl exec -n {NAMESPACE} daemonset/{CHAT}-app -- smallfleet-load ask 'What is gravity?'"
    );
    let said = lab.shell.follow(&ask)?;
    ensure!(
        said.starts_with("Gravity is") && said.contains("\ndata: [DONE]\n"),
        "an unexpected answer: {said}"
    );
    application.stop(&lab.shell)
}
