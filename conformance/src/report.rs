//! What a run found: a table for people, JSON, and JUnit XML.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use crate::case::Level;
use crate::client::{Exchange, Server};
use crate::run::{Tried, Verdict};

/// How many cases have a verdict.
#[must_use]
pub fn count(tried: &[Tried], verdict: Verdict) -> usize {
    tried.iter().filter(|t| t.verdict == verdict).count()
}

/// Every case that did not pass, with what was sent and what came back; then the groups with their counts.
///
/// With `all`, the cases that passed as well. Skipped ones are told on one line each.
#[must_use]
pub fn table(server: &Server, tried: &[Tried], all: bool) -> String {
    let mut out = format!(
        "{}\nextensions: {}\n\n",
        server.url,
        server.extensions.join(", ")
    );
    for one in tried {
        match one.verdict {
            Verdict::Pass if !all => {}
            Verdict::Skip => {
                let _ = writeln!(
                    out,
                    "skip {:6} {}: {}",
                    one.case.level, one.case.id, one.why
                );
            }
            _ => out.push_str(&told(one)),
        }
    }
    let _ = writeln!(
        out,
        "\n{:26} {:>5} {:>5} {:>5} {:>5}",
        "group", "pass", "fail", "warn", "skip"
    );
    let mut groups: Vec<&str> = tried.iter().map(|one| one.case.group()).collect();
    groups.dedup();
    let mut line = |name: &str, of: &dyn Fn(&Tried) -> bool| {
        let _ = write!(out, "{name:26}");
        for verdict in [Verdict::Pass, Verdict::Fail, Verdict::Warn, Verdict::Skip] {
            let n = tried.iter().filter(|t| of(t) && t.verdict == verdict);
            let _ = write!(out, " {:>5}", n.count());
        }
        out.push('\n');
    };
    for group in groups {
        line(group, &|one| one.case.group() == group);
    }
    line("all", &|_| true);
    out
}

fn told(one: &Tried) -> String {
    let case = one.case;
    let mut out = format!("{} {:6} {}\n", one.verdict.name(), case.level, case.id);
    let _ = writeln!(out, "     {}: «{}»", case.section, case.clause);
    if one.verdict != Verdict::Pass {
        let _ = writeln!(out, "     {}", one.why);
    }
    for exchange in &one.exchanges {
        for (mark, text) in [('>', &exchange.sent), ('<', &exchange.received)] {
            for line in text.trim_end().lines() {
                let line = line.replace(char::is_control, "\u{fffd}");
                let _ = writeln!(out, "       {mark} {line}");
            }
        }
    }
    out
}

#[derive(Serialize)]
struct Json<'r> {
    url: String,
    extensions: &'r [String],
    max_size: Option<u64>,
    counts: BTreeMap<&'static str, usize>,
    cases: Vec<JsonCase<'r>>,
}

#[derive(Serialize)]
struct JsonCase<'r> {
    id: &'static str,
    level: Level,
    section: &'static str,
    clause: &'static str,
    verdict: Verdict,
    #[serde(skip_serializing_if = "str::is_empty")]
    why: &'r str,
    milliseconds: u128,
    exchanges: &'r [Exchange],
}

/// Everything, for programs.
///
/// # Errors
/// None that is known: strings and numbers become JSON.
pub fn json(server: &Server, tried: &[Tried]) -> serde_json::Result<String> {
    let verdicts = [Verdict::Pass, Verdict::Fail, Verdict::Warn, Verdict::Skip];
    let json = Json {
        url: server.url.to_string(),
        extensions: &server.extensions,
        max_size: server.max_size,
        counts: verdicts
            .into_iter()
            .map(|verdict| (verdict.name(), count(tried, verdict)))
            .collect(),
        cases: tried
            .iter()
            .map(|one| JsonCase {
                id: one.case.id,
                level: one.case.level,
                section: one.case.section,
                clause: one.case.clause,
                verdict: one.verdict,
                why: &one.why,
                milliseconds: one.took.as_millis(),
                exchanges: &one.exchanges,
            })
            .collect(),
    };
    serde_json::to_string_pretty(&json)
}

/// JUnit XML, as build servers read it. A broken SHOULD is a passed test whose output tells the warning.
#[must_use]
pub fn junit(server: &Server, tried: &[Tried]) -> String {
    let seconds = |one: &Tried| one.took.as_secs_f64();
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(
        out,
        "<testsuite name=\"tus-conformance {}\" tests=\"{}\" failures=\"{}\" errors=\"0\" skipped=\"{}\" time=\"{:.3}\">",
        escaped(&server.url.to_string()),
        tried.len(),
        count(tried, Verdict::Fail),
        count(tried, Verdict::Skip),
        tried.iter().map(seconds).sum::<f64>(),
    );
    for one in tried {
        let _ = write!(
            out,
            "  <testcase classname=\"tus.{}\" name=\"{}\" time=\"{:.3}\"",
            escaped(one.case.group()),
            escaped(one.case.id),
            seconds(one)
        );
        let (why, all) = (escaped(&one.why), escaped(&told(one)));
        let _ = match one.verdict {
            Verdict::Pass => writeln!(out, "/>"),
            Verdict::Fail => writeln!(
                out,
                "><failure type=\"{}\" message=\"{why}\">{all}</failure></testcase>",
                one.case.level
            ),
            Verdict::Warn => writeln!(out, "><system-out>{all}</system-out></testcase>"),
            Verdict::Skip => writeln!(out, "><skipped message=\"{why}\"/></testcase>"),
        };
    }
    out.push_str("</testsuite>\n");
    out
}

/// Text for an attribute or an element of XML 1.0; what it cannot have becomes U+FFFD.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push_str("&#10;"),
            '\t' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'.. => out.push(c),
            _ => out.push('\u{fffd}'),
        }
    }
    out
}
