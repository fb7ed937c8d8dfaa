//! `serve DIR`: router and engine in one process, as a node has them, for a laptop.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use smallfleet_engine::{DEFAULT_KV_MEMORY_MIB, Task};
use smallfleet_router::engine::own::Own;
use smallfleet_router::{Config, Limits, Pod, Role, Router, Timing};
use tokio::net::TcpListener;

#[derive(Args)]
pub(crate) struct Serve {
    /// Folder with model.json, the graph, the tokenizer and the golden probes
    dir: PathBuf,
    /// Address that applications call
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Address of health checks and metrics
    #[arg(long, default_value = "127.0.0.1:8081")]
    admin_listen: SocketAddr,
    /// Threads that one run of the model uses
    #[arg(long, default_value = "1")]
    threads: NonZeroUsize,
    /// ONNX Runtime's library (libonnxruntime.so)
    #[arg(long = "onnxruntime", env = "ORT_DYLIB_PATH")]
    onnxruntime: Option<PathBuf>,
    /// What a request may take
    #[command(flatten)]
    limits: Limits,
}

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

impl Serve {
    pub(crate) async fn run(self, shutdown: impl Future<Output = ()> + Send) -> anyhow::Result<()> {
        let run_dir = tempfile::tempdir().context("cannot make a folder for engine.json")?;
        let engine_address = free_address().await?;
        let task = smallfleet_engine::task_of(&self.dir)?;
        let engine = self.engine(task, run_dir.path().to_owned(), engine_address);
        let router = self.router(run_dir.path().to_owned(), engine_address);
        let (stop_engine, stopped) = tokio::sync::oneshot::channel::<()>();
        let engine = tokio::spawn(smallfleet_engine::run(engine, async {
            let _ = stopped.await;
        }));
        let router = Router::start(router).await?;
        let usage = usage(&router, task);
        let mut ready = router.own().watch();
        tokio::pin!(shutdown, engine);
        tokio::select! {
            ended = engine.as_mut() => ended??,
            () = &mut shutdown => return Ok(()),
            _ = ready.wait_for(Own::ready) => {}
        }
        eprintln!("{usage}");
        tokio::select! {
            ended = engine.as_mut() => ended??,
            () = &mut shutdown => {}
        }
        router.drain().await;
        // The engine waits for the end of this channel.
        drop(stop_engine);
        Ok(engine.await??)
    }

    fn engine(
        &self,
        task: Task,
        run_dir: PathBuf,
        listen: SocketAddr,
    ) -> smallfleet_engine::Config {
        smallfleet_engine::Config {
            model_dir: self.dir.clone(),
            termination_log: run_dir.join("termination-log"),
            run_dir,
            model_name: self.model_name(),
            revision: "local".into(),
            task,
            threads: self.threads,
            max_concurrent_requests: self.limits.max_concurrent_requests,
            max_queued_requests: self.limits.max_queued_requests,
            max_request_seconds: self.limits.max_request_seconds,
            kv_memory_mib: DEFAULT_KV_MEMORY_MIB,
            listen,
            onnxruntime: self.onnxruntime.clone(),
        }
    }

    fn router(&self, run_dir: PathBuf, engine: SocketAddr) -> Config {
        Config {
            role: Role::Stable,
            front_listen: self.listen,
            admin_listen: self.admin_listen,
            pod: Pod {
                name: String::new(),
                namespace: String::new(),
                uid: String::new(),
                ip: engine.ip(),
                engine_port: engine.port(),
                node: "localhost".into(),
                model_name: self.model_name(),
                revision: "local".into(),
            },
            limits: self.limits,
            run_dir,
            session_dir: None,
            token_file: PathBuf::new(),
            // Nobody has to be told before this process stops.
            timing: Timing {
                drain_accept: std::time::Duration::ZERO,
                ..Timing::default()
            },
        }
    }

    /// The folder's name.
    fn model_name(&self) -> String {
        let name = self.dir.canonicalize().unwrap_or_else(|_| self.dir.clone());
        let name = name.file_name().map(|name| name.to_string_lossy());
        name.map_or_else(|| "model".into(), std::borrow::Cow::into_owned)
    }
}

/// An address that nobody listens on at this moment.
async fn free_address() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((LOCALHOST, 0)).await?;
    Ok(listener.local_addr()?)
}

fn usage(router: &Router, task: Task) -> String {
    let (front, admin) = (router.front(), router.admin());
    let (path, body) = match task {
        Task::TextGeneration => (
            "/v1/chat/completions",
            r#"{"messages": [{"role": "user", "content": "What is gravity?"}], "stream": true}"#,
        ),
        _ => ("/v1/classify", r#"{"text": "a text to classify"}"#),
    };
    format!(
        "\nReady. Try:\n\n  curl -N http://{front}{path} -H 'content-type: application/json' -d '{body}'\n  curl http://{front}/v1/models\n  curl http://{admin}/metrics\n\nStop with Ctrl-C.\n"
    )
}
