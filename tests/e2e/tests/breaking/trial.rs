//! One model under a load that keeps book of every request, with what was broken meanwhile.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use nix::sys::signal::Signal;
use smallfleet_cluster::Component;
use smallfleet_crds::names;
use smallfleet_crds::status::{RolloutStatus, SmallModelStatus};
use smallfleet_e2e::app::{App, now_milliseconds};
use smallfleet_e2e::audit::{self, Book};
use smallfleet_e2e::fleet::{is_ready, node_of};
use smallfleet_e2e::load::Record;
use smallfleet_e2e::process;

use crate::common::{NODES, World, until};
use crate::path::{Broken, Outage, only_pathless_failed};

/// Restarts, evictions, changes of a leader.
pub const SOON: Duration = Duration::from_secs(90);
/// The candidate's units after which a canary counts as under way: past the burn-in.
const UNDER_WAY: u64 = 50;

/// A model that serves on every node, asked by an application on every node.
pub struct Trial {
    pub world: World,
    /// Revision that was installed first.
    pub first: String,
    /// Of the load pods, so that the load is followed without an API server.
    addresses: Vec<String>,
    outages: Vec<Outage>,
    /// Of load pods that are gone.
    closed: Vec<Book>,
    application: App,
}

impl Trial {
    /// Installs `good`; every rollout of this trial has these steps.
    pub async fn start(namespace: &str, steps: &'static [(&'static str, u32)]) -> Result<Self> {
        let mut world = World::new(namespace).await?;
        world.steps = steps;
        let stable = world
            .install("good")
            .await?
            .stable
            .context("a stable revision")?;
        let address = world.kubectl("get service intent -o jsonpath={.spec.clusterIP}")?;
        let application = App {
            model: world.model.clone(),
            fleet: world.fleet.clone(),
            image: world.lab.image("load").to_owned(),
            requests: world.lab.image("requests").to_owned(),
            // A partitioned node reaches no DNS, and that is not what is tried here.
            address: Some(address.trim().to_owned()),
            rate: world.bearable_rate().await?,
            chat_tokens: None,
        };
        application.start(&world.lab.shell, NODES).await?;
        let addresses = application.addresses().await?;
        Ok(Self {
            world,
            first: stable.revision,
            addresses,
            outages: Vec::new(),
            closed: Vec::new(),
            application,
        })
    }

    /// Applies a revision and waits until its canary counts.
    pub async fn canary(&self, image: &str) -> Result<RolloutStatus> {
        self.world.apply(image)?;
        let status = self.world.wait_counted(UNDER_WAY).await?;
        status.rollout.context("a rollout")
    }

    /// The verdict is that of a rollout without a fault, and it is this rollout's.
    pub async fn promoted(&self, rollout: &RolloutStatus) -> Result<SmallModelStatus> {
        let status = self.world.wait_promoted().await?;
        let last = status.last_rollout.clone().context("a last rollout")?;
        ensure!(
            last.id == rollout.id,
            "rollout {} was promoted, not {}, which was under way",
            last.id,
            rollout.id
        );
        let stable = status
            .stable
            .as_ref()
            .map(|stable| stable.revision.as_str());
        ensure!(stable == Some(&rollout.to), "{stable:?} is stable after it");
        Ok(status)
    }

    /// Lets the applications go on for so long, the time of a fault; requests of each of them end meanwhile or soon after.
    pub async fn served_for(&self, time: Duration) -> Result<()> {
        let before = App::ended_at(&self.addresses).await?;
        tokio::time::sleep(time).await;
        until("requests on every node", SOON, async || {
            let now = App::ended_at(&self.addresses).await?;
            let more =
                |(node, count): (&String, &usize)| *count > before.get(node).copied().unwrap_or(0);
            Ok(now.len() == before.len() && now.iter().all(more))
        })
        .await
    }

    /// Waits until a candidate answers a request of this node's application.
    pub async fn candidate_answers_on(&self, node: &str) -> Result<()> {
        let since = now_milliseconds();
        until("an answer of the candidate", SOON, async || {
            let asked = self.asked_on(node, since).await?;
            Ok(asked.iter().any(|record| record.arm == "candidate"))
        })
        .await
    }

    /// Kills a part of the cluster, and starts it again whatever became of what was to be seen meanwhile.
    pub async fn without<T>(
        &self,
        part: Component,
        seen: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let machines = self.world.lab.machines()?;
        println!("    kill -9 {part}");
        machines.stop(part)?;
        let seen = seen.await;
        machines.start(part)?;
        println!("    {part} is back");
        seen
    }

    /// Stable pods in the order of their nodes.
    pub async fn stable_pods(&self) -> Result<Vec<Pod>> {
        let mut pods = self
            .world
            .fleet
            .pods_of(&self.world.model, names::role::STABLE)
            .await?;
        pods.sort_by_key(|pod| node_of(pod).to_owned());
        Ok(pods)
    }

    /// Kills a container of a stable pod and waits until the pod is Ready again.
    pub async fn kill(&mut self, pod: &Pod, broken: Broken) -> Result<()> {
        let program = match broken {
            Broken::Router => "smallfleet-runtime router",
            Broken::Engine | Broken::EngineBesideCandidate => "smallfleet-runtime engine",
            Broken::Endpoints => bail!("nobody kills endpoints"),
        };
        let (uid, node) = (pod.uid().context("a uid")?, node_of(pod).to_owned());
        let (before, since) = (restarts(pod), now_milliseconds());
        process::signal(&uid, program, Signal::SIGKILL)?;
        until("the killed container's restart", SOON, async || {
            let pod = self.world.fleet.pods().get(&pod.name_any()).await?;
            Ok(restarts(&pod) > before && is_ready(&pod))
        })
        .await?;
        let until = now_milliseconds();
        println!(
            "    {program} on {node} was Ready again after {} ms",
            until - since
        );
        self.note(Outage {
            broken,
            node,
            since,
            until,
        });
        Ok(())
    }

    /// Something was seen to be missing.
    pub fn note(&mut self, outage: Outage) {
        self.outages.push(outage);
    }

    /// Keeps the book of a node's application up to now. What it asks later is lost with it when its node is powered off.
    pub async fn close_book(&mut self, node: &str) -> Result<()> {
        let mut books = audit::books(&self.application).await?.into_iter();
        let book = books.find(|(of, _)| of == node);
        self.closed
            .push(book.with_context(|| format!("no load on {node}"))?);
        Ok(())
    }

    /// Waits until the load runs on every node again, after one has come back as another.
    pub async fn reopen_book(&mut self) -> Result<()> {
        let application = &self.application;
        until("the load on every node", SOON, async || {
            application.start(&self.world.lab.shell, NODES).await?;
            let books = application.records().await?;
            Ok(books.len() == NODES && !books.values().any(Vec::is_empty))
        })
        .await?;
        self.addresses = self.application.addresses().await?;
        Ok(())
    }

    /// Requests of a node's application from then on.
    pub async fn asked_on(&self, node: &str, since: u64) -> Result<Vec<Record>> {
        let mut records = self
            .application
            .records()
            .await?
            .remove(node)
            .unwrap_or_default();
        records.retain(|record| record.sent_milliseconds >= since);
        Ok(records)
    }

    /// All requests from then on, in the order of their sending.
    pub async fn asked(&self, since: u64) -> Result<Vec<Record>> {
        let mut records = self.application.all_records().await?;
        records.retain(|record| record.sent_milliseconds >= since);
        Ok(records)
    }

    /// Ends the story: every answer is audited.
    pub async fn end(self) -> Result<()> {
        let mut books = audit::books(&self.application).await?;
        books.extend(self.closed.iter().cloned());
        only_pathless_failed(&books, &self.outages)?;
        let status = self.world.fleet.status(&self.world.model).await?;
        let promoted = status.stable.map(|stable| stable.revision);
        let proven = promoted.into_iter().chain([self.first.clone()]).collect();
        let known = self.known_revisions().await?;
        audit::revisions_are_named(&books, &known, &self.first, &proven)?;
        audit::labels_are_right(&books)
    }

    async fn known_revisions(&self) -> Result<BTreeSet<String>> {
        let fleet = &self.world.fleet;
        let api: Api<ControllerRevision> = Api::namespaced(fleet.client.clone(), &fleet.namespace);
        let ours = format!("{}={}", names::LABEL_MODEL, self.world.model);
        let revisions = api.list(&ListParams::default().labels(&ours)).await?;
        let hash = |object: ControllerRevision| object.labels().get(names::LABEL_REVISION).cloned();
        Ok(revisions.into_iter().filter_map(hash).collect())
    }
}

/// Restarts of all containers of a pod.
fn restarts(pod: &Pod) -> i32 {
    let Some(status) = &pod.status else { return 0 };
    let main = status.container_statuses.iter().flatten();
    let sidecars = status.init_container_statuses.iter().flatten();
    main.chain(sidecars)
        .map(|container| container.restart_count)
        .sum()
}
