//! The session on the wire: tonic over TLS.

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use kube::Client;
use smallfleet_core::world::Role;
use smallfleet_crds::names::port;
use smallfleet_protocol::v1;
use smallfleet_protocol::v1::session_server::{Session, SessionServer};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Server, ServerTlsConfig};
use tonic::{Request, Response, Status, Streaming};

use super::authority::{Authority, AuthorityError};
use super::hub::Hub;
use super::token::{Caller, TokenError, Verifier};
use super::{ModelKey, PodIdentity, PodLookup};

/// A dead connection is noticed within the lease.
const HTTP2_KEEP_ALIVE: Duration = Duration::from_secs(5);
/// Largest message of a router: a report with all its epochs and histograms is far below.
const MESSAGE_SIZE_MAX: usize = 1 << 20;
/// Streams of one connection; a router opens one.
const STREAMS_PER_CONNECTION: u32 = 8;
/// Time for a TLS handshake, and for the first message of a stream.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Why sessions cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    #[error("the session server: {0}")]
    Transport(#[from] tonic::transport::Error),
    #[error("the session server's address: {0}")]
    Listen(#[from] std::io::Error),
}

/// Serves sessions until shutdown.
///
/// # Errors
/// When the address cannot be bound or no certificate can be made.
pub async fn serve(
    listen: SocketAddr,
    authority: Authority,
    client: Client,
    hub: Hub,
    pods: Arc<dyn PodLookup>,
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    let listener = tokio::net::TcpListener::bind(listen).await?;
    serve_on(listener, &authority, client, hub, pods, shutdown).await
}

/// Serves sessions on a bound address until shutdown.
///
/// # Errors
/// When no certificate can be made.
pub async fn serve_on(
    listener: tokio::net::TcpListener,
    authority: &Authority,
    client: Client,
    hub: Hub,
    pods: Arc<dyn PodLookup>,
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    let identity = authority.serving_identity()?;
    let tls = ServerTlsConfig::new().identity(identity).timeout(HANDSHAKE);
    let sessions = Sessions {
        hub,
        pods,
        verifier: Arc::new(Verifier::new(client)),
        shutdown: shutdown.clone(),
    };
    let service = SessionServer::new(sessions).max_decoding_message_size(MESSAGE_SIZE_MAX);
    Server::builder()
        .tls_config(tls)?
        .http2_keepalive_interval(Some(HTTP2_KEEP_ALIVE))
        .http2_keepalive_timeout(Some(HTTP2_KEEP_ALIVE))
        .max_concurrent_streams(Some(STREAMS_PER_CONNECTION))
        .add_service(service)
        .serve_with_incoming_shutdown(
            TcpIncoming::from(listener).with_nodelay(Some(true)),
            async move { shutdown.cancelled().await },
        )
        .await?;
    Ok(())
}

struct Sessions {
    hub: Hub,
    pods: Arc<dyn PodLookup>,
    verifier: Arc<Verifier>,
    shutdown: CancellationToken,
}

type Messages = Pin<Box<dyn Stream<Item = Result<v1::OperatorMessage, Status>> + Send>>;

#[tonic::async_trait]
impl Session for Sessions {
    async fn check_in(
        &self,
        request: Request<v1::Hello>,
    ) -> Result<Response<v1::CheckInReply>, Status> {
        let caller = self.caller(&request).await?;
        let hello = request.into_inner();
        let (key, pod) = self.admit(&caller, &hello)?;
        Ok(Response::new(self.hub.check_in(&key, &pod, hello)))
    }

    type StreamStream = Messages;

    async fn stream(
        &self,
        request: Request<Streaming<v1::RouterMessage>>,
    ) -> Result<Response<Messages>, Status> {
        let caller = self.caller(&request).await?;
        let mut inbound = request.into_inner();
        let hello = first_hello(&mut inbound).await?;
        let (key, pod) = self.admit(&caller, &hello)?;
        let Some((id, outbound)) = self.hub.open(&key, &pod, hello.clone()) else {
            let refusal = self.hub.check_in(&key, &pod, hello);
            return Ok(Response::new(not_leader(refusal)));
        };
        let listening = Listening {
            hub: self.hub.clone(),
            shutdown: self.shutdown.clone(),
            caller,
            key,
            pod,
            id,
        };
        tokio::spawn(listening.run(inbound));
        Ok(Response::new(Box::pin(
            ReceiverStream::new(outbound).map(Ok),
        )))
    }
}

/// The receiving half of one stream.
struct Listening {
    hub: Hub,
    shutdown: CancellationToken,
    caller: Caller,
    key: ModelKey,
    pod: PodIdentity,
    id: u64,
}

impl Listening {
    /// Until the router, another stream of it, or this process ends.
    async fn run(self, mut inbound: Streaming<v1::RouterMessage>) {
        let uid = self.caller.pod_uid.as_str();
        loop {
            let message = tokio::select! {
                message = inbound.next() => message,
                () = self.shutdown.cancelled() => break,
            };
            let Some(Ok(v1::RouterMessage {
                message: Some(message),
            })) = message
            else {
                break;
            };
            if speaks_for_another(&self.caller, &self.pod, &message) {
                break;
            }
            self.hub.receive(&self.key, &self.pod, uid, message);
        }
        self.hub.closed(&self.key, uid, self.id);
    }
}

/// A later hello of a stream has to name the same pod.
fn speaks_for_another(
    caller: &Caller,
    pod: &PodIdentity,
    message: &v1::router_message::Message,
) -> bool {
    match message {
        v1::router_message::Message::Hello(hello) => own_words(caller, pod, hello).is_err(),
        _ => false,
    }
}

async fn first_hello(inbound: &mut Streaming<v1::RouterMessage>) -> Result<v1::Hello, Status> {
    let first = tokio::time::timeout(HANDSHAKE, inbound.message()).await;
    let first = first.map_err(|_| Status::deadline_exceeded("a stream begins with a hello"))?;
    match first?.and_then(|first| first.message) {
        Some(v1::router_message::Message::Hello(hello)) => Ok(hello),
        _ => Err(Status::invalid_argument(
            "the first message of a stream is a hello",
        )),
    }
}

fn not_leader(reply: v1::CheckInReply) -> Messages {
    let message = match reply.reply {
        Some(v1::check_in_reply::Reply::NotLeader(other)) => {
            v1::operator_message::Message::NotLeader(other)
        }
        Some(v1::check_in_reply::Reply::Welcome(welcome)) => {
            v1::operator_message::Message::Welcome(welcome)
        }
        None => return Box::pin(tokio_stream::empty()),
    };
    Box::pin(tokio_stream::once(Ok(v1::OperatorMessage {
        message: Some(message),
    })))
}

impl Sessions {
    async fn caller<T>(&self, request: &Request<T>) -> Result<Caller, Status> {
        let authorization = request
            .metadata()
            .get("authorization")
            .and_then(|value| value.to_str().ok());
        self.verifier
            .verify(authorization)
            .await
            .map_err(|error| match error {
                TokenError::Unavailable(_) => Status::unavailable(error.to_string()),
                _ => Status::unauthenticated(error.to_string()),
            })
    }

    /// A pod speaks for itself only.
    fn admit(&self, caller: &Caller, hello: &v1::Hello) -> Result<(ModelKey, PodIdentity), Status> {
        let Some(pod) = self.pods.find(&caller.namespace, &caller.pod_uid) else {
            return Err(Status::unavailable(format!(
                "pod {}/{} is not known yet as a pod of a SmallModel: try again",
                caller.namespace, caller.pod_name
            )));
        };
        if pod.deleting {
            return Err(Status::failed_precondition(
                "this pod is being deleted: it needs no session",
            ));
        }
        if pod.ip.is_empty() {
            return Err(Status::unavailable(format!(
                "the address of pod {}/{} is not known yet: try again",
                caller.namespace, caller.pod_name
            )));
        }
        own_words(caller, &pod, hello)?;
        Ok(((caller.namespace.clone(), pod.model.clone()), pod))
    }
}

/// A pod speaks for itself only: what it says of itself is what token and API server say.
fn own_words(caller: &Caller, pod: &PodIdentity, hello: &v1::Hello) -> Result<(), Status> {
    let claims = [
        ("namespace", &hello.namespace, &caller.namespace),
        ("pod_name", &hello.pod_name, &caller.pod_name),
        ("pod_uid", &hello.pod_uid, &caller.pod_uid),
        ("model", &hello.model, &pod.model),
        ("node", &hello.node, &pod.node),
    ];
    for (field, said, is) in claims {
        if said != is {
            return Err(Status::permission_denied(format!(
                "the hello says {field} {said:?}, but the token's pod has {is:?}: a pod speaks for itself only"
            )));
        }
    }
    if role_of(hello) != Some(pod.role) {
        return Err(Status::permission_denied(
            "the hello says another role than the pod has",
        ));
    }
    own_engine(pod, hello)
}

/// Other routers send requests to this address and trust this key: it has to be the pod's own.
fn own_engine(pod: &PodIdentity, hello: &v1::Hello) -> Result<(), Status> {
    let said = hello.engine.as_ref().map(|engine| engine.address.as_str());
    let Some(said) = said.filter(|address| !address.is_empty()) else {
        return Ok(());
    };
    let (address, own) = (said.parse::<SocketAddr>(), pod.ip.parse::<IpAddr>());
    match (address, own) {
        (Ok(address), Ok(own)) if address.ip() == own && address.port() == port::ENGINE => Ok(()),
        _ => Err(Status::permission_denied(format!(
            "the hello says that its engine is at {said:?}, but the pod's is at {} port {}: a pod speaks for itself only",
            pod.ip,
            port::ENGINE
        ))),
    }
}

fn role_of(hello: &v1::Hello) -> Option<Role> {
    match hello.role() {
        v1::Role::Stable => Some(Role::Stable),
        v1::Role::Candidate => Some(Role::Candidate),
        v1::Role::Unspecified => None,
    }
}
