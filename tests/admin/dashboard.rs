//! The dashboard under examples/ shows what there is.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use super::metrics::scrape;
use crate::support::start;

/// Every query of a dashboard.
fn queries(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            found.extend(
                fields
                    .get("expr")
                    .and_then(Value::as_str)
                    .map(str::to_owned),
            );
            fields.values().for_each(|field| queries(field, found));
        }
        Value::Array(items) => items.iter().for_each(|item| queries(item, found)),
        _ => {}
    }
}

#[tokio::test]
async fn its_queries_name_metrics_that_exist() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/grafana/highwater.json");
    let text = std::fs::read_to_string(path).expect("the dashboard");
    let dashboard: Value = serde_json::from_str(&text).expect("JSON");
    let mut all = Vec::new();
    queries(&dashboard, &mut all);
    assert!(all.len() > 10, "{all:?}");
    let server = start().await;
    let scrape = scrape(&server).await;
    let mut used = BTreeSet::new();
    for query in &all {
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let names = query.split(|c| !is_part(c));
        let names = names.filter(|n| n.starts_with("highwater_") || n.starts_with("process_"));
        let before = used.len();
        used.extend(names.map(str::to_owned));
        assert!(
            used.len() > before || query.contains("highwater_"),
            "{query} shows nothing"
        );
    }
    for name in used {
        let mut ends = ["_bucket", "_sum", "_count"].iter();
        let base = ends.find_map(|end| name.strip_suffix(end));
        let histogram = base.and_then(|base| scrape.families.get(base));
        let there = histogram.is_some_and(|kind| kind == "histogram")
            || scrape
                .families
                .get(&name)
                .is_some_and(|kind| kind != "histogram");
        assert!(there, "{name} is no metric of the server's");
    }
}
