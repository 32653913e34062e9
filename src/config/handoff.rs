//! Options of the hand-off: to whom complete uploads go on.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::{ConfigError, at, path};
use crate::hooks::file::FileWay;
use crate::hooks::http::{HttpOptions, HttpWay};
use crate::hooks::redis::RedisWay;
use crate::hooks::{AT_A_TIME, Event, HAND_OFF, Hooks, Nowhere, Sink, Way, shown};
use crate::units;

/// Whom complete uploads are handed to.
#[derive(Clone, PartialEq, Eq, Args)]
pub struct HandoffOptions {
    /// Address (http:// or https://) to which each complete upload is sent as a job, in JSON; several are separated by
    /// blanks. What does not go is tried again as hooks are (--hooks-http-backoff, --hooks-retry-for).
    #[arg(long, value_name = "URLS", default_value = "", hide_env_values = true)]
    pub handoff_http: String,
    /// What these are signed with (X-Highwater-Signature); better given by the variable, since other users see command lines.
    #[arg(long, value_name = "TEXT", default_value = "", hide_env_values = true)]
    pub handoff_http_secret: String,
    /// Program that is run for each complete upload, with the job on its standard input; a status other than 0 is a failure.
    #[arg(long, value_name = "PATH", value_parser = path())]
    pub handoff_exec: Option<PathBuf>,
    /// The longest that it may run; then it is killed, and what it has started.
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = units::duration)]
    pub handoff_exec_timeout: Duration,
    /// Redis (`redis://user:password@host:port/db`) to whose streams each complete upload is added as a job; with a
    /// password better given by the variable.
    #[arg(long, value_name = "URL", default_value = "", hide_env_values = true)]
    pub handoff_redis: String,
    /// What the streams' names begin with: PREFIX:high, PREFIX:normal and PREFIX:low.
    #[arg(long, value_name = "PREFIX", default_value = "highwater:jobs")]
    pub handoff_redis_prefix: String,
    /// The longest that an HTTP receiver, or Redis, may take for a job.
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = units::duration)]
    pub handoff_timeout: Duration,
    /// So many jobs are on their way to one receiver at a time; of those that wait, the most urgent goes first.
    #[arg(long, value_name = "N", default_value_t = AT_A_TIME)]
    pub handoff_parallel: usize,
    /// Tell the SHA-256 of the upload in each job.
    #[arg(long)]
    pub handoff_digest: bool,
    /// Work out the SHA-256 of each complete upload, for jobs and for /admin/uploads.
    #[arg(long, value_enum, default_value_t = Digesting::None)]
    pub digest: Digesting,
}

/// What is worked out of a complete upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Digesting {
    /// Nothing.
    None,
    /// Its SHA-256.
    Sha256,
}

impl std::fmt::Debug for HandoffOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without the secrets.
        f.debug_struct("HandoffOptions")
            .field("handoff_exec", &self.handoff_exec)
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}

impl HandoffOptions {
    /// Adds the receivers of jobs to those of hooks.
    ///
    /// # Errors
    /// An address or program that is none.
    pub fn add_to(&self, hooks: &mut Hooks) -> Result<(), ConfigError> {
        for (option, duration) in [
            ("handoff-timeout", self.handoff_timeout),
            ("handoff-exec-timeout", self.handoff_exec_timeout),
        ] {
            if duration.is_zero() {
                return Err(at(option)("more than 0"));
            }
        }
        if self.handoff_parallel == 0 {
            return Err(at("handoff-parallel")("at least 1"));
        }
        for url in self.handoff_http.split_ascii_whitespace() {
            let options = HttpOptions {
                secret: Some(self.handoff_http_secret.clone()).filter(|secret| !secret.is_empty()),
                retry: 0,
                backoff: Duration::ZERO,
                timeout: self.handoff_timeout,
            };
            let way = HttpWay::new(url, options).map_err(at("handoff-http"))?;
            hooks.add(self.sink(&shown(url), Box::new(way)));
        }
        if let Some(program) = self
            .handoff_exec
            .as_ref()
            .filter(|p| !p.as_os_str().is_empty())
        {
            let way = FileWay::one(program, self.handoff_exec_timeout);
            let way = way.map_err(at("handoff-exec"))?;
            hooks.add(self.sink("program", Box::new(way)));
        }
        if !self.handoff_redis.is_empty() {
            let (prefix, timeout) = (&self.handoff_redis_prefix, self.handoff_timeout);
            let way = RedisWay::new(&self.handoff_redis, prefix, timeout);
            let way = way.map_err(at("handoff-redis"))?;
            hooks.add(self.sink("redis", Box::new(way)));
        }
        if self.digest == Digesting::Sha256 {
            hooks.add(Sink {
                name: "--digest".to_owned(),
                events: Event::Digest.into(),
                way: Box::new(Nowhere),
                at_a_time: AT_A_TIME,
            });
        }
        let asked = self.handoff_digest && hooks.wants(Event::Job);
        hooks.digest = asked || self.digest == Digesting::Sha256;
        Ok(())
    }

    /// A receiver of jobs: by another name than a receiver of hooks at the same place. What there is one of at most goes by its
    /// kind, so that its jobs find it also where it has moved.
    fn sink(&self, to: &str, way: Box<dyn Way>) -> Sink {
        Sink {
            name: format!("{HAND_OFF}{to}"),
            events: Event::Job.into(),
            way,
            at_a_time: self.handoff_parallel,
        }
    }
}
