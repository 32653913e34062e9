//! From the arguments of a process to a [`Config`]: first tusd's manner of writing is made clap's, then clap reads it.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory, Error, FromArgMatches};

use super::file::{self, Values};
use super::settings::Settings;
use super::tusd::{Fate, Foreign, foreign};
use super::{Config, path, units};

/// A command line, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    /// What it says, with the environment's, the configuration file's and the default values for what it does not say.
    pub config: Config,
    /// What each option is set to, and by what.
    pub settings: Settings,
    /// Whether to show the settings, and end.
    pub print_config: bool,
    /// What its writer should know; the log is not there yet when it is read.
    pub warnings: Vec<String>,
}

impl CommandLine {
    /// Reads the arguments, the first of which is the program's name, the environment and the configuration file.
    /// # Errors
    /// The usage error, or the text asked for by `--help` and `--version`; its `exit` prints it as it should be.
    pub fn parse<I, T>(argv: I) -> Result<Self, Error>
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString>,
    {
        let command = command(true);
        let Translated { argv, ignored } = translate(argv.into_iter().map(Into::into), &command)?;
        let refused = |why: String| Error::raw(ErrorKind::ValueValidation, format!("{why}\n"));
        let mut matches = command.clone().try_get_matches_from(&argv)?;
        let mut from_file = Values::new();
        if let Some(path) = config_file(&matches) {
            from_file = file::read(&path, &options(false)).map_err(refused)?;
            matches = below(command.clone(), &from_file).try_get_matches_from(&argv)?;
        }
        let settings = Settings::of(&command, &matches, &from_file);
        let config = Config::from_arg_matches(&matches)?
            .checked()
            .map_err(|error| refused(settings.placed(&error)))?;
        let warnings = match ignored.join(" ") {
            none if none.is_empty() => Vec::new(),
            names => vec![format!(
                "options of tusd that mean nothing here, ignored: {names}"
            )],
        };
        Ok(Self {
            config,
            settings,
            print_config: matches.get_one(PRINT_CONFIG) == Some(&true),
            warnings,
        })
    }
}

pub(super) fn defaults() -> Config {
    let matches = options(false).try_get_matches_from(["highwater"]);
    let config = matches.and_then(|found| Config::from_arg_matches(&found));
    config
        .expect("the defaults in Config's attributes are values of their options, as its tests say")
}

/// What is no option of [`Config`]'s, but says where those are from.
const CONFIG: &str = "config";
const PRINT_CONFIG: &str = "print_config";

/// [`Config`]'s options, and those that say where they are from.
fn command(environment: bool) -> Command {
    let file = Arg::new(CONFIG)
        .long("config")
        .value_name("FILE")
        .value_parser(path())
        .help("TOML file of options, named as here without the dashes: max-size = \"2GiB\". The command line and the environment win over it");
    let file = if environment {
        file.env("HIGHWATER_CONFIG")
    } else {
        file
    };
    let print = Arg::new(PRINT_CONFIG).long("print-config").help(
        "Print each option with its value and where that is from, and end. Secrets are not shown",
    );
    options(environment).args([file, switch(print)].map(|arg| arg.help_heading("Configuration")))
}

fn config_file(matches: &ArgMatches) -> Option<PathBuf> {
    let path = matches.get_one::<PathBuf>(CONFIG)?;
    (!path.as_os_str().is_empty()).then(|| path.clone())
}

/// The command with these values for its defaults.
fn below(command: Command, values: &Values) -> Command {
    command.mut_args(|arg| match values.get(arg.get_id().as_str()) {
        Some(given) => arg.default_value(given.value.clone()),
        None => arg,
    })
}

/// [`Config`]'s options with what is the same for all of them: variable, heading, and how a switch is written.
fn options(environment: bool) -> Command {
    Config::command().mut_args(|arg| {
        let id = arg.get_id().to_string();
        let Some(heading) = heading(&id) else {
            return arg;
        };
        let arg = if environment {
            arg.env(format!("HIGHWATER_{}", id.to_uppercase()))
        } else {
            arg
        };
        let arg = if is_switch(&arg) { switch(arg) } else { arg };
        arg.help_heading(heading)
    })
}

/// A `bool` that clap would only let be switched on.
fn is_switch(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::SetTrue)
}

/// A switch as in Go: `--name`, `--name=false`, never `--name false`.
fn switch(arg: Arg) -> Arg {
    let arg = if arg.get_default_values().is_empty() {
        arg.default_value("false")
    } else {
        arg
    };
    arg.action(ArgAction::Set)
        .num_args(0..=1)
        .require_equals(true)
        .default_missing_value("true")
        .value_name("BOOL")
        .value_parser(units::switch)
}

pub(super) fn heading(id: &str) -> Option<&'static str> {
    let has = |(_, ids): &&(&str, &[&str])| ids.contains(&id);
    GROUPS.iter().find(has).map(|(heading, _)| *heading)
}

