//! What each option is set to, and by what.

use std::fmt::{self, Display, Formatter};

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};

use super::file::Values;
use super::{ConfigError, units};
use crate::protocol::sha256::Sum;

/// Where a value is from; the upper ones win.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    CommandLine,
    Environment,
    File,
    Default,
}

/// What an option is set to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    Unset,
    /// As TOML.
    Shown(String),
    /// A secret's hash.
    Hidden(Sum),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Setting {
    name: String,
    heading: String,
    value: Value,
    source: Source,
    /// The line of the file, where it is from there.
    place: Option<String>,
}

/// What each option is set to. Displayed, it is a configuration file that says the same, but for secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings(Vec<Setting>);

impl Settings {
    pub(super) fn of(command: &Command, matches: &ArgMatches, file: &Values) -> Self {
        let settings = command.get_arguments().filter_map(|arg| {
            let id = arg.get_id().as_str();
            let heading = super::args::heading(id)?;
            let given = file.get(id);
            let source = match matches.value_source(id) {
                Some(ValueSource::CommandLine) => Source::CommandLine,
                Some(ValueSource::EnvVariable) => Source::Environment,
                _ if given.is_some() => Source::File,
                _ => Source::Default,
            };
            let from_file = given.filter(|_| source == Source::File);
            Some(Setting {
                name: arg.get_long()?.to_owned(),
                heading: heading.to_owned(),
                value: value(arg, matches),
                source,
                place: from_file.map(|given| given.place.clone()),
            })
        });
        Self(settings.collect())
    }

    /// What is wrong with an option, after the file's line where its value is from there.
    #[must_use]
    pub fn placed(&self, error: &ConfigError) -> String {
        let mut settings = self.0.iter();
        let setting = settings.find(|setting| setting.name == error.option);
        match setting.and_then(|setting| setting.place.as_ref()) {
            Some(place) => format!("{place}: {error}"),
            None => error.to_string(),
        }
    }

    /// The options, as `--name`, that are set to something else here than in `other`.
    #[must_use]
    pub fn differing(&self, other: &Self) -> Vec<String> {
        let differ = |(a, b): &(&Setting, &Setting)| a.value != b.value;
        let pairs = self.0.iter().zip(&other.0).filter(differ);
        pairs.map(|(a, _)| format!("--{}", a.name)).collect()
    }
}

fn value(arg: &Arg, matches: &ArgMatches) -> Value {
    let raw = matches.get_raw(arg.get_id().as_str());
    let Some(raw) = raw.and_then(|mut values| values.next_back()) else {
        return Value::Unset;
    };
    let text = raw.to_string_lossy();
    if arg.is_hide_env_values_set() {
        return Value::Hidden(Sum::of(text.as_bytes()));
    }
    let switched = arg.is_require_equals_set().then(|| units::switch(&text));
    let bare = text.parse::<i64>().is_ok_and(|n| n.to_string() == text);
    Value::Shown(match switched {
        Some(Ok(on)) => on.to_string(),
        _ if bare => text.into_owned(),
        _ => quoted(&text),
    })
}

/// A basic string of TOML: JSON's, but that it has no raw DEL.
fn quoted(text: &str) -> String {
    let json = serde_json::Value::from(text).to_string();
    json.replace('\u{7f}', "\\u007F")
}

impl Display for Source {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CommandLine => "command line",
            Self::Environment => "environment",
            Self::File => "file",
            Self::Default => "default",
        })
    }
}

impl Display for Settings {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut heading = "";
        for setting in &self.0 {
            if setting.heading != heading {
                let gap = if heading.is_empty() { "" } else { "\n" };
                heading = &setting.heading;
                writeln!(f, "{gap}# {heading}")?;
            }
            let Setting { name, source, .. } = setting;
            match &setting.value {
                Value::Unset => writeln!(f, "# {name} is not set")?,
                Value::Shown(value) => writeln!(f, "{name} = {value} # {source}")?,
                Value::Hidden(_) => writeln!(f, "# {name} is set, and a secret # {source}")?,
            }
        }
        Ok(())
    }
}
