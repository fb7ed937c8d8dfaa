//! One connection to an operator replica.

use smallfleet_protocol::v1::session_client::SessionClient;
use smallfleet_protocol::v1::{Hello, OperatorMessage, RouterMessage, Welcome, check_in_reply};
use tokio::sync::mpsc;
use tokio::time::{Duration, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};

use super::dial::SessionError;

/// Time for a check-in, and for the operator to open a stream.
const ANSWER: Duration = Duration::from_secs(10);
/// Largest message taken.
const MESSAGE_MAX: usize = 1024 * 1024;

/// What a check-in was answered.
#[derive(Debug)]
pub(super) enum Answer {
    /// By the leader.
    Welcome(Welcome),
    /// By another replica; the leader's address, or nothing.
    NotLeader(String),
}

#[derive(Debug)]
pub(super) struct Link {
    address: String,
    client: SessionClient<Channel>,
    token: MetadataValue<Ascii>,
}

impl Link {
    pub(super) fn new(address: String, channel: Channel, token: MetadataValue<Ascii>) -> Self {
        Self {
            address,
            client: SessionClient::new(channel).max_decoding_message_size(MESSAGE_MAX),
            token,
        }
    }

    pub(super) async fn check_in(&mut self, hello: Hello) -> Result<Answer, SessionError> {
        let request = self.authorized(hello);
        let reply = self
            .within(|client| async move { client.check_in(request).await })
            .await?;
        match reply.into_inner().reply {
            Some(check_in_reply::Reply::Welcome(welcome)) => Ok(Answer::Welcome(welcome)),
            Some(check_in_reply::Reply::NotLeader(other)) => Ok(Answer::NotLeader(other.address)),
            None => Err(SessionError::Empty {
                address: self.address.clone(),
            }),
        }
    }

    pub(super) async fn open(
        &mut self,
        messages: mpsc::Receiver<RouterMessage>,
    ) -> Result<Streaming<OperatorMessage>, SessionError> {
        let request = self.authorized(ReceiverStream::new(messages));
        let stream = self
            .within(|client| async move { client.stream(request).await })
            .await?;
        Ok(stream.into_inner())
    }

    pub(super) fn refused(&self, status: Status) -> SessionError {
        SessionError::Refused {
            address: self.address.clone(),
            status: Box::new(status),
        }
    }

    async fn within<'a, T, F>(
        &'a mut self,
        call: impl FnOnce(&'a mut SessionClient<Channel>) -> F,
    ) -> Result<T, SessionError>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let address = self.address.clone();
        match timeout(ANSWER, call(&mut self.client)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(status)) => Err(SessionError::Refused {
                address,
                status: Box::new(status),
            }),
            Err(_) => Err(SessionError::Timeout {
                address,
                limit: ANSWER,
            }),
        }
    }

    fn authorized<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request
            .metadata_mut()
            .insert("authorization", self.token.clone());
        request
    }
}
