//! The configuration: plain data, read from the command line, the environment and a file, checked once at start.

mod args;
mod auth;
mod content;
mod file;
mod handoff;
mod hooks;
mod limits;
mod settings;
mod tls;
mod tusd;

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{ArgAction, Parser, ValueEnum};

pub use args::CommandLine;
pub use auth::{AuthMode, AuthOptions};
pub use content::{ContentOptions, FilenamePolicy, ScanInfected, ScanUnavailable, SniffMode};
pub use handoff::{Digesting, HandoffOptions};
pub use hooks::HooksOptions;
pub use limits::LimitOptions;
pub use settings::Settings;
pub use tls::TlsOptions;

pub use crate::units::Share;

use crate::protocol::base_path::BasePath;
use crate::protocol::location::PublicUrl;
use crate::security::admin::AdminToken;
use crate::security::cors::{Cors, CorsError, CorsOptions};
use crate::units;

/// A resumable upload server: tus 1.0 with every extension.
///
/// Command lines of tusd work: `-name value` and `-name=value` are read as `--name=value`. Every option is an environment
/// variable too, as `--upload-dir` is `HIGHWATER_UPLOAD_DIR`, and may stand in a --config file, as `upload-dir`; the command
/// line wins over the environment, and that over the file.
///
/// Durations are written as in Go (15s, 1m30s, 24h), sizes in bytes or with a suffix (1048576, 512K, 1GiB; K = KiB = 1024,
/// KB = 1000). A switch is on by its bare name, and on or off with =true or =false.
#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(name = "highwater", version, args_override_self = true)]
#[command(max_term_width = 110)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches")]
pub struct Config {
    /// Address or name to listen on; 0.0.0.0 or :: for all of the machine's.
    #[arg(long, default_value = "127.0.0.1")]
    pub host: String,
    /// Port to listen on; 0 takes any that is free.
    #[arg(long, default_value_t = 8080)]
    pub port: u16,
    /// Listen on a Unix socket at this path, and on no TCP port.
    #[arg(long, value_name = "PATH", value_parser = path())]
    pub unix_sock: Option<PathBuf>,
    /// Path under which uploads are created and found.
    #[arg(long, value_name = "PATH", default_value = "/files/")]
    pub base_path: BasePath,
    /// Origin that clients see in Location (`https://uploads.example.org`), whatever host they name.
    #[arg(long, value_name = "URL")]
    pub public_url: Option<PublicUrl>,
    /// Believe Forwarded and X-Forwarded-*; only behind a proxy that sets them itself.
    #[arg(long)]
    pub behind_proxy: bool,
    /// Speak HTTP/2 without TLS to clients that begin with it (prior knowledge).
    #[arg(long, default_value = "true")]
    pub enable_h2c: bool,
    /// Whether connections are encrypted, and how.
    #[command(flatten)]
    pub tls: TlsOptions,
    /// The most connections at a time; more wait to be accepted.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub max_connections: usize,

    /// Directory of the uploads and of the state.
    #[arg(long, value_name = "DIR", default_value = "./data")]
    pub upload_dir: PathBuf,
    /// Permissions of created directories, octal, less the umask.
    #[arg(long, value_name = "OCTAL", default_value = "0775", value_parser = units::octal)]
    pub dir_perms: u32,
    /// Permissions of created files, octal, less the umask.
    #[arg(long, value_name = "OCTAL", default_value = "0664", value_parser = units::octal)]
    pub file_perms: u32,
    /// What an acknowledged byte survives.
    #[arg(long, value_enum, default_value_t = Durability::Complete)]
    pub durability: Durability,
    /// Whether joined uploads are made into one plain file in the background.
    #[arg(long, value_name = "on|off", default_value = "on", action = ArgAction::Set, value_parser = units::on_off)]
    pub assemble: bool,
    /// Keep partial uploads usable after they were joined, until they expire.
    #[arg(long, default_value = "true")]
    pub keep_partials: bool,

