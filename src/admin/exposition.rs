//! Prometheus's text format, version 0.0.4: written by hand, since it is this file or a crate with four more behind it.

use std::fmt::{Display, Write as _};

use crate::meter::{Counts, Histogram};

/// Families of metrics, as text.
#[derive(Default)]
pub(super) struct Exposition(String);

/// A label's name and value. The values are this program's own constants: nothing in them needs to be escaped.
pub(super) type Label<'a> = (&'a str, &'a str);

impl Exposition {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn sample(&mut self, name: &str, labels: &[Label<'_>], value: impl Display) {
        self.0.push_str(name);
        for (n, (label, text)) in labels.iter().enumerate() {
            let open = if n == 0 { '{' } else { ',' };
            let _ = write!(self.0, "{open}{label}=\"{text}\"");
        }
        let close = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.0, "{close} {value}");
    }

    pub(super) fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "counter", help);
        self.sample(name, &[], value);
    }

    pub(super) fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "gauge", help);
        self.sample(name, &[], value);
    }

    /// A family with a sample for each combination of labels.
    pub(super) fn labelled<'a, const N: usize, V: Display>(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        samples: impl IntoIterator<Item = ([Label<'a>; N], V)>,
    ) {
        self.family(name, kind, help);
        for (labels, value) in samples {
            self.sample(name, &labels, value);
        }
    }

    pub(super) fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        let Counts {
            at_most,
            count,
            sum,
        } = histogram.counts();
        self.family(name, "histogram", help);
        let bucket = format!("{name}_bucket");
        for (bound, below) in at_most {
            self.sample(&bucket, &[("le", &bound.to_string())], below);
        }
        self.sample(&bucket, &[("le", "+Inf")], count);
        self.sample(&format!("{name}_sum"), &[], sum);
        self.sample(&format!("{name}_count"), &[], count);
    }

    pub(super) fn finish(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn families_are_written_as_the_format_has_them() {
        let mut text = Exposition::default();
        text.counter("a_total", "All.", 3);
        text.labelled("b", "gauge", "Some.", [([("x", "1"), ("y", "2")], 0.5)]);
        let histogram = Histogram::seconds(&[0.5, 1.0]);
        histogram.observe(Duration::from_millis(750));
        text.histogram("c_seconds", "Time.", &histogram);
        let expected = "# HELP a_total All.\n# TYPE a_total counter\na_total 3\n\
             # HELP b Some.\n# TYPE b gauge\nb{x=\"1\",y=\"2\"} 0.5\n\
             # HELP c_seconds Time.\n# TYPE c_seconds histogram\nc_seconds_bucket{le=\"0.5\"} 0\n\
             c_seconds_bucket{le=\"1\"} 1\nc_seconds_bucket{le=\"+Inf\"} 1\nc_seconds_sum 0.75\nc_seconds_count 1\n";
        assert_eq!(text.finish(), expected);
    }
}