pub(super) const GROUPS: &[(&str, &[&str])] = &[
    (
        "Listening",
        &[
            "host",
            "port",
            "unix_sock",
            "base_path",
            "public_url",
            "behind_proxy",
            "enable_h2c",
            "max_connections",
        ],
    ),
    ("TLS", &["tls_certificate", "tls_key", "tls_mode"]),
    (
        "Storage",
        &[
            "upload_dir",
            "dir_perms",
            "file_perms",
            "durability",
            "assemble",
            "keep_partials",
        ],
    ),
    (
        "Uploads",
        &[
            "max_size",
            "min_size",
            "expire_after",
            "expire_completed",
            "disable_download",
            "disable_termination",
            "disable_concatenation",
        ],
    ),
    (
        "Sessions (/uploads/)",
        &[
            "session_chunk_size",
            "session_chunk_min",
            "session_chunk_max",
            "session_parallel_chunks",
            "disable_sessions",
        ],
    ),
    ("Pages", &["no_pages"]),
    (
        "Browsers on other origins (CORS)",
        &[
            "disable_cors",
            "cors_allow_origin",
            "cors_allow_credentials",
            "cors_allow_methods",
            "cors_allow_headers",
            "cors_expose_headers",
            "cors_max_age",
        ],
    ),
    (
        "Timeouts",
        &["network_timeout", "header_timeout", "shutdown_timeout"],
    ),
    (
        "Progress",
        &["max_subscriptions", "progress_timeout", "pause_after"],
    ),
    (
        "Identity",
        &[
            "auth",
            "auth_file",
            "auth_audience",
            "auth_issuer",
            "auth_forward_header",
            "auth_forward_from",
        ],
    ),
    (
        "Limits",
        &[
            "quota",
            "quota_total",
            "max_open_uploads",
            "max_open_uploads_total",
            "max_uploads_per_hour",
            "max_uploads_per_hour_total",
            "max_request_rate",
            "max_request_rate_total",
            "max_byte_rate",
            "max_byte_rate_total",
            "max_connections_per_address",
            "allow_types",
            "deny_types",
            "allow_extensions",
            "deny_extensions",
        ],
    ),
    (
        "Hooks",
        &[
            "hooks_http",
            "hooks_http_forward_headers",
            "hooks_http_retry",
            "hooks_http_backoff",
            "hooks_http_timeout",
            "hooks_http_secret",
            "hooks_dir",
            "hooks_dir_timeout",
            "hooks_enabled_events",
            "hooks_retry_for",
            "progress_hooks_interval",
        ],
    ),
    (
        "Content",
        &[
            "sniff",
            "sniff_allow",
            "sniff_deny",
            "filename_policy",
            "scan",
            "scan_wait",
            "scan_max_bytes",
            "scan_infected",
            "scan_quarantine_for",
            "scan_unavailable",
        ],
    ),
    (
        "Hand-off",
        &[
            "handoff_http",
            "handoff_http_secret",
            "handoff_exec",
            "handoff_exec_timeout",
            "handoff_redis",
            "handoff_redis_prefix",
            "handoff_timeout",
            "handoff_parallel",
            "handoff_digest",
            "digest",
        ],
    ),
    ("Operating", &["admin_token", "disk_warn", "disk_stop"]),
    ("Log", &["log_format", "log_level"]),
];

struct Translated {
    argv: Vec<OsString>,
    /// Options of tusd's that mean nothing here, as `--name`.
    ignored: Vec<String>,
}

/// Makes `-name value`, `-name=value` and `--name value` into `--name=value`, and takes out what is tusd's alone.
fn translate(
    mut argv: impl Iterator<Item = OsString>,
    command: &Command,
) -> Result<Translated, Error> {
    let mut done = Translated {
        argv: argv.next().into_iter().collect(),
        ignored: Vec::new(),
    };
    while let Some(arg) = argv.next() {
        let Some((name, value)) = arg.to_str().and_then(option) else {
            let rest_is_no_option = arg == "--";
            done.argv.push(arg);
            if rest_is_no_option {
                done.argv.extend(argv.by_ref());
            }
            continue;
        };
        let value = value.map(OsString::from);
        let own = command
            .get_arguments()
            .find(|arg| arg.get_long() == Some(name));
        let switch = match (own, foreign(name)) {
            (Some(arg), _) => arg.is_require_equals_set(),
            (None, Some(foreign)) => foreign.switch,
            (None, None) => true, // --help, --version, or one that clap will refuse
        };
        let value = if switch {
            value
        } else {
            value.or_else(|| argv.next())
        };
        match foreign(name).filter(|_| own.is_none()) {
            Some(tusds) => done.pass_over(name, tusds, value.as_ref())?,
            None => done.argv.push(written(name, value)),
        }
    }
    Ok(done)
}

impl Translated {
    fn pass_over(
        &mut self,
        name: &str,
        tusds: Foreign,
        value: Option<&OsString>,
    ) -> Result<(), Error> {
        // Switched off or empty is what tusd does without the option.
        let is_off = |v: &str| v.is_empty() || (tusds.switch && units::switch(v) == Ok(false));
        let off = value.and_then(|v| v.to_str()).is_some_and(is_off);
        match tusds.fate {
            Fate::Missing(what) if !off => {
                let line = format!(
                    "--{name} is an option of tusd for what Highwater has not yet: {what}\n"
                );
                Err(Error::raw(ErrorKind::UnknownArgument, line))
            }
            Fate::Missing(_) | Fate::Ignored => {
                self.ignored.push(format!("--{name}"));
                Ok(())
            }
        }
    }
}

/// Name and value of `-name`, `--name`, `-name=value`, `--name=value`; single letters are clap's (`-h`, `-V`).
fn option(arg: &str) -> Option<(&str, Option<&str>)> {
    let bare = arg
        .strip_prefix("--")
        .or_else(|| arg.strip_prefix('-').filter(|rest| rest.len() > 1))?;
    let (name, value) = bare
        .split_once('=')
        .map_or((bare, None), |(name, value)| (name, Some(value)));
    (!name.is_empty() && !name.starts_with('-')).then_some((name, value))
}

fn written(name: &str, value: Option<OsString>) -> OsString {
    let mut arg = OsString::from(format!("--{name}"));
    if let Some(value) = value {
        arg.push("=");
        arg.push(value);
    }
    arg
}