    /// The largest upload, in bytes; 0 for no limit.
    #[arg(long, value_name = "SIZE", default_value = "1GiB", value_parser = units::size)]
    pub max_size: u64,
    /// The smallest upload, in bytes; its parts may be smaller.
    #[arg(long, value_name = "SIZE", default_value = "0", value_parser = units::size)]
    pub min_size: u64,
    /// Time after its last activity at which an unfinished upload is removed; 0 for never.
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = units::duration)]
    pub expire_after: Duration,
    /// Time after its completion at which a finished upload is removed; 0 for never.
    #[arg(long, value_name = "DURATION", default_value = "0", value_parser = units::duration)]
    pub expire_completed: Duration,
    /// Refuse downloads.
    #[arg(long)]
    pub disable_download: bool,
    /// Refuse termination (DELETE).
    #[arg(long)]
    pub disable_termination: bool,
    /// Refuse concatenation (Upload-Concat).
    #[arg(long)]
    pub disable_concatenation: bool,

    /// Bytes of a session's chunk, where the client does not ask for another size.
    #[arg(long, value_name = "SIZE", default_value = "1MiB", value_parser = units::size)]
    pub session_chunk_size: u64,
    /// The smallest chunk that a client may ask for.
    #[arg(long, value_name = "SIZE", default_value = "64KiB", value_parser = units::size)]
    pub session_chunk_min: u64,
    /// The largest chunk that a client may ask for.
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = units::size)]
    pub session_chunk_max: u64,
    /// So many chunks of one session are taken in at a time; a few more wait.
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub session_parallel_chunks: u32,
    /// Refuse the session API (/uploads/).
    #[arg(long)]
    pub disable_sessions: bool,

    /// Serve no pages: neither the upload page at / nor the one of operators at /admin, nor their scripts under /web/.
    #[arg(long)]
    pub no_pages: bool,

    /// Send no CORS headers.
    #[arg(long)]
    pub disable_cors: bool,
    /// Regular expression that the whole of an allowed Origin matches.
    #[arg(long, value_name = "REGEX", default_value = ".*")]
    pub cors_allow_origin: String,
    /// Let browsers send credentials.
    #[arg(long)]
    pub cors_allow_credentials: bool,
    /// Methods to allow beside those of tus, separated by commas.
    #[arg(long, value_name = "LIST", default_value = "")]
    pub cors_allow_methods: String,
    /// Request headers to allow beside those of tus, separated by commas.
    #[arg(long, value_name = "LIST", default_value = "")]
    pub cors_allow_headers: String,
    /// Response headers to expose beside those of tus, separated by commas.
    #[arg(long, value_name = "LIST", default_value = "")]
    pub cors_expose_headers: String,
    /// Seconds for which browsers may remember a preflight.
    #[arg(long, value_name = "SECONDS", default_value_t = 86_400)]
    pub cors_max_age: u32,

    /// The longest silence of a client in the middle of a body; never a limit on the whole. 0 for none.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = units::duration)]
    pub network_timeout: Duration,
    /// Time for a request's head to arrive, and after which an idle connection is closed. Longer than a proxy's own.
    #[arg(long, value_name = "DURATION", default_value = "75s", value_parser = units::duration)]
    pub header_timeout: Duration,
    /// Time for running requests to end once the server is told to stop.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = units::duration)]
    pub shutdown_timeout: Duration,

    /// The most uploads that one progress connection follows.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub max_subscriptions: usize,
    /// The longest that a progress connection may leave a ping unanswered; pings come three times as often.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = units::duration)]
    pub progress_timeout: Duration,
    /// The silence after which those who follow an upload are told that it is paused.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = units::duration)]
    pub pause_after: Duration,
    /// Who uploads.
    #[command(flatten)]
    pub auth: AuthOptions,
    /// What users may do.
    #[command(flatten)]
    pub limits: LimitOptions,
    /// Who is asked and told.
    #[command(flatten)]
    pub hooks: HooksOptions,
    /// What the bytes of uploads may be.
    #[command(flatten)]
    pub content: ContentOptions,
    /// Whom complete uploads are handed to.
    #[command(flatten)]
    pub handoff: HandoffOptions,
    /// The credential of /admin and /metrics (Authorization: Bearer), 16 characters or more; better given by the variable,
    /// since other users see command lines. Without one both are there only at this machine: on a loopback address, without a
    /// proxy, under the names localhost, 127.0.0.1 and its IPv6 twin; with --auth, /metrics alone.
    #[arg(long, value_name = "TOKEN", hide_env_values = true)]
    pub admin_token: Option<AdminToken>,
    /// Free disk space, in bytes or percent, below which /readyz and the admin API warn; 0 for never.
    #[arg(long, value_name = "SIZE|%", default_value = "10%", value_parser = units::share)]
    pub disk_warn: Share,
    /// Free disk space below which new uploads are refused while open ones go on, and /readyz answers 503; 0 for never.
    #[arg(long, value_name = "SIZE|%", default_value = "0", value_parser = units::share)]
    pub disk_stop: Share,

    /// Form of the log, which goes to standard error.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// error, warn, info, debug or trace; also by module, as in `info,highwater::tus=debug`.
    #[arg(long, value_name = "FILTER", default_value = "info")]
    pub log_level: String,
}

