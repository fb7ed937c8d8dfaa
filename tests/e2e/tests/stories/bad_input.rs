//! Bad input: each gets a message that says what to do, and what served goes on serving.

use std::fs;

use anyhow::{Context, Result, ensure};
use smallfleet_cluster::Component;
use smallfleet_crds::status::{RolloutState, SmallModelStatus};
use smallfleet_e2e::{app, fleet};

use crate::common::{NODES, PROMOTING_RATE, World, assert_none_failed, lab};

/// The manifests of the API's own tests, against the real API server: the message is the one in their first line.
#[tokio::test]
async fn the_api_server_accepts_the_good_and_refuses_the_bad_manifests() -> Result<()> {
    let world = World::new("e2e-manifests").await?;
    let folder = world.lab.root.join("crds/tests/manifests");
    let mut seen = 0;
    for kind in ["good", "bad"] {
        for entry in fs::read_dir(folder.join(kind))? {
            let path = entry?.path();
            let yaml = fs::read_to_string(&path)?;
            check_manifest(&world, kind, &yaml).with_context(|| path.display().to_string())?;
            seen += 1;
        }
    }
    ensure!(seen > 10, "only {seen} manifests were tried");
    Ok(())
}

fn check_manifest(world: &World, kind: &str, yaml: &str) -> Result<()> {
    let line = format!(
        "kubectl -n {} apply --dry-run=server -f -",
        world.fleet.namespace
    );
    if kind == "good" {
        return world.lab.shell.run_with_input(&line, yaml).map(drop);
    }
    let expected = yaml
        .lines()
        .find_map(|line| line.strip_prefix("# expect: "))
        .context("a line `# expect: ...`")?;
    let message = world.lab.shell.refused(&line, yaml)?;
    ensure!(
        message.contains(expected),
        "expected {expected:?} in {message}"
    );
    Ok(())
}

/// What a status says in all its conditions, for a search.
fn words(status: &SmallModelStatus) -> String {
    let conditions = status
        .conditions
        .iter()
        .map(|condition| format!("{}: {}\n", condition.reason, condition.message));
    let blocked = status
        .rollout
        .iter()
        .filter_map(|rollout| rollout.blocked.as_ref());
    conditions
        .chain(blocked.map(|blocked| format!("{}: {}\n", blocked.reason, blocked.message)))
        .collect()
}

/// Broken revisions after a good one: each is named as broken, none gets traffic, and `good` goes on.
#[tokio::test]
async fn a_broken_model_is_named_and_the_good_one_goes_on_serving() -> Result<()> {
    let world = World::new("e2e-broken").await?;
    let first = world.install("good").await?;
    let application = world.load().await?;
    let expected = [
        ("broken-no-model", "NoModel"),
        ("broken-corrupt-onnx", "LoadFailed"),
        ("broken-wrong-task", "WrongTask"),
        ("broken-failing-probe", "ProbeFailed"),
    ];
    for (image, reason) in expected {
        world.apply(image)?;
        let status = world
            .wait(&format!("stalled by {reason}"), |status| {
                words(status).contains(reason)
            })
            .await?;
        ensure!(status.stable == first.stable, "{image} became stable");
        println!("{image}: {}", words(&status));
    }
    world.apply("good")?;
    world.wait("good again", fleet::ready).await?;
    assert_none_failed(&application).await?;
    Ok(())
}

#[tokio::test]
async fn labels_that_do_not_match_the_dataset_are_named() -> Result<()> {
    let mut world = World::new("e2e-labels").await?;
    world.install("good").await?;
    world.dataset = lab()?.image("broken-wrong-labels");
    world.apply("better")?;
    let status = world
        .wait("told about the labels", |status| {
            words(status).contains("LabelsDoNotMatch")
        })
        .await?;
    ensure!(fleet::condition(&status, "Available"), "{}", words(&status));
    Ok(())
}

#[tokio::test]
async fn a_digest_that_does_not_exist_is_named_at_once() -> Result<()> {
    let world = World::new("e2e-digest").await?;
    let first = world.install("good").await?;
    let application = world.load().await?;
    let image = world.lab.image("good");
    let (repository, _) = image.split_once('@').context("a digest")?;
    let missing = format!("{repository}@sha256:{}", "0".repeat(64));
    world.apply_yaml(&world.yaml("good", &[]).replace(image, &missing))?;
    let status = world
        .wait("told about the digest", |status| {
            words(status).contains(&"0".repeat(64))
        })
        .await?;
    let words = words(&status);
    ensure!(words.contains("ImageNotFound: "), "{words}");
    ensure!(
        fleet::condition(&status, "Available") && !fleet::condition(&status, "Accepted"),
        "{words}"
    );
    ensure!(status.stable == first.stable, "{words}");
    assert_none_failed(&application).await
}

#[tokio::test]
async fn a_candidate_for_which_there_is_no_room_waits_and_says_so() -> Result<()> {
    let mut world = World::new("e2e-room").await?;
    // On one node: each node that it does not fit on is given a minute.
    world.node = Some("node-1");
    world.install("good").await?;
    let huge = world
        .yaml("better", &[])
        .replace("memory: 384Mi", "memory: 900Gi");
    world.apply_yaml(&huge)?;
    let status = world
        .wait("blocked for room", |status| {
            words(status).contains("Unschedulable")
        })
        .await?;
    ensure!(
        fleet::state(&status) == Some(RolloutState::Preparing),
        "{}",
        fleet::one_line(&status)
    );
    world.apply("better")?;
    world
        .wait("no longer blocked", |status| {
            !words(status).contains("Unschedulable")
        })
        .await?;
    Ok(())
}

