//! Options of hooks: who is asked and told.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{ConfigError, at, path};
use crate::hooks::file::FileWay;
use crate::hooks::http::{HttpOptions, HttpWay};
use crate::hooks::{AT_A_TIME, Events, Hooks, Sink, shown};
use crate::units;

/// Who is asked and told.
#[derive(Clone, PartialEq, Eq, Args)]
pub struct HooksOptions {
    /// Address (http:// or https://) to which hooks are sent as JSON, as tusd does; several are
    /// separated by blanks. EVENTS= before one, as in `post-finish=https://example.org/`, are those it is sent.
    #[arg(long, value_name = "URLS", default_value = "", hide_env_values = true)]
    pub hooks_http: String,
    /// Headers of the client's request that go into the hook's, separated by commas.
    #[arg(long, value_name = "LIST", default_value = "")]
    pub hooks_http_forward_headers: String,
    /// How often a hook that is waited for is called again after a 5xx or no answer.
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub hooks_http_retry: u32,
    /// The pause before; what nobody waits for is tried again after this, twice this, and so on up to 5m.
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = units::duration)]
    pub hooks_http_backoff: Duration,
    /// The longest that an HTTP hook may take, pauses included.
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = units::duration)]
    pub hooks_http_timeout: Duration,
    /// What HTTP hooks are signed with (X-Highwater-Signature); better given by the variable, since other users see
    /// command lines.
    #[arg(long, value_name = "TEXT", default_value = "", hide_env_values = true)]
    pub hooks_http_secret: String,
    /// Directory of programs that are run as hooks, each named as its event.
    #[arg(long, value_name = "DIR", value_parser = path())]
    pub hooks_dir: Option<PathBuf>,
    /// The longest that such a program may run; then it is killed, and what it has started.
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = units::duration)]
    pub hooks_dir_timeout: Duration,
    /// Events for which there are hooks, separated by commas; also: pre-finish, pre-terminate, pre-access, scan.
    #[arg(long, value_name = "LIST", default_value = crate::hooks::DEFAULT_EVENTS)]
    pub hooks_enabled_events: Events,
    /// How long a hook that nobody waits for is tried, before it is laid aside for /admin/hooks.
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = units::duration)]
    pub hooks_retry_for: Duration,
    /// How often hooks are told of a running upload (post-receive).
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = units::duration)]
    pub progress_hooks_interval: Duration,
}

impl std::fmt::Debug for HooksOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without the secrets.
        f.debug_struct("HooksOptions")
            .field("hooks_dir", &self.hooks_dir)
            .field("hooks_enabled_events", &self.hooks_enabled_events)
            .finish_non_exhaustive()
    }
}

impl HooksOptions {
    /// What these options say together.
    ///
    /// # Errors
    /// An address, event or directory that is none.
    pub fn open(&self) -> Result<Hooks, ConfigError> {
        let forwarded = units::list(&self.hooks_http_forward_headers).map(str::to_owned);
        let mut hooks = Hooks::new(Vec::new(), forwarded.collect());
        let options = HttpOptions {
            secret: Some(self.hooks_http_secret.clone()).filter(|secret| !secret.is_empty()),
            retry: self.hooks_http_retry,
            backoff: self.hooks_http_backoff,
            timeout: self.hooks_http_timeout,
        };
        for text in self.hooks_http.split_ascii_whitespace() {
            let (events, url) = self.address(text)?;
            let way = HttpWay::new(url, options.clone()).map_err(at("hooks-http"))?;
            hooks.add(Sink {
                name: shown(url),
                events,
                way: Box::new(way),
                at_a_time: AT_A_TIME,
            });
        }
        if let Some(dir) = &self.hooks_dir {
            let way = FileWay::new(dir, self.hooks_dir_timeout).map_err(at("hooks-dir"))?;
            hooks.add(Sink {
                name: dir.display().to_string(),
                events: self.hooks_enabled_events.clone(),
                way: Box::new(way),
                at_a_time: AT_A_TIME,
            });
        }
        for (option, duration) in [
            ("progress-hooks-interval", self.progress_hooks_interval),
            ("hooks-http-timeout", self.hooks_http_timeout),
            ("hooks-dir-timeout", self.hooks_dir_timeout),
        ] {
            if !hooks.is_empty() && duration.is_zero() {
                return Err(at(option)("more than 0"));
            }
        }
        hooks.interval = self.progress_hooks_interval;
        hooks.backoff = self.hooks_http_backoff;
        hooks.patience = self.hooks_retry_for;
        Ok(hooks)
    }

    /// An address, and the events before it.
    fn address<'t>(&self, text: &'t str) -> Result<(Events, &'t str), ConfigError> {
        match text.split_once('=') {
            Some((events, url)) if !events.contains(':') => {
                let events: Events = events.parse().map_err(at("hooks-http"))?;
                Ok((events, url))
            }
            _ => Ok((self.hooks_enabled_events.clone(), text)),
        }
    }
}