/// What an acknowledged byte survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Durability {
    /// The death of the server's process.
    Process,
    /// As well, a power cut, once the upload is acknowledged as complete.
    Complete,
    /// A power cut, with each acknowledged offset.
    Every,
}

/// Form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// A line for people.
    Text,
    /// A JSON object a line.
    Json,
}

/// An option's value that the server cannot run with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("--{option}: {reason}")]
pub struct ConfigError {
    option: &'static str,
    reason: String,
}

/// First segments of paths that are the server's own.
const OWN: [&str; 6] = ["healthz", "readyz", "metrics", "admin", "progress", "web"];

impl Config {
    /// The defaults on a free loopback port; a test sets `upload_dir` to a directory of its own.
    #[must_use]
    pub fn for_test() -> Self {
        Self {
            port: 0,
            ..Self::default()
        }
    }

    /// The configuration in its normal form: base path with a slash at both ends, empty values as none.
    /// # Errors
    /// The first option that the server cannot run with.
    pub fn checked(mut self) -> Result<Self, ConfigError> {
        let first = self.base_path.as_str().split('/').nth(1);
        if first.is_some_and(|first| OWN.contains(&first)) {
            return Err(at("base-path")(
                "/healthz, /readyz, /metrics, /admin, /progress and /web are the server's own",
            ));
        }
        if let Some(token) = &self.admin_token {
            token.check().map_err(at("admin-token"))?;
        }
        if self.progress_timeout.is_zero() {
            return Err(at("progress-timeout")(
                "a client that is gone would hold its connection for ever",
            ));
        }
        self.tls = self.tls.checked()?;
        self.unix_sock = self.unix_sock.filter(|path| !path.as_os_str().is_empty());
        Cors::new(&self.cors()).map_err(|error| match error {
            CorsError::Pattern(_) => at("cors-allow-origin")(error),
            CorsError::Method(_) => at("cors-allow-methods")(error),
            CorsError::Header(_) => at("cors-allow-headers, --cors-expose-headers")(error),
        })?;
        tracing_subscriber::EnvFilter::try_new(&self.log_level).map_err(at("log-level"))?;
        if self.dir_perms & 0o700 != 0o700 {
            return Err(at("dir-perms")("the server itself needs rwx (07xx)"));
        }
        if self.file_perms & 0o600 != 0o600 {
            return Err(at("file-perms")("the server itself needs rw (06xx)"));
        }
        if self.max_connections == 0 {
            return Err(at("max-connections")("at least 1"));
        }
        if self.session_chunk_min == 0
            || !(self.session_chunk_min..=self.session_chunk_max).contains(&self.session_chunk_size)
        {
            return Err(at("session-chunk-size")(
                "at least 1, and from --session-chunk-min to --session-chunk-max",
            ));
        }
        if !(1..=1024).contains(&self.session_parallel_chunks) {
            return Err(at("session-parallel-chunks")("from 1 to 1024"));
        }
        if self.max_size > 0 && self.min_size > self.max_size {
            return Err(at("min-size")("at most --max-size"));
        }
        self.limits.check(&self)?;
        if self.header_timeout.is_zero() {
            return Err(at("header-timeout")(
                "a head that never comes would hold its connection for ever",
            ));
        }
        Ok(self)
    }
}

impl Config {
    /// What the CORS options say together.
    #[must_use]
    pub fn cors(&self) -> CorsOptions {
        let list = |text: &str| units::list(text).map(str::to_owned).collect();
        CorsOptions {
            allow_origin: self.cors_allow_origin.clone(),
            allow_credentials: self.cors_allow_credentials,
            allow_methods: list(&self.cors_allow_methods),
            allow_headers: list(&self.cors_allow_headers),
            expose_headers: list(&self.cors_expose_headers),
            max_age: self.cors_max_age.into(),
        }
    }
}

impl Default for Config {
    /// What an empty command line and an empty environment give.
    fn default() -> Self {
        args::defaults()
    }
}

/// A path; an empty one can be given, which clap's own parser refuses.
fn path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

fn at<E: ToString>(option: &'static str) -> impl FnOnce(E) -> ConfigError {
    move |reason| ConfigError {
        option,
        reason: reason.to_string(),
    }
}

#[cfg(test)]
mod tests;