#[tokio::test]
async fn a_name_taken_by_somebody_else_is_left_alone() -> Result<()> {
    let world = World::new("e2e-name").await?;
    world.kubectl("create service clusterip intent --tcp=80:80")?;
    let before = world.kubectl("get service intent -o jsonpath={.metadata.resourceVersion}")?;
    world.apply("good")?;
    world
        .wait("stalled by the name", |status| {
            words(status).contains("NameConflict")
        })
        .await?;
    let after = world.kubectl("get service intent -o jsonpath={.metadata.resourceVersion}")?;
    ensure!(before == after, "somebody else's Service was touched");
    world.kubectl("delete service intent")?;
    world
        .wait("ready once the name is free", fleet::ready)
        .await?;
    Ok(())
}

/// Requests from the application's side: malformed, too long, of the wrong task.
#[tokio::test]
async fn bad_requests_get_a_clear_answer() -> Result<()> {
    let world = World::new("e2e-requests").await?;
    world.install("good").await?;
    let address = world.kubectl("get service intent -o jsonpath={.spec.clusterIP}")?;
    let pod = world
        .kubectl("get pods -l smallfleet.dev/front=intent -o jsonpath={.items[0].status.podIP}")?;
    ensure!(!address.is_empty(), "the Service has no address");
    let ask = |path: &str, body: &str| {
        let line = format!(
            "curl -sS -m 10 -w ' %{{http_code}}' -H 'content-type: application/json' --data-binary @- http://{pod}:8080{path}"
        );
        world.lab.shell.run_with_input(&line, body)
    };
    for (path, body, status, says) in [
        ("/v1/classify", "{", "400", "JSON"),
        ("/v1/classify", r#"{"txt": "x"}"#, "400", "text"),
        ("/v1/classify", r#"{"text": ""}"#, "400", "empty"),
        (
            "/v1/chat/completions",
            r#"{"messages": []}"#,
            "404",
            "TextClassification",
        ),
        ("/v2/models/other/infer", "{}", "404", "other"),
    ] {
        let answer = ask(path, body)?;
        ensure!(
            answer.ends_with(status) && answer.contains(says),
            "{path} {body}: {answer}"
        );
    }
    let long = format!(r#"{{"text": "{}"}}"#, "a".repeat(2 << 20));
    let answer = ask("/v1/classify", &long)?;
    ensure!(answer.ends_with("413"), "2 MiB: {answer}");
    let good = ask(
        "/v1/classify",
        r#"{"text": "The striker scored twice in the cup final."}"#,
    )?;
    ensure!(good.ends_with("200"), "{good}");
    Ok(())
}

#[tokio::test]
async fn a_registry_that_is_down_is_waited_for() -> Result<()> {
    let world = World::new("e2e-registry").await?;
    let first = world.install("good").await?;
    let application = world.load().await?;
    let unseen = world.lab.push_unseen("better")?;
    let machines = world.lab.machines()?;
    machines.stop(Component::Registry)?;
    let told = told_of_the_registry(&world, &unseen).await;
    machines.start(Component::Registry)?;
    ensure!(told?.stable == first.stable, "the candidate became stable");
    world.wait_counting().await?;
    assert_none_failed(&application).await?;
    Ok(())
}

async fn told_of_the_registry(world: &World, image: &str) -> Result<SmallModelStatus> {
    let known = world.lab.image("better");
    world.apply_yaml(&world.yaml("better", &[]).replace(known, image))?;
    let blocked = |status: &SmallModelStatus| fleet::is_blocked(status, "ImagePull");
    world.wait("blocked by the registry", blocked).await
}

/// The stable pods, the load's, and one more: the first step's candidate finds room, the second step's do not.
#[tokio::test]
async fn a_quota_holds_up_a_canary_and_is_named() -> Result<()> {
    let mut world = World::new("e2e-quota").await?;
    world.rate = PROMOTING_RATE;
    let first = world.install("good").await?;
    let application = world.load().await?;
    let pods = 2 * NODES + 1;
    world.kubectl(&format!("create quota few --hard=pods={pods}"))?;
    world.apply("better")?;
    let blocked = world
        .wait("blocked by the quota", |status| {
            fleet::is_blocked(status, "PodRefused")
        })
        .await?;
    let said = words(&blocked);
    println!("{said}");
    ensure!(said.contains("exceeded quota: few"), "{said}");
    ensure!(
        blocked.refused.is_empty() && blocked.stable == first.stable,
        "{said}"
    );
    world.kubectl("delete quota few")?;
    world.wait_promoted().await?;
    assert_none_failed(&application).await
}

/// More requests at once than one pod works on and queues: each gets an answer, the surplus is told to come back.
#[tokio::test]
async fn too_many_requests_are_told_to_come_back() -> Result<()> {
    let world = World::new("e2e-many").await?;
    world.install("good").await?;
    let pod = world
        .kubectl("get pods -l smallfleet.dev/front=intent -o jsonpath={.items[0].status.podIP}")?;
    let text = "The striker scored twice in the cup final. ".repeat(20);
    let answers = app::at_once(&format!("http://{pod}:8080/v1/classify"), &text, 400).await?;
    let good = answers.iter().filter(|answer| answer.status == 200).count();
    let busy: Vec<_> = answers
        .iter()
        .filter(|answer| answer.status == 429)
        .collect();
    ensure!(
        good > 0 && !busy.is_empty() && good + busy.len() == answers.len(),
        "{good} good and {} busy of {}",
        busy.len(),
        answers.len()
    );
    ensure!(
        busy.iter().all(|answer| answer.retry_after.is_some()),
        "a 429 without Retry-After"
    );
    Ok(())
}
