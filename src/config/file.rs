//! The configuration file: TOML, flat, a key an option.

use std::collections::BTreeMap;
use std::path::Path;

use clap::Command;
use toml::de::{DeTable, DeValue};

/// Values of options by their ids.
pub(super) type Values = BTreeMap<String, Given>;

/// What a file says of an option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Given {
    /// As it would stand on the command line.
    pub(super) value: String,
    /// The file, and the number of the line.
    pub(super) place: String,
}

/// Reads a file; each of its keys must be an option of `options`, and its value one that this option can have.
///
/// # Errors
/// A line: the file, the number of the line, and what is wrong there; never the value of a secret.
pub(super) fn read(path: &Path, options: &Command) -> Result<Values, String> {
    let name = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| format!("{name}: {error}"))?;
    let place = |at: usize| {
        let before = text.get(..at).unwrap_or(&text);
        format!("{name}, line {}", before.matches('\n').count() + 1)
    };
    let told = |at: usize, what: &str| format!("{}: {what}", place(at));
    // The parser's own text would quote the line, and what is secret in it.
    let table = DeTable::parse(&text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        told(at, error.message())
    })?;
    let mut values = Values::new();
    for (key, value) in table.get_ref() {
        let at = key.span().start;
        let value = one(options, key.get_ref(), value.get_ref()).map_err(|what| told(at, &what))?;
        let place = place(at);
        values.insert(key.get_ref().replace('-', "_"), Given { value, place });
    }
    Ok(values)
}

/// A key's value, as it would stand on the command line.
fn one(options: &Command, key: &str, value: &DeValue<'_>) -> Result<String, String> {
    let mut all = options.get_arguments();
    let Some(option) = all.find(|arg| arg.get_long() == Some(key)) else {
        return Err(format!("there is no option {key:?}"));
    };
    let value = match value {
        DeValue::String(text) => text.to_string(),
        DeValue::Boolean(on) => on.to_string(),
        DeValue::Integer(number) if number.radix() == 10 => number.as_str().replace('_', ""),
        _ => return Err(format!("{key}: a string, an integer, true or false")),
    };
    let tried = ["highwater".into(), format!("--{key}={value}")];
    options
        .clone()
        .try_get_matches_from(tried)
        .map_err(|error| {
            let text = error.to_string();
            let line = text.lines().next().unwrap_or_default();
            if option.is_hide_env_values_set() {
                format!("{key}: not a value that it can have")
            } else {
                line.trim_start_matches("error: ").to_owned()
            }
        })?;
    Ok(value)
}
