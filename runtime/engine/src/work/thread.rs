//! The engine thread: loads the model, then works until nobody can send it a job any more.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::classification::{self, ClassifierDesk};
use super::generation::{self, Budget, GeneratorDesk};
use super::huge_pages;
use super::progress::Progress;
use crate::artifact::Artifact;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::model::{Classifier, Generator};
use crate::state::{Failure, FailureReason};

/// A model that is ready to take jobs. When the last clone is gone the thread ends.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub desk: Desk,
    pub progress: Arc<Progress>,
}

/// Where jobs of the model's task go.
#[derive(Debug, Clone)]
pub enum Desk {
    Classifier(ClassifierDesk),
    Generator(GeneratorDesk),
}

/// The two moments the rest of the engine waits for.
pub struct Started {
    /// The model is ready, or cannot be made so.
    pub loaded: oneshot::Receiver<Result<Loaded, Failure>>,
    /// Ends (with an error) when the thread does: by its own will after the last job, or by a panic.
    pub alive: oneshot::Receiver<std::convert::Infallible>,
}

type Announce = oneshot::Sender<Result<Loaded, Failure>>;

/// Starts the thread; it loads the model first.
pub fn start(config: &Config, metrics: &Arc<Metrics>) -> std::io::Result<Started> {
    let (config, metrics) = (config.clone(), Arc::clone(metrics));
    let (loaded_sender, loaded) = oneshot::channel();
    let (alive_sender, alive) = oneshot::channel();
    std::thread::Builder::new()
        .name("engine".into())
        .spawn(move || {
            let _alive = alive_sender;
            let loaded = catch_unwind(AssertUnwindSafe(|| load(&config)));
            match loaded.unwrap_or_else(|panic| Err(panicked(panic.as_ref()))) {
                Ok(model) => model.announce_and_work(&config, &metrics, loaded_sender),
                // Nobody listens when the engine is being stopped while it loads.
                Err(failure) => drop(loaded_sender.send(Err(failure))),
            }
        })?;
    Ok(Started { loaded, alive })
}

/// Libraries panic over some files that nobody should write; that is a fault of the files.
fn panicked(panic: &(dyn Any + Send)) -> Failure {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let words = text.or_else(|| panic.downcast_ref::<&str>().copied());
    Failure {
        reason: FailureReason::InvalidModel,
        message: format!(
            "a library panicked over the files of the model: {}",
            words.unwrap_or("see the engine's log")
        ),
    }
}

/// A loaded model of one of the tasks.
enum Model {
    Classifier(Box<Classifier>),
    Generator(Box<Generator>, Budget),
}

fn load(config: &Config) -> Result<Model, Failure> {
    let library = config.onnxruntime.as_deref().ok_or_else(|| Failure {
        reason: FailureReason::LoadFailed,
        message:
            "ORT_DYLIB_PATH is not set: point it at libonnxruntime.so of version 1.31 or later"
                .into(),
    })?;
    let threads = config.threads.get();
    match Artifact::open(&config.model_dir, config.task)? {
        Artifact::Classifier(checked) => {
            let classifier = Classifier::load(checked, library, threads)?;
            move_to_huge_pages();
            Ok(Model::Classifier(Box::new(classifier)))
        }
        Artifact::Generator {
            checked,
            chat_template,
        } => {
            let generator = Generator::load(checked, chat_template, library, threads)?;
            move_to_huge_pages();
            let budget = Budget::measure(config.kv_memory_mib, &generator)?;
            Ok(Model::Generator(Box::new(generator), budget))
        }
    }
}

/// Once the warm-up has claimed the memory that requests use.
fn move_to_huge_pages() {
    match huge_pages::collapse() {
        Ok(kib) => tracing::info!(kib, "memory on huge pages"),
        Err(error) => tracing::warn!(%error, "memory stays on small pages"),
    }
}

impl Model {
    fn announce_and_work(self, config: &Config, metrics: &Metrics, announce: Announce) {
        // Admission lets no more than this in; the bound is the second line.
        let bound = config.max_concurrent_requests.get();
        let progress = Arc::new(Progress::new());
        let say = |desk: Desk| {
            let progress = Arc::clone(&progress);
            announce.send(Ok(Loaded { desk, progress })).is_ok()
        };
        match self {
            Self::Classifier(classifier) => {
                let (sender, jobs) = mpsc::channel(bound);
                let labels = classifier.labels().into();
                let desk = ClassifierDesk {
                    labels,
                    jobs: sender,
                };
                if say(Desk::Classifier(desk)) {
                    classification::Worker::new(*classifier, metrics, &progress).work(jobs);
                }
            }
            Self::Generator(generator, budget) => {
                let (sender, jobs) = mpsc::channel(bound);
                let desk = GeneratorDesk {
                    jobs: sender,
                    context_tokens: generator.context_tokens(),
                };
                if say(Desk::Generator(desk)) {
                    generation::Worker::new(*generator, budget, metrics, &progress).work(jobs);
                }
            }
        }
    }
}
