//! Streams in Redis, one for each priority: a consumer that reads `high` before `normal` before `low` works in that order.

use std::time::Duration;

use async_trait::async_trait;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client};
use tokio::sync::Mutex;
use tokio::time::timeout;
use tracing::debug;

use super::job::Job;
use super::{Call, Fault, Way};

/// Adds jobs to the streams `PREFIX:high`, `PREFIX:normal` and `PREFIX:low`, in an entry with two fields: `job`, the JSON, and
/// `key`, by which a consumer knows what it has already.
pub struct RedisWay {
    client: Client,
    prefix: String,
    timeout: Duration,
    /// One for all that goes there, and how many there were; a new one after any failure.
    connection: Mutex<(u64, Option<MultiplexedConnection>)>,
}

impl RedisWay {
    /// To `url`, as `redis://[user:password@]host[:port][/database]`; it is first connected to when there is a job.
    ///
    /// # Errors
    /// If that is no address of a Redis.
    pub fn new(url: &str, prefix: &str, timeout: Duration) -> Result<Self, String> {
        let client = Client::open(url).map_err(|error| error.to_string())?;
        Ok(Self {
            client,
            prefix: prefix.to_owned(),
            timeout,
            connection: Mutex::default(),
        })
    }

    async fn add(&self, call: &Call) -> Result<(), Fault> {
        let job = Job::of(call)?;
        let stream = format!("{}:{}", self.prefix, job.priority.name());
        let (number, mut connection) = self.connection().await?;
        let mut add = redis::cmd("XADD");
        add.arg(&stream).arg("*");
        add.arg("job").arg(&call.body).arg("key").arg(&job.key);
        match add.query_async::<String>(&mut connection).await {
            Ok(entry) => {
                debug!(upload = %job.id, stream, entry, "a job is in its stream");
                Ok(())
            }
            Err(error) => {
                self.forget(number).await;
                Err(Fault(format!("{stream}: {error}")))
            }
        }
    }

    async fn connection(&self) -> Result<(u64, MultiplexedConnection), Fault> {
        let mut kept = self.connection.lock().await;
        if let (number, Some(connection)) = &*kept {
            return Ok((*number, connection.clone()));
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeout))
            .set_response_timeout(Some(self.timeout));
        let made = self
            .client
            .get_multiplexed_async_connection_with_config(&config);
        let made = made.await.map_err(Fault::of)?;
        *kept = (kept.0 + 1, Some(made.clone()));
        Ok((kept.0, made))
    }

    /// A connection that failed is used no more; a newer one is nobody's fault.
    async fn forget(&self, number: u64) {
        let mut kept = self.connection.lock().await;
        if kept.0 == number {
            kept.1 = None;
        }
    }
}

#[async_trait]
impl Way for RedisWay {
    async fn bring(&self, call: &Call, _: bool) -> Result<Vec<u8>, Fault> {
        // More than the timeouts of its parts: of those the connection is told, and is not used again.
        let limit = self.timeout.saturating_mul(3);
        timeout(limit, self.add(call))
            .await
            .unwrap_or_else(|_| Err(Fault(format!("no answer within {limit:?}"))))?;
        Ok(Vec::new())
    }
}
