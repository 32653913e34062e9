//! Options of tusd 2.10 that Highwater has not: which of them may be passed over, and which must not.

/// What becomes of an option of tusd's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It means nothing here: accepted, with a warning.
    Ignored,
    /// It asks for something that Highwater has not yet; to go on without it would be to do something else than asked.
    Missing(&'static str),
}

/// An option of tusd's that is none of Highwater's.
#[derive(Debug, Clone, Copy)]
pub(super) struct Foreign {
    /// A switch takes no value of its own, other than after `=`.
    pub(super) switch: bool,
    pub(super) fate: Fate,
}

/// The option of tusd's of this name.
pub(super) fn foreign(name: &str) -> Option<Foreign> {
    use Fate::{Ignored, Missing};
    let known = |names: &[&str]| names.contains(&name);
    let fate = match name {
        _ if known(IGNORED) => Ignored,
        _ if known(CLOUD) => Missing("object storage"),
        _ if known(HOOKS) => Missing("hooks by gRPC, plugins, or TLS that checks nothing"),
        _ if known(METRICS) => Missing("metrics at another path than /metrics"),
        "enable-experimental-protocol" => Missing("the IETF draft protocol"),
        _ => return None,
    };
    Some(Foreign {
        switch: SWITCHES.contains(&name),
        fate,
    })
}

/// Locks are in memory and taken over in milliseconds, pprof is Go's, a hook's reply may have 1 MiB, the rest is about what tusd prints.
const IGNORED: &[&str] = &[
    "acquire-lock-timeout",
    "expose-metrics",
    "expose-pprof",
    "filelock-acquirer-poll-interval",
    "filelock-holder-poll-interval",
    "hooks-http-size-limit",
    "pprof-block-profile-rate",
    "pprof-mutex-profile-rate",
    "pprof-path",
    "request-completion-timeout",
    "show-greeting",
    "show-startup-logs",
    "verbose",
];
const METRICS: &[&str] = &["metrics-path"];
const CLOUD: &[&str] = &[
    "azure-blob-access-tier",
    "azure-container-access-type",
    "azure-endpoint",
    "azure-object-prefix",
    "azure-storage",
    "gcs-bucket",
    "gcs-endpoint",
    "gcs-object-prefix",
    "s3-bucket",
    "s3-concurrent-part-uploads",
    "s3-disable-content-hashes",
    "s3-disable-ssl",
    "s3-endpoint",
    "s3-log-api-calls",
    "s3-max-buffered-parts",
    "s3-min-part-size",
    "s3-object-prefix",
    "s3-part-size",
    "s3-transfer-acceleration",
];
const HOOKS: &[&str] = &[
    "hooks-grpc",
    "hooks-grpc-backoff",
    "hooks-grpc-client-tls-certificate",
    "hooks-grpc-client-tls-key",
    "hooks-grpc-forward-headers",
    "hooks-grpc-retry",
    "hooks-grpc-secure",
    "hooks-grpc-server-tls-certificate",
    "hooks-http-skip-verify",
    "hooks-plugin",
];
const SWITCHES: &[&str] = &[
    "enable-experimental-protocol",
    "expose-metrics",
    "expose-pprof",
    "hooks-grpc-secure",
    "hooks-http-skip-verify",
    "s3-disable-content-hashes",
    "s3-disable-ssl",
    "s3-log-api-calls",
    "s3-transfer-acceleration",
    "show-greeting",
    "show-startup-logs",
    "verbose",
];
